// SPDX-License-Identifier: MPL-2.0
//! The core program of `kernels/aie2p`, compiled for this machine with a stand-in for AMD's
//! aie_api, computes the same bits as the simulator. AMD's compiler may still translate it
//! differently.

#[path = "overlay/header.rs"]
mod header;
#[path = "overlay/machine.rs"]
mod machine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use machine::{Case, Machine};
use xdna::bfp16;
use xdna::contract::{
    A_TILE_BYTES, B_TILE_BYTES, BLOCK_BYTES, COLUMNS, MatMul, Output, PASS_COLUMNS, PASS_ROWS,
    ROWS, TILE,
};

fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/aie2p")
}

#[test]
fn header_says_what_the_contract_says() {
    let path = kernels().join("contract.h");
    let expected = header::text();
    if std::env::var_os("WHISPERNPU_WRITE_HEADER").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "contract.h differs from contract.rs: WHISPERNPU_WRITE_HEADER=1 cargo test -p xdna header"
    );
}

/// `kernels/aie2p/check`: limits of AIE2P, locks and streams of the array design.
#[test]
fn array_design_fits_and_runs() {
    let output = Command::new("python3")
        .arg(kernels().join("check"))
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}");
    println!("{said}");
}

/// Numbers from a fixed beginning (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 20) % end
    }

    /// Within ±1.
    fn fraction(&mut self) -> f32 {
        self.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// How the blocks of a case are made.
#[derive(Clone, Copy)]
enum Values {
    /// As activations and weights are.
    Usual,
    /// Exponents far apart, zeros, mantissas of 127 and -128.
    Edges,
    /// As usual, but far below one and far above what f32 loses.
    Small,
}

/// Blocks of tiles of so many bytes in all.
fn stream(random: &mut Random, values: Values, bytes: usize) -> Vec<u8> {
    let blocks = (0..bytes / BLOCK_BYTES).map(|_| match values {
        Values::Usual => bfp16::encode(&std::array::from_fn(|_| 4.0 * random.fraction())),
        Values::Small => {
            bfp16::encode(&std::array::from_fn(|_| 2f32.powi(-43) * random.fraction()))
        }
        Values::Edges => {
            let mut block = [0; BLOCK_BYTES];
            let exponent = [0, 90, 127, 150][random.below(4) as usize];
            block[0] = exponent;
            for byte in block[1..].iter_mut().filter(|_| exponent > 0) {
                let any = random.next() as u8;
                *byte = [0, 0x80, 0x7f, any][random.below(4) as usize];
            }
            block
        }
    });
    blocks.flatten().collect()
}

fn case(
    random: &mut Random,
    values: Values,
    output: Output,
    (k_tiles, passes): (usize, usize),
) -> Case {
    let matmul = MatMul::new(PASS_ROWS, k_tiles * TILE, PASS_COLUMNS, output).unwrap();
    let tiles = k_tiles * passes;
    Case {
        a: std::array::from_fn(|_| stream(random, values, tiles * A_TILE_BYTES)),
        b: std::array::from_fn(|_| stream(random, values, tiles * B_TILE_BYTES)),
        matmul,
        passes,
    }
}

/// Each core's products of several dispatches after another, bit for bit.
fn compare(machine: &Machine, cases: &[Case], cores: &[(usize, usize)]) {
    let expected: Vec<_> = cases.iter().map(Case::simulate).collect();
    for &(row, column) in cores {
        let found = machine.run(cases, row, column);
        let expected: Vec<u8> = expected
            .iter()
            .flat_map(|case| case[row][column].clone())
            .collect();
        assert_eq!(found.len(), expected.len(), "core {row}, {column}");
        let (found, expected) = (found.chunks(4), expected.chunks(4));
        let differs = found.zip(expected).position(|(a, b)| a != b);
        assert_eq!(differs, None, "core {row}, {column}");
    }
}

#[test]
fn core_program_computes_the_simulators_bits() {
    let machine = Machine::compile(&kernels());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for values in [Values::Usual, Values::Edges, Values::Small] {
        // Odd numbers of tiles leave the turn of buffers with the second one.
        let shapes = [
            ((2, 1), Output::F32),
            ((3, 1), Output::Bf16),
            ((5, 3), Output::F32),
            ((2, 2), Output::Bf16),
        ];
        let cases = shapes.map(|(shape, output)| case(&mut random, values, output, shape));
        compare(&machine, &cases, &[(0, 0), (1, 7), (2, 3), (3, 4)]);
    }
}

#[test]
fn core_program_serves_every_core() {
    let machine = Machine::compile(&kernels());
    let case = case(&mut Random(3), Values::Usual, Output::F32, (2, 1));
    let cores: Vec<_> = (0..ROWS * COLUMNS)
        .map(|core| (core / COLUMNS, core % COLUMNS))
        .collect();
    compare(&machine, &[case], &cores);
}

/// Depth of the deepest product of small, and a sum that the order of additions decides.
#[test]
fn core_program_adds_deep_sums_in_order() {
    let machine = Machine::compile(&kernels());
    let case = case(&mut Random(7), Values::Edges, Output::F32, (48, 1));
    compare(&machine, &[case], &[(1, 2)]);
}
