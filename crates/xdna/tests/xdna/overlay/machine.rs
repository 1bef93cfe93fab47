// SPDX-License-Identifier: MPL-2.0
//! The core program as a process of this machine, and what the emulation says to the same input.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use xdna::arithmetic::Even;
use xdna::contract::{COLUMNS, Epilogue, LEFT_BYTES, PRODUCT_BYTES, Parameters, RIGHT_BYTES, ROWS};
use xdna::emulation::{self, Pass};

/// A dispatch: the streams of all rows and columns, pass after pass.
pub struct Case {
    pub parameters: Parameters,
    pub left: [Vec<u8>; ROWS],
    pub right: [Vec<u8>; COLUMNS],
}

/// Tiles of C of each row and column, one after another.
type Products = [[Vec<u8>; COLUMNS]; ROWS];

impl Case {
    pub fn emulate(&self) -> Products {
        let mut cores = emulation::cores::<Even>().unwrap();
        let mut found = Products::default();
        let k_tiles = self.parameters.k_tiles as usize;
        let passes = self.parameters.m_passes * self.parameters.own_passes;
        for pass in 0..passes as usize {
            let part = |stream: &Vec<u8>, bytes: usize| {
                stream[pass * k_tiles * bytes..][..k_tiles * bytes].to_vec()
            };
            let left = std::array::from_fn(|row| part(&self.left[row], LEFT_BYTES));
            let right = std::array::from_fn(|column| part(&self.right[column], RIGHT_BYTES));
            let mut products = Default::default();
            cores.compute(&mut Pass {
                k_tiles,
                epilogue: if self.parameters.epilogue == 0 {
                    Epilogue::None
                } else {
                    Epilogue::Gelu
                },
                left: &left,
                right: &right,
                products: &mut products,
            });
            for (column, product) in products.iter().enumerate() {
                for (row, tile) in product.chunks_exact(PRODUCT_BYTES).enumerate() {
                    found[row][column].extend(tile);
                }
            }
        }
        found
    }
}

pub struct Machine(PathBuf);

impl Machine {
    /// Nothing, with a line that says why, where there is no C++ compiler.
    pub fn compile(kernels: &Path) -> Option<Self> {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        PROGRAM.get_or_init(|| build(kernels)).clone().map(Self)
    }

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
            let words = case.parameters.words();
            input.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            input.extend(&case.left[row]);
            input.extend(&case.right[column]);
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

fn build(kernels: &Path) -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("run_core");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    // Nothing may be computed in more precision than written, as contraction to fused operations would.
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
        .output();
    match built {
        Err(error) => {
            eprintln!("skipped: no C++ compiler ({compiler}: {error})");
            None
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            Some(program)
        }
    }
}
