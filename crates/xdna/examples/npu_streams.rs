// SPDX-License-Identifier: MPL-2.0
//! Writes the instruction streams of transformer layers for AMD's tools to read:
//! `npu_streams DIRECTORY`.

use std::path::PathBuf;

use anyhow::Context;
use xdna::contract::{Epilogue, MatMul};
use xdna::stream::instructions;

/// Three passes of the array.
const ROWS: usize = 768;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os()
        .nth(1)
        .context("npu_streams DIRECTORY")?;
    let directory = PathBuf::from(directory);
    std::fs::create_dir_all(&directory)?;
    for d in [384, 512, 768] {
        // Queries, keys and values; attention's projection; the two feed-forward layers.
        let shapes = [
            (d, 3 * d, Epilogue::None),
            (d, d, Epilogue::None),
            (d, 4 * d, Epilogue::Gelu),
            (4 * d, d, Epilogue::None),
        ];
        for (depth, columns, epilogue) in shapes {
            let matmul = MatMul::new(ROWS, depth, columns, epilogue)?;
            let words = instructions(&matmul);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let path = directory.join(format!("width{d}-{depth}x{columns}.bin"));
            std::fs::write(&path, bytes)?;
            println!("{} {}", words[2], path.display());
        }
    }
    Ok(())
}
