// SPDX-License-Identifier: MPL-2.0
//! Checks an NPU, and prints a report that can be pasted into an issue: what the machine has, one
//! matrix product against the CPU, one window of a model against the CPU, and where the time goes.
//!
//! `cargo run --release -p whisper-engine --example npu_check -- [MODEL]`
//!
//! Exits with 1 if the NPU cannot be used. With `--features simulator`, `WHISPERNPU_NPU=emulation`
//! checks the simulator.

mod machine;
mod timed;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use timed::{Spent, Timed};
use whisper_engine::encoder::cpu::CpuEncoder;
use whisper_engine::encoder::fallback::min_cosine_similarity;
use whisper_engine::encoder::npu::{NpuEncoder, default_opener};
use whisper_engine::encoder::{AudioFeatures, Encoder};
use whisper_engine::model::Model;
use xdna::bfp16;
use xdna::matmul::{MatMulStep, Multiplier};
use xdna::pack::pack_a;

/// Rows, depth and columns of the product.
const SIZE: usize = 512;
/// Times that something is measured; the median counts.
const TIMES: usize = 5;
/// What the encoder's own comparison asks for.
const LEAST_COSINE: f64 = 0.99;

fn main() -> ExitCode {
    println!("whispernpu {}", env!("CARGO_PKG_VERSION"));
    machine::report();
    let model = std::env::args().nth(1).unwrap_or_else(|| "tiny.en".into());
    match product().and_then(|()| window(&model)) {
        Ok(()) => {
            println!("\nThe NPU works.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("\nThe NPU cannot be used: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The median of some times that `work` takes.
fn median(mut work: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begin = Instant::now();
        work()?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(milliseconds(times[TIMES / 2]))
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

/// Numbers within ±1, the same each time.
fn numbers(seed: u32) -> Vec<f32> {
    let number = |i: u32| {
        let hash = i.wrapping_mul(0x9e37_79b9) ^ seed;
        let hash = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca6b);
        (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..(SIZE * SIZE) as u32).map(number).collect()
}

/// The numbers as the array gets them.
fn rounded(values: &[f32]) -> Vec<f32> {
    let blocks: &[bfp16::Values] = values.as_chunks().0;
    let blocks = blocks.iter().map(bfp16::encode);
    blocks.flat_map(|block| bfp16::decode(&block)).collect()
}

/// One matrix product against the CPU.
fn product() -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let device = default_opener().open()?;
    println!(
        "\nopened: {} in {:.1} ms",
        device.description(),
        milliseconds(begin.elapsed())
    );
    let (rows, weight) = (numbers(1), numbers(2));
    let mut npu = Multiplier::new(device);
    let weights = npu.upload(&weight, SIZE)?;
    let matmul = weights.matmul(SIZE)?;
    let mut a = npu.allocate(matmul.a_bytes())?;
    let mut c = npu.allocate(matmul.c_bytes())?;
    let pack = median(|| {
        pack_a(&matmul, &rows, a.bytes_mut());
        Ok(())
    })?;
    let sync_a = median(|| Ok(a.sync_to_device(0..matmul.a_bytes())?))?;
    let run = median(|| {
        let step = MatMulStep {
            rows: SIZE,
            a: &*a,
            weights: &weights,
            c: &*c,
        };
        npu.run(step, || Ok(()))
    })?;
    let sync_c = median(|| Ok(c.sync_from_device(0..matmul.c_bytes())?))?;
    println!(
        "product of {SIZE} x {SIZE} x {SIZE}, in ms: pack {pack:.3}, sync {sync_a:.3}, run {run:.3}, sync back {sync_c:.3}"
    );
    let (rows, weight) = (rounded(&rows), rounded(&weight));
    let mut worst = 0.0f64;
    for (index, row) in rows.chunks_exact(SIZE).enumerate() {
        for (column, weight) in weight.chunks_exact(SIZE).enumerate() {
            let pairs = row.iter().zip(weight);
            let exact: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let at = matmul.c_offset(index, column);
            let found = c.bytes()[at..][..4].try_into().map(f32::from_le_bytes)?;
            let difference = (f64::from(found) - exact).abs();
            // Not `max`, which drops NaN.
            if difference > worst || difference.is_nan() {
                worst = difference;
            }
        }
    }
    println!("its largest difference from the CPU: {worst:.2e}");
    if worst > 1e-3 || worst.is_nan() {
        return Err("its product is wrong: is the overlay the one of docs/npu.md?".into());
    }
    Ok(())
}

/// One window of a model against the CPU.
fn window(name: &str) -> Result<(), Box<dyn Error>> {
    let model = Model::open(&Model::find(name)?)?;
    let spent = Spent::default();
    let device = Timed::new(default_opener().open()?, &spent);
    let mut npu = NpuEncoder::new(&model, Box::new(device))?;
    let mut cpu = CpuEncoder::new(&model)?;
    let context = model.config.audio_ctx;
    let encode = |encoder: &mut dyn Encoder| -> Result<_, Box<dyn Error>> {
        let mut features = AudioFeatures::new(&model.config);
        for ((frame, band), x) in encoder.input().indexed_iter_mut() {
            *x = ((frame * (band + 3)) as f32 * 0.01).sin() * 0.7;
        }
        encoder.encode(context, &mut features)?;
        let time = median(|| Ok(encoder.encode(context, &mut features)?))?;
        Ok((features, time))
    };
    let (found, on_npu) = encode(&mut npu)?;
    let windows = TIMES as f64 + 1.0;
    println!(
        "\n{name}, a window of {context} rows: {on_npu:.1} ms on {}",
        npu.description()
    );
    println!("of these: {}", spent.per_window(windows));
    let (expected, on_cpu) = encode(&mut cpu)?;
    println!("{on_cpu:.1} ms on {}", cpu.description());
    let cosine = min_cosine_similarity(context, &found, &expected);
    println!("least cosine similarity of 128 rows: {cosine:.5}");
    if cosine < LEAST_COSINE || cosine.is_nan() {
        return Err("its window is not what the CPU computes".into());
    }
    Ok(())
}
