// SPDX-License-Identifier: MPL-2.0
//! The simulator, fed with generated streams: right numbers for every shape of transformer layers,
//! and a fault for each kind of mistake.

use std::time::{Duration, Instant};

use half::bf16;
use rayon::prelude::*;

use super::SimulatedNpu;
use super::compute::element;
use crate::bfp16;
use crate::contract::{BLOCK_BYTES, MatMul, Output, PASS_ROWS, Parameters, SUB, TILE, TILE_ROWS};
use crate::device::{BufferKind, Dispatch, NpuBuffer, NpuDevice, NpuError};
use crate::pack::{pack_a, pack_b};
use crate::stream::instructions;
use crate::txn::{Instruction, Reader, Writer, located};

/// Numbers as different as activations and weights are, the same each time.
fn number(i: usize) -> f32 {
    let hash = (i as u32).wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    let hash = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca6b);
    (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// A product with its operands on a simulated NPU.
struct Setup {
    matmul: MatMul,
    rows: Vec<f32>,
    weight: Vec<f32>,
    device: SimulatedNpu,
    buffers: [Box<dyn NpuBuffer>; 3],
}

impl Setup {
    fn new(rows: usize, depth: usize, columns: usize, output: Output) -> Self {
        let matmul = MatMul::new(rows, depth, columns, output).unwrap();
        let mut device = SimulatedNpu::new().unwrap();
        let sizes = [matmul.a_bytes(), matmul.b_bytes(), matmul.c_bytes()];
        let mut buffers = sizes.map(|bytes| device.allocate(BufferKind::Data, bytes).unwrap());
        let rows: Vec<f32> = (0..rows * depth).map(|i| number(i * 3)).collect();
        let weight: Vec<f32> = (0..depth * columns).map(|i| number(i) * 0.1).collect();
        pack_a(&matmul, &rows, buffers[0].bytes_mut());
        pack_b(&matmul, &weight, buffers[1].bytes_mut());
        for (buffer, bytes) in buffers.iter().zip(sizes).take(2) {
            buffer.sync_to_device(0..bytes).unwrap();
        }
        Self {
            matmul,
            rows,
            weight,
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
        let (a, b) = (blocks(&self.rows), blocks(&self.weight));
        let (matmul, c) = (&self.matmul, self.buffers[2].bytes());
        let compared = (0..bytes / 4).into_par_iter().step_by(step);
        compared
            .map(|i| {
                let (row, column) = (i / columns, i % columns);
                let expected = element(
                    &a[row * depth / SUB..][..depth / SUB],
                    &b[column * depth / SUB..][..depth / SUB],
                );
                let expected = match matmul.output {
                    Output::F32 => expected.to_bits(),
                    Output::Bf16 => u32::from(bf16::from_f32(expected).to_bits()),
                };
                let found = found(matmul, c, row, column);
                assert_eq!(found, expected, "{matmul:?}: {row}, {column}");
            })
            .count()
    }
}

/// Bits of C at (`row`, `column`).
fn found(matmul: &MatMul, c: &[u8], row: usize, column: usize) -> u32 {
    match matmul.output {
        Output::F32 => {
            let at = matmul.c_offset(row, column);
            u32::from_le_bytes(c[at..][..4].try_into().unwrap())
        }
        Output::Bf16 => {
            // The core's tile holds sub-tile after sub-tile, eight rows of eight values each, of
            // two bytes; the tile leaves the array as if it held values of four bytes.
            let (tile_row, tile_column) = (row % TILE_ROWS, column % TILE);
            let sub = tile_row / 8 * 8 + tile_column / 8;
            let half = sub * 64 + tile_row % 8 * 8 + tile_column % 8;
            let (sub, within) = (half / 2 / 64, half / 2 % 64);
            let row = row - tile_row + sub / 8 * 8 + within / 8;
            let column = column - tile_column + sub % 8 * 8 + within % 8;
            let at = matmul.c_offset(row, column) + half % 2 * 2;
            u32::from(u16::from_le_bytes([c[at], c[at + 1]]))
        }
    }
}

fn blocks(values: &[f32]) -> Vec<[u8; BLOCK_BYTES]> {
    let values: &[bfp16::Values] = values.as_chunks().0;
    values.par_iter().map(bfp16::encode).collect()
}

/// Runs a product and compares every `step`-th element with the definition; says how many those
/// were.
fn check(rows: usize, depth: usize, columns: usize, output: Output, step: usize) -> usize {
    let mut setup = Setup::new(rows, depth, columns, output);
    setup.run(&instructions(&setup.matmul)).unwrap();
    setup.compare(step)
}

/// Depth and columns of the products of a transformer layer `d` wide, and of the keys and values of
/// two decoder layers.
fn shapes(d: usize) -> [(usize, usize); 5] {
    let shapes = [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d), (d, 4 * d)];
    shapes.map(|(depth, columns)| (depth, columns.next_multiple_of(512)))
}

/// Widths of tiny, base and small.
const WIDTHS: [usize; 3] = [384, 512, 768];

#[test]
fn product_equals_the_definition() {
    check(512, 128, 512, Output::F32, 1);
    check(1024, 192, 1024, Output::F32, 1);
    check(512, 128, 1024, Output::Bf16, 1);
}

#[test]
fn products_of_layers_equal_the_definition() {
    for d in WIDTHS {
        for (depth, columns) in shapes(d) {
            check(512, depth, columns, Output::F32, 100_003);
        }
    }
    // Several blocks of rows: two drained at once, one at once, more than fit one group.
    check(1536, 128, 512, Output::F32, 10_007);
    check(1536, 128, 2560, Output::F32, 100_003);
    check(3072, 128, 512, Output::Bf16, 10_007);
}

/// No element is left out, for a whole window and each shortened one.
#[test]
#[ignore = "takes minutes: cargo test -p xdna --release every_element -- --ignored --nocapture"]
fn every_element_of_every_layer_equals_the_definition() {
    for d in WIDTHS {
        let begin = Instant::now();
        let mut compared = 0;
        for rows in (512..=1536).step_by(512) {
            for (depth, columns) in shapes(d) {
                compared += check(rows, depth, columns, Output::F32, 1);
            }
        }
        let columns: usize = shapes(d).iter().map(|(_, columns)| columns).sum();
        assert_eq!(compared, (512 + 1024 + 1536) * columns);
        println!("width {d}: {compared} elements in {:.0?}", begin.elapsed());
    }
}

/// A good stream with its instructions changed.
fn altered(matmul: &MatMul, mut alter: impl FnMut(&Instruction) -> bool) -> Vec<u32> {
    let words = instructions(matmul);
    let mut writer = Writer::default();
    for instruction in Reader::new(&words).unwrap() {
        let instruction = instruction.unwrap();
        if alter(&instruction) {
            writer.push(instruction);
        }
    }
    writer.finish()
}

fn failure(alter: impl FnMut(&Instruction) -> bool) -> NpuError {
    let mut setup = Setup::new(512, 128, 512, Output::F32);
    let words = altered(&setup.matmul, alter);
    let error = setup.run(&words).unwrap_err();
    // After a fault the device works again.
    setup.run(&instructions(&setup.matmul)).unwrap();
    error
}

/// The queue that feeds a row of cores with A.
const A_QUEUE: u32 = 0x1d214;

fn writes_to(instruction: &Instruction, offset: u32) -> bool {
    matches!(instruction, Instruction::Write { address, .. } if located(*address).2 == offset)
}

#[test]
fn unawaited_token_is_a_failure() {
    let error = failure(|instruction| !matches!(instruction, Instruction::Wait(_)));
    assert!(
        matches!(&error, NpuError::Failed(what) if what.contains("token")),
        "{error}"
    );
}

#[test]
fn missing_transfer_is_a_hang() {
    let mut dropped = false;
    let error = failure(|instruction| {
        let drop = writes_to(instruction, A_QUEUE) && !dropped;
        dropped |= drop;
        !drop
    });
    assert!(
        matches!(&error, NpuError::Timeout { reason, .. } if reason.contains("of ")),
        "{error}"
    );
}

#[test]
fn core_without_parameters_is_a_failure() {
    let error = failure(|instruction| !writes_to(instruction, Parameters::ADDRESS));
    assert!(error.to_string().contains("no parameters"), "{error}");
    let mut first = true;
    let error = failure(|instruction| {
        let drop = writes_to(instruction, Parameters::ADDRESS + 4) && first;
        first &= !drop;
        !drop
    });
    assert!(error.to_string().contains("contradict"), "{error}");
}

#[test]
fn descriptor_without_an_address_is_a_failure() {
    let error = failure(|instruction| !matches!(instruction, Instruction::Patch { .. }));
    assert!(error.to_string().contains("no address"), "{error}");
}

#[test]
fn stream_with_too_many_rows_leaves_its_buffer() {
    let mut setup = Setup::new(512, 128, 512, Output::F32);
    let larger = MatMul::new(1024, 128, 512, Output::F32).unwrap();
    let error = setup.run(&instructions(&larger)).unwrap_err();
    assert!(error.to_string().contains("leaves its buffer"), "{error}");
}

#[test]
fn queue_overflow_and_early_changes_are_failures() {
    let rows = 6 * PASS_ROWS;
    let fails = |words: &[u32]| {
        let mut setup = Setup::new(rows, 128, 512, Output::F32);
        setup.run(words).unwrap_err().to_string()
    };
    let matmul = MatMul::new(rows, 128, 512, Output::F32).unwrap();
    let hasty = altered(&matmul, |instruction| {
        !matches!(instruction, Instruction::Wait(_))
    });
    // The descriptors that the waits set free are written again, while tasks need them.
    assert!(fails(&hasty).contains("changes while"));
    let after_each_task = |extra: Instruction<'static>| {
        let words = instructions(&matmul);
        let mut writer = Writer::default();
        for instruction in Reader::new(&words).unwrap() {
            let instruction = instruction.unwrap();
            let task = writes_to(&instruction, A_QUEUE);
            writer.push(instruction);
            if task {
                writer.push(extra.clone());
            }
        }
        writer.finish()
    };
    let parameter = Instruction::Write {
        address: 0x0020_fc00,
        value: 1,
    };
    assert!(fails(&after_each_task(parameter)).contains("parameters change"));
    let task = Instruction::Write {
        address: A_QUEUE,
        value: 0,
    };
    assert!(fails(&after_each_task(task)).contains("fifth"));
}

#[test]
fn unsynced_bytes_stay_on_their_side() {
    let mut setup = Setup::new(512, 128, 512, Output::F32);
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
    let mut setup = Setup::new(512, 128, 512, Output::F32);
    let data = [0, 1, 2].map(|i| setup.buffers[i].as_ref());
    let wrong = Dispatch {
        instructions: data[0],
        words: 4,
        data: &data,
    };
    let refused = setup.device.submit(&[wrong]).err();
    assert!(matches!(refused, Some(NpuError::Misuse(_))));
}
