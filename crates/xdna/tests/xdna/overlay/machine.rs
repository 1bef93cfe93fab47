// SPDX-License-Identifier: MPL-2.0
//! The core program as a process of this machine, and the simulator with the same input.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use xdna::contract::{A_TILE_BYTES, B_TILE_BYTES, C_TILE_BYTES, COLUMNS, MatMul, ROWS};
use xdna::simulator::compute::{self, Pass};

/// A dispatch: the tiles of all rows and columns, pass after pass.
pub struct Case {
    pub matmul: MatMul,
    /// Tiles of C that a core computes.
    pub passes: usize,
    pub a: [Vec<u8>; ROWS],
    pub b: [Vec<u8>; COLUMNS],
}

/// Tiles of C of each row and column, one after another.
type Products = [[Vec<u8>; COLUMNS]; ROWS];

impl Case {
    pub fn simulate(&self) -> Products {
        let mut cores = compute::cores().unwrap();
        let mut found = Products::default();
        let k_tiles = self.matmul.k_tiles();
        for pass in 0..self.passes {
            let part = |stream: &Vec<u8>, bytes: usize| {
                stream[pass * k_tiles * bytes..][..k_tiles * bytes].to_vec()
            };
            let a = std::array::from_fn(|row| part(&self.a[row], A_TILE_BYTES));
            let b = std::array::from_fn(|column| part(&self.b[column], B_TILE_BYTES));
            let mut products = Default::default();
            cores.compute(&mut Pass {
                k_tiles,
                output: self.matmul.output,
                a: &a,
                b: &b,
                c: &mut products,
            });
            for (column, product) in products.iter().enumerate() {
                for (row, tile) in product.chunks_exact(C_TILE_BYTES).enumerate() {
                    found[row][column].extend(tile);
                }
            }
        }
        found
    }
}

/// The core program, compiled.
pub struct Machine(PathBuf);

impl Machine {
    /// Compiles the program, once for all tests.
    pub fn compile(kernels: &Path) -> Self {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        Self(PROGRAM.get_or_init(|| build(kernels)).clone())
    }

    /// What the program of core (`row`, `column`) writes in reply to `cases`.
    pub fn run(&self, cases: &[Case], row: usize, column: usize) -> Vec<u8> {
        let mut child = Command::new(&self.0)
            .arg((row * COLUMNS + column).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = Vec::new();
        for case in cases {
            let words = case.matmul.parameters().words();
            let words = words.into_iter().chain([case.passes as u32]);
            input.extend(words.flat_map(u32::to_le_bytes));
            input.extend(&case.a[row]);
            input.extend(&case.b[column]);
        }
        let mut to = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || to.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "core {row}, {column}: {said}");
        writer.join().unwrap().unwrap();
        output.stdout
    }
}

fn build(kernels: &Path) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("run_core");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    // Nothing may be computed in more precision than written, as contraction to fused operations
    // would.
    let flags = "-std=c++20 -O2 -ffp-contract=off -fno-strict-aliasing -Wall -Wextra -Werror";
    let built = Command::new(&compiler)
        .args(flags.split(' '))
        .arg("-I")
        .arg(kernels.join("host"))
        .arg("-I")
        .arg(kernels)
        .args([kernels.join("core.cc"), kernels.join("host/run_core.cc")])
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("no C++ compiler ({compiler}): {error}"));
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    program
}
