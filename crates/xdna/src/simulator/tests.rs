// SPDX-License-Identifier: MPL-2.0
//! The simulator, fed with generated streams: right numbers for every shape of transformer layers,
//! and a fault for each kind of mistake.

use std::time::{Duration, Instant};

use half::bf16;
use rayon::prelude::*;

use super::SimulatedNpu;
use super::compute::element;
use crate::arithmetic::Even;
use crate::bfp16;
use crate::contract::{BLOCK_BYTES, Epilogue, MatMul, SUB};
use crate::device::{BufferKind, Dispatch, NpuBuffer, NpuDevice, NpuError};
use crate::stream::instructions;
use crate::txn::{Direction, Instruction, Reader, Writer};
use crate::weights::{Linear, pack};

/// Numbers as different as activations and weights are, the same each time.
fn number(i: usize) -> f32 {
    let hash = (i as u32).wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    let hash = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca6b);
    (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// A product with its operands on a simulated NPU.
struct Setup {
    matmul: MatMul,
    weight: Vec<f32>,
    bias: Vec<f32>,
    device: SimulatedNpu,
    buffers: [Box<dyn NpuBuffer>; 3],
}

impl Setup {
    fn new(rows: usize, depth: usize, columns: usize, epilogue: Epilogue) -> Self {
        let matmul = MatMul::new(rows, depth, columns, epilogue).unwrap();
        let mut device = SimulatedNpu::new().unwrap();
        let sizes = [matmul.a_bytes(), matmul.b_bytes(), matmul.c_bytes()];
        let mut buffers = sizes.map(|bytes| device.allocate(BufferKind::Data, bytes).unwrap());
        let weight: Vec<f32> = (0..depth * columns).map(|i| number(i) * 0.1).collect();
        let bias: Vec<f32> = (0..columns).map(|i| number(i + 7)).collect();
        for (i, to) in buffers[0].bytes_mut().chunks_exact_mut(2).enumerate() {
            to.copy_from_slice(&bf16::from_f32(number(i * 3)).to_le_bytes());
        }
        let linear = Linear {
            weight: &weight,
            bias: &bias,
        };
        pack(&matmul, &linear, buffers[1].bytes_mut());
        for (buffer, bytes) in buffers.iter().zip(sizes).take(2) {
            buffer.sync_to_device(0..bytes).unwrap();
        }
        Self {
            matmul,
            weight,
            bias,
            device,
            buffers,
        }
    }

    fn run(&mut self, words: &[u32]) -> Result<(), NpuError> {
        let mut stream = self
            .device
            .allocate(BufferKind::Instructions, 4 * words.len())?;
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

    /// Compares every `step`-th element of the product with the definition; says how many those
    /// were.
    fn compare(&mut self, step: usize) -> usize {
        let MatMul { depth, columns, .. } = self.matmul;
        let bytes = self.matmul.c_bytes();
        self.buffers[2].sync_from_device(0..bytes).unwrap();
        let values: Vec<f32> = floats(self.buffers[0].bytes()).collect();
        let (a, b) = (blocks(&values), blocks(&self.weight));
        let found: Vec<f32> = floats(self.buffers[2].bytes()).collect();
        let compared = (0..found.len()).into_par_iter().step_by(step);
        compared
            .map(|i| {
                let (row, column) = (i / columns, i % columns);
                let expected = element::<Even>(
                    &a[row * depth / SUB..][..depth / SUB],
                    &b[column * depth / SUB..][..depth / SUB],
                    self.bias[column],
                    self.matmul.epilogue,
                );
                let (found, expected) = (found[i].to_bits(), expected.to_f32().to_bits());
                assert_eq!(found, expected, "{:?}: {row}, {column}", self.matmul);
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

/// Runs a product and compares every `step`-th element with the definition; says how many those
/// were.
fn check(rows: usize, depth: usize, columns: usize, epilogue: Epilogue, step: usize) -> usize {
    let mut setup = Setup::new(rows, depth, columns, epilogue);
    setup.run(&instructions(&setup.matmul)).unwrap();
    setup.compare(step)
}

/// Depth, columns and epilogue of the products of a transformer layer `d` wide, and of the keys and
/// values of two decoder layers.
fn shapes(d: usize) -> [(usize, usize, Epilogue); 5] {
    [
        (d, 3 * d, Epilogue::None),
        (d, d, Epilogue::None),
        (d, 4 * d, Epilogue::Gelu),
        (4 * d, d, Epilogue::None),
        (d, 4 * d, Epilogue::None),
    ]
}

/// Widths of common models.
const WIDTHS: [usize; 3] = [384, 512, 768];

#[test]
fn product_with_idle_columns_equals_the_definition() {
    check(256, 128, 576, Epilogue::Gelu, 1);
    check(512, 64, 64, Epilogue::None, 1);
}

#[test]
fn products_of_layers_equal_the_definition() {
    for d in WIDTHS {
        for (depth, columns, epilogue) in shapes(d) {
            check(1536, depth, columns, epilogue, 100_003);
        }
    }
    check(768, 384, 1152, Epilogue::None, 10_007);
}

/// No element is left out, for a whole window and each shortened one.
#[test]
#[ignore = "takes minutes: cargo test -p xdna --release every_element -- --ignored --nocapture"]
fn every_element_of_every_layer_equals_the_definition() {
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
fn altered(matmul: &MatMul, mut alter: impl FnMut(usize, &Instruction) -> bool) -> Vec<u32> {
    let words = instructions(matmul);
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
    let mut setup = Setup::new(256, 64, 512, Epilogue::None);
    let words = altered(&setup.matmul, alter);
    let error = setup.run(&words).unwrap_err();
    // After a fault the device works again.
    setup.run(&instructions(&setup.matmul)).unwrap();
    error
}

#[test]
fn unawaited_token_is_a_failure() {
    let error = failure(|_, instruction| !matches!(instruction, Instruction::Wait(_)));
    assert!(
        matches!(&error, NpuError::Failed(what) if what.contains("token")),
        "{error}"
    );
}

#[test]
fn missing_transfer_is_a_hang() {
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
fn unstarted_core_is_a_hang() {
    let error = failure(|i, _| i != 1);
    assert!(
        matches!(&error, NpuError::Timeout { reason, .. } if reason.contains("not started")),
        "{error}"
    );
}

#[test]
fn descriptor_without_an_address_is_a_failure() {
    let error = failure(|_, instruction| !matches!(instruction, Instruction::Patch { .. }));
    assert!(error.to_string().contains("no address"), "{error}");
}

#[test]
fn stream_with_too_many_rows_leaves_its_buffer() {
    let mut setup = Setup::new(256, 64, 512, Epilogue::None);
    let larger = MatMul::new(512, 64, 512, Epilogue::None).unwrap();
    let error = setup.run(&instructions(&larger)).unwrap_err();
    assert!(error.to_string().contains("leaves its buffer"), "{error}");
}

#[test]
fn queue_overflow_and_busy_descriptor_are_failures() {
    let queued = |words: &[u32]| {
        let mut setup = Setup::new(256, 64, 64 * 8 * 6, Epilogue::None);
        setup.run(words).unwrap_err().to_string()
    };
    let matmul = MatMul::new(256, 64, 64 * 8 * 6, Epilogue::None).unwrap();
    let hasty = altered(
        &matmul,
        |_, instruction| !matches!(instruction, Instruction::Wait(channel) if channel.direction == Direction::FromMemory),
    );
    assert!(queued(&hasty).contains("fifth"));
    let words = instructions(&matmul);
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
fn unsynced_bytes_stay_on_their_side() {
    let mut setup = Setup::new(256, 64, 64, Epilogue::None);
    setup.run(&instructions(&setup.matmul)).unwrap();
    assert!(setup.buffers[2].bytes().iter().all(|byte| *byte == 0));
    let bytes = setup.matmul.c_bytes();
    setup.buffers[2].sync_from_device(0..bytes).unwrap();
    let before = setup.buffers[2].bytes().to_vec();
    assert!(before.iter().any(|byte| *byte != 0));
    // New rows that the device is not told of change nothing.
    setup.buffers[0].bytes_mut().fill(0);
    setup.run(&instructions(&setup.matmul)).unwrap();
    setup.buffers[2].sync_from_device(0..bytes).unwrap();
    assert_eq!(setup.buffers[2].bytes(), before);
    assert!(setup.buffers[2].sync_from_device(0..bytes + 1).is_err());
}

#[test]
fn buffer_of_the_wrong_kind_is_refused() {
    let mut setup = Setup::new(256, 64, 64, Epilogue::None);
    let data = [0, 1, 2].map(|i| setup.buffers[i].as_ref());
    let wrong = Dispatch {
        instructions: data[0],
        words: 4,
        data: &data,
    };
    let refused = setup.device.submit(&[wrong]).err();
    assert!(matches!(refused, Some(NpuError::Misuse(_))));
}
