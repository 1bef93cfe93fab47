// SPDX-License-Identifier: MPL-2.0
//! A voice detector of Silero's shape, which has learnt nothing.

use std::f64::consts::TAU;

use super::{Stored, Tensor, Tensors, safetensors_bytes};

/// Samples of a spectrum, and its real and imaginary parts.
const FFT: usize = 256;
const BINS: usize = FFT / 2 + 1;

/// The transform's rows: Fourier's, with a Hann window.
fn basis() -> Vec<f32> {
    let weight = |row: usize, n: usize| {
        let window = 0.5 - 0.5 * (TAU * n as f64 / FFT as f64).cos();
        let phase = TAU * (row % BINS * n) as f64 / FFT as f64;
        let wave = if row < BINS {
            phase.cos()
        } else {
            -phase.sin()
        };
        (window * wave) as f32
    };
    let rows = 0..2 * BINS;
    rows.flat_map(|row| (0..FFT).map(move |n| weight(row, n)))
        .collect()
}

/// The bytes of `silero_vad_16k.safetensors` with weights at random, small enough that the
/// probabilities differ from block to block.
pub fn silero_bytes(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tensors = Tensors::new();
    let mut add = |name: &str, shape: &[usize], scale: f32| {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|_| scale * (2.0 * random.f32() - 1.0));
        let tensor = Tensor {
            shape: shape.to_vec(),
            values: values.collect(),
        };
        tensors.insert(name.into(), tensor);
    };
    for (index, [outputs, inputs]) in [[128, BINS], [64, 128], [64, 64], [128, 64]]
        .into_iter()
        .enumerate()
    {
        let name = format!("conv{}", index + 1);
        add(&format!("{name}.weight"), &[outputs, inputs, 3], 0.1);
        add(&format!("{name}.bias"), &[outputs], 0.1);
    }
    for part in ["ih", "hh"] {
        add(&format!("lstm_cell.weight_{part}"), &[512, 128], 0.1);
        add(&format!("lstm_cell.bias_{part}"), &[512], 0.1);
    }
    add("final_conv.weight", &[1, 128, 1], 0.5);
    add("final_conv.bias", &[1], 0.1);
    let transform = Tensor {
        shape: vec![2 * BINS, 1, FFT],
        values: basis(),
    };
    tensors.insert("stft_conv.weight".into(), transform);
    safetensors_bytes(&tensors, Stored::F32)
}
