// SPDX-License-Identifier: MPL-2.0
//! Writes the instruction streams of transformer layers for AMD's tools to read:
//! `npu_streams DIRECTORY`.

use std::path::PathBuf;

use anyhow::Context;
use xdna::contract::{MatMul, Output};
use xdna::stream::instructions;

/// Widths of tiny, base, small, medium and large.
const WIDTHS: [usize; 5] = [384, 512, 768, 1024, 1280];

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os()
        .nth(1)
        .context("npu_streams DIRECTORY")?;
    let directory = PathBuf::from(directory);
    std::fs::create_dir_all(&directory)?;
    for d in WIDTHS {
        // Queries, keys and values; attention's projection; the two feed-forward layers; keys and
        // values of two decoder layers are as wide as the first of these.
        for (depth, columns) in [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)] {
            let columns = columns.next_multiple_of(512);
            for (rows, output) in [(512, Output::F32), (1536, Output::F32), (512, Output::Bf16)] {
                let matmul = MatMul::new(rows, depth, columns, output)?;
                let words = instructions(&matmul);
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let name = format!("{rows}x{depth}x{columns}_m{}.bin", output as u32);
                let path = directory.join(name);
                std::fs::write(&path, bytes)?;
                println!("{} {}", words[2], path.display());
            }
        }
    }
    Ok(())
}
