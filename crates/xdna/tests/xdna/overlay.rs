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

use half::bf16;
use machine::{Case, Machine};
use xdna::arithmetic::Even;
use xdna::bfp16;
use xdna::contract::{
    A_TILE_BYTES, B_TILE_BYTES, BLOCK_BYTES, COLUMNS, Epilogue, Parameters, ROWS, SUB, TILE,
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

/// How the values of a case are made.
#[derive(Clone, Copy)]
enum Values {
    /// As activations and weights are.
    Usual,
    /// Powers of two from 2^-20 to 2^20 beside zeros, denormals, values that carry to 128,
    /// mantissas of -128.
    Edges,
    /// As usual, but around 2^-87: far below one, far above what f32 loses.
    Small,
}

fn a_stream(random: &mut Random, values: Values, tiles: usize) -> Vec<u8> {
    let mut block = 0;
    let values = (0..tiles * A_TILE_BYTES / 2).map(|i| {
        if i % SUB == 0 {
            block = random.below(8);
        }
        let x = match (values, block) {
            (Values::Usual, _) => 4.0 * random.fraction(),
            (Values::Small, _) => 2f32.powi(-50) * random.fraction(),
            (_, 0) => 0.0,
            (_, 1) => f32::from_bits((random.below(0x80) as u32) << 16),
            // Seven bits and the last of eight set: rounds to 128, or to -128.
            (_, 2) => [255.0, -255.0, 254.5, 1.0][random.below(4) as usize],
            (_, 3) => -(random.below(256) as f32),
            (_, 4) => f32::from_bits(
                (random.next() as u32 & 0x8000_0000) | ((107 + random.below(40) as u32) << 23),
            ),
            (_, 5) if random.below(3) > 0 => 0.0,
            _ => random.fraction() * 2f32.powi(random.below(40) as i32 - 20),
        };
        bf16::from_f32(x)
    });
    values.flat_map(|x| x.to_bits().to_le_bytes()).collect()
}

fn b_stream(random: &mut Random, values: Values, tiles: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(tiles * B_TILE_BYTES);
    for _ in 0..tiles {
        for _ in 0..TILE * TILE / SUB {
            let mut block = [0; BLOCK_BYTES];
            match values {
                Values::Usual => {
                    let weights = std::array::from_fn(|_| 0.2 * random.fraction());
                    block = bfp16::encode::<Even>(&weights);
                }
                Values::Small => {
                    let weights = std::array::from_fn(|_| 2f32.powi(-37) * random.fraction());
                    block = bfp16::encode::<Even>(&weights);
                }
                Values::Edges => {
                    block[0] = [0, 90, 127, 150][random.below(4) as usize];
                    for byte in &mut block[1..] {
                        let any = random.next() as u8;
                        *byte = [0, 0x80, 0x7f, any][random.below(4) as usize];
                    }
                    if block[0] == 0 {
                        block = [0; BLOCK_BYTES];
                    }
                }
            }
            bytes.extend(block);
        }
        let scale = match values {
            Values::Small => 2f32.powi(-85),
            _ => 2.0,
        };
        for _ in 0..TILE {
            bytes.extend((scale * random.fraction()).to_le_bytes());
        }
    }
    bytes
}

fn case(random: &mut Random, values: Values, parameters: Parameters) -> Case {
    let count = |passes: u32| (parameters.k_tiles * parameters.m_passes * passes) as usize;
    Case {
        a: std::array::from_fn(|_| a_stream(random, values, count(parameters.n_passes))),
        b: std::array::from_fn(|_| b_stream(random, values, count(parameters.own_passes))),
        parameters,
    }
}

/// `[K / 64, M / 256, passes over the columns, own passes]`
fn parameters(
    [k_tiles, m_passes, n_passes, own_passes]: [u32; 4],
    epilogue: Epilogue,
) -> Parameters {
    Parameters {
        k_tiles,
        m_passes,
        n_passes,
        own_passes,
        epilogue: epilogue as u32,
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
        let differs = found
            .chunks(2)
            .zip(expected.chunks(2))
            .position(|(a, b)| a != b);
        if let Some(place) = differs {
            let at = |bytes: &[u8]| bf16::from_le_bytes([bytes[2 * place], bytes[2 * place + 1]]);
            let (found, expected) = (at(&found), at(&expected));
            panic!("core {row}, {column}: value {place} is {found}, not {expected}");
        }
    }
}

#[test]
fn core_program_computes_the_simulators_bits() {
    let machine = Machine::compile(&kernels());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for epilogue in [Epilogue::None, Epilogue::Gelu] {
        for values in [Values::Usual, Values::Edges, Values::Small] {
            let shapes = [[1, 1, 1, 1], [6, 1, 1, 1], [3, 2, 2, 2]];
            let cases = shapes.map(|shape| case(&mut random, values, parameters(shape, epilogue)));
            compare(&machine, &cases, &[(0, 0), (1, 7), (2, 3), (3, 4)]);
        }
    }
}

#[test]
fn core_program_serves_every_core() {
    let machine = Machine::compile(&kernels());
    let mut random = Random(3);
    let case = case(
        &mut random,
        Values::Usual,
        parameters([2, 1, 1, 1], Epilogue::Gelu),
    );
    let cores: Vec<_> = (0..ROWS * COLUMNS)
        .map(|core| (core / COLUMNS, core % COLUMNS))
        .collect();
    compare(&machine, &[case], &cores);
}

/// Buffers are used in turn across dispatches: those with an odd number of tiles leave the turn
/// with the second buffer.
#[test]
fn core_program_drops_a_in_idle_passes() {
    let machine = Machine::compile(&kernels());
    let mut random = Random(5);
    let shapes = [
        [1, 1, 1, 0],
        [1, 3, 3, 2],
        [3, 1, 1, 1],
        [2, 2, 3, 1],
        [1, 1, 1, 1],
    ];
    let epilogues = [Epilogue::None, Epilogue::Gelu].into_iter().cycle();
    let cases: Vec<_> = shapes
        .into_iter()
        .zip(epilogues)
        .map(|(shape, epilogue)| case(&mut random, Values::Usual, parameters(shape, epilogue)))
        .collect();
    compare(&machine, &cases, &[(0, 0), (3, 7)]);
}

/// Depth of the deepest product of small, and a sum that the order of additions decides.
#[test]
fn core_program_adds_deep_sums_in_order() {
    let machine = Machine::compile(&kernels());
    let mut random = Random(7);
    let case = case(
        &mut random,
        Values::Edges,
        parameters([48, 1, 1, 1], Epilogue::None),
    );
    compare(&machine, &[case], &[(1, 2)]);
}
