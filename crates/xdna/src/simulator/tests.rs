// SPDX-License-Identifier: MPL-2.0
//! The device model, fed with generated streams: right numbers for every encoder shape, and a fault for what is wrong.

use std::time::{Duration, Instant};

use half::bf16;
use rayon::prelude::*;

use super::Emulation;
use crate::arithmetic::Even;
use crate::bfp16;
use crate::contract::{BLOCK_BYTES, Epilogue, Product, SUB};
use crate::device::{Dispatch, Kind, NpuBuffer, NpuDevice, NpuError};
use crate::emulation::element;
use crate::streams::instructions;
use crate::txn::{Direction, Instruction, Reader, Writer};
use crate::weights::{Linear, pack};

/// Numbers as different as activations and weights are, the same each time.
fn number(i: usize) -> f32 {
    let hash = (i as u32).wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    let hash = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca6b);
    (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// A product with its operands on the model.
struct Bench {
    product: Product,
    weight: Vec<f32>,
    bias: Vec<f32>,
    device: Emulation,
    buffers: [Box<dyn NpuBuffer>; 3],
}

impl Bench {
    fn new(rows: usize, depth: usize, columns: usize, epilogue: Epilogue) -> Self {
        let product = Product::new(rows, depth, columns, epilogue).unwrap();
        let mut device = Emulation::new().unwrap();
        let sizes = [
            product.left_bytes(),
            product.right_bytes(),
            product.product_bytes(),
        ];
        let mut buffers = sizes.map(|bytes| device.allocate(Kind::Data, bytes).unwrap());
        let weight: Vec<f32> = (0..depth * columns).map(|i| number(i) * 0.1).collect();
        let bias: Vec<f32> = (0..columns).map(|i| number(i + 7)).collect();
        for (i, to) in buffers[0].bytes_mut().chunks_exact_mut(2).enumerate() {
            to.copy_from_slice(&bf16::from_f32(number(i * 3)).to_le_bytes());
        }
        let linear = Linear {
            weight: &weight,
            bias: &bias,
        };
        pack(&product, &linear, buffers[1].bytes_mut());
        for (buffer, bytes) in buffers.iter().zip(sizes).take(2) {
            buffer.sync_to_device(0..bytes).unwrap();
        }
        Self {
            product,
            weight,
            bias,
            device,
            buffers,
        }
    }

    fn run(&mut self, words: &[u32]) -> Result<(), NpuError> {
        let mut stream = self.device.allocate(Kind::Instructions, 4 * words.len())?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        stream.bytes_mut().copy_from_slice(&bytes);
        stream.sync_to_device(0..bytes.len())?;
        let data = [0, 1, 2].map(|i| self.buffers[i].as_ref());
        let dispatch = Dispatch {
            instructions: stream.as_ref(),
            words: words.len(),
            data: &data,
        };
        self.device
            .submit(&[dispatch])?
            .wait(Duration::from_secs(1))
    }

    /// Compares every `step`-th element of the product with the definition; says how many those were.
    fn compare(&mut self, step: usize) -> usize {
        let Product { depth, columns, .. } = self.product;
        let bytes = self.product.product_bytes();
        self.buffers[2].sync_from_device(0..bytes).unwrap();
        let values: Vec<f32> = floats(self.buffers[0].bytes()).collect();
        let (left, right) = (blocks(&values), blocks(&self.weight));
        let found: Vec<f32> = floats(self.buffers[2].bytes()).collect();
        let compared = (0..found.len()).into_par_iter().step_by(step);
        compared
            .map(|i| {
                let (row, column) = (i / columns, i % columns);
                let expected = element::<Even>(
                    &left[row * depth / SUB..][..depth / SUB],
                    &right[column * depth / SUB..][..depth / SUB],
                    self.bias[column],
                    self.product.epilogue,
                );
                let (found, expected) = (found[i].to_bits(), expected.to_f32().to_bits());
                assert_eq!(found, expected, "{:?}: {row}, {column}", self.product);
            })
            .count()
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let pairs = bytes.chunks_exact(2);
    pairs.map(|x| bf16::from_le_bytes([x[0], x[1]]).to_f32())
}

fn blocks(values: &[f32]) -> Vec<[u8; BLOCK_BYTES]> {
    let values: &[bfp16::Values] = values.as_chunks().0;
    values.par_iter().map(bfp16::encode::<Even>).collect()
}

/// Runs a product and compares every `step`-th element with the definition; says how many those were.
fn check(rows: usize, depth: usize, columns: usize, epilogue: Epilogue, step: usize) -> usize {
    let mut bench = Bench::new(rows, depth, columns, epilogue);
    bench.run(&instructions(&bench.product)).unwrap();
    bench.compare(step)
}

/// The products of a layer `d` wide, and of the cross-attention of two decoder layers.
fn shapes(d: usize) -> [(usize, usize, Epilogue); 5] {
    [
        (d, 3 * d, Epilogue::None),
        (d, d, Epilogue::None),
        (d, 4 * d, Epilogue::Gelu),
        (4 * d, d, Epilogue::None),
        (d, 4 * d, Epilogue::None),
    ]
}

/// Width of tiny, base, small.
const WIDTHS: [usize; 3] = [384, 512, 768];

#[test]
fn every_element_of_a_product_with_idle_columns_is_that_of_the_definition() {
    check(256, 128, 576, Epilogue::Gelu, 1);
    check(512, 64, 64, Epilogue::None, 1);
}

#[test]
fn every_encoder_shape_computes_what_the_definition_says() {
    for d in WIDTHS {
        for (depth, columns, epilogue) in shapes(d) {
            check(1536, depth, columns, epilogue, 100_003);
        }
    }
    check(768, 384, 1152, Epilogue::None, 10_007);
}

/// No element is left out, for a whole window and each shortened one.
#[test]
#[ignore = "minutes: cargo test --release --lib every_element_of_every -- --ignored --nocapture"]
fn every_element_of_every_encoder_shape_is_that_of_the_definition() {
    for d in WIDTHS {
        let begin = Instant::now();
        let mut compared = 0;
        for rows in (256..=1536).step_by(256) {
            for (depth, columns, epilogue) in shapes(d) {
                compared += check(rows, depth, columns, epilogue, 1);
            }
        }
        // Rows of all windows, by the columns of all shapes.
        assert_eq!(compared, 256 * 21 * (3 + 1 + 4 + 1 + 4) * d);
        println!("width {d}: {compared} elements in {:.0?}", begin.elapsed());
    }
}

/// A good stream with its instructions changed.
fn altered(product: &Product, mut alter: impl FnMut(usize, &Instruction) -> bool) -> Vec<u32> {
    let words = instructions(product);
    let mut writer = Writer::default();
    for (i, instruction) in Reader::new(&words).unwrap().enumerate() {
        let instruction = instruction.unwrap();
        if alter(i, &instruction) {
            writer.push(instruction);
        }
    }
    writer.finish()
}

fn failure(alter: impl FnMut(usize, &Instruction) -> bool) -> NpuError {
    let mut bench = Bench::new(256, 64, 512, Epilogue::None);
    let words = altered(&bench.product, alter);
    let error = bench.run(&words).unwrap_err();
    // After a fault the device works again.
    bench.run(&instructions(&bench.product)).unwrap();
    error
}

#[test]
fn a_token_that_nobody_waits_for_is_a_failure() {
    let error = failure(|_, instruction| !matches!(instruction, Instruction::Wait(_)));
    assert!(
        matches!(&error, NpuError::Failed(what) if what.contains("waited")),
        "{error}"
    );
}

#[test]
fn a_stream_that_does_not_come_is_a_hang() {
    // The first push to an MM2S queue: some A or B is missing.
    let mut dropped = false;
    let error = failure(|_, instruction| {
        let queue = matches!(instruction, Instruction::Write { address, .. } if address & 0xfffff == 0x1d21c);
        let drop = queue && !dropped;
        dropped |= drop;
        !drop
    });
    assert!(
        matches!(&error, NpuError::Timeout { reason, .. } if reason.contains("of A")),
        "{error}"
    );
}

#[test]
fn a_core_that_is_not_started_is_a_hang() {
    let error = failure(|i, _| i != 1);
    assert!(
        matches!(&error, NpuError::Timeout { reason, .. } if reason.contains("not started")),
        "{error}"
    );
}

#[test]
fn a_descriptor_without_an_address_is_a_failure() {
    let error = failure(|_, instruction| !matches!(instruction, Instruction::Patch { .. }));
    assert!(error.to_string().contains("no address"), "{error}");
}

#[test]
fn a_stream_for_more_rows_than_the_buffer_has_leaves_it() {
    let mut bench = Bench::new(256, 64, 512, Epilogue::None);
    let larger = Product::new(512, 64, 512, Epilogue::None).unwrap();
    let error = bench.run(&instructions(&larger)).unwrap_err();
    assert!(error.to_string().contains("leaves its buffer"), "{error}");
}

#[test]
fn a_queue_of_four_takes_no_fifth_and_a_busy_descriptor_no_change() {
    let queued = |words: &[u32]| {
        let mut bench = Bench::new(256, 64, 64 * 8 * 6, Epilogue::None);
        bench.run(words).unwrap_err().to_string()
    };
    let product = Product::new(256, 64, 64 * 8 * 6, Epilogue::None).unwrap();
    let hasty = altered(
        &product,
        |_, instruction| !matches!(instruction, Instruction::Wait(channel) if channel.direction == Direction::FromMemory),
    );
    assert!(queued(&hasty).contains("fifth"));
    let words = instructions(&product);
    let mut writer = Writer::default();
    for instruction in Reader::new(&words).unwrap() {
        let instruction = instruction.unwrap();
        writer.push(instruction.clone());
        if matches!(instruction, Instruction::Block { address, .. } if address == 0x1d000) {
            continue;
        }
        if matches!(instruction, Instruction::Write { address, .. } if address == 0x1d204) {
            writer.push(Instruction::Block {
                address: 0x1d000,
                values: &[0; 8],
            });
        }
    }
    assert!(queued(&writer.finish()).contains("changes while"));
}

#[test]
fn what_is_not_synced_the_other_side_does_not_see() {
    let mut bench = Bench::new(256, 64, 64, Epilogue::None);
    bench.run(&instructions(&bench.product)).unwrap();
    assert!(bench.buffers[2].bytes().iter().all(|byte| *byte == 0));
    let bytes = bench.product.product_bytes();
    bench.buffers[2].sync_from_device(0..bytes).unwrap();
    let before = bench.buffers[2].bytes().to_vec();
    assert!(before.iter().any(|byte| *byte != 0));
    // New rows that the device is not told of change nothing.
    bench.buffers[0].bytes_mut().fill(0);
    bench.run(&instructions(&bench.product)).unwrap();
    bench.buffers[2].sync_from_device(0..bytes).unwrap();
    assert_eq!(bench.buffers[2].bytes(), before);
    assert!(bench.buffers[2].sync_from_device(0..bytes + 1).is_err());
}

#[test]
fn buffers_of_the_wrong_kind_and_one_buffer_twice_are_refused() {
    let mut bench = Bench::new(256, 64, 64, Epilogue::None);
    let data = [0, 1, 2].map(|i| bench.buffers[i].as_ref());
    let wrong = Dispatch {
        instructions: data[0],
        words: 4,
        data: &data,
    };
    let refused = bench.device.submit(&[wrong]).err();
    assert!(matches!(refused, Some(NpuError::Misuse(_))));
}
