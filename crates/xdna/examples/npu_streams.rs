// SPDX-License-Identifier: MPL-2.0
//! Writes the instruction streams of an encoder's products, for AMD's tools to read: npu_streams DIRECTORY

use std::path::PathBuf;

use anyhow::Context;
use xdna::contract::{Epilogue, Product};
use xdna::streams::instructions;

/// A lane: half of a window of 30 s, in passes of 256 rows.
const ROWS: usize = 768;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os()
        .nth(1)
        .context("npu_streams DIRECTORY")?;
    let directory = PathBuf::from(directory);
    std::fs::create_dir_all(&directory)?;
    for (model, d) in [("tiny", 384), ("base", 512), ("small", 768)] {
        // Queries, keys and values; attention's projection; the two feed-forward layers.
        let shapes = [
            (d, 3 * d, Epilogue::None),
            (d, d, Epilogue::None),
            (d, 4 * d, Epilogue::Gelu),
            (4 * d, d, Epilogue::None),
        ];
        for (depth, columns, epilogue) in shapes {
            let product = Product::new(ROWS, depth, columns, epilogue)?;
            let words = instructions(&product);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let path = directory.join(format!("{model}-{depth}x{columns}.bin"));
            std::fs::write(&path, bytes)?;
            println!("{} {}", words[2], path.display());
        }
    }
    Ok(())
}
