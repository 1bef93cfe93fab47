// SPDX-License-Identifier: MPL-2.0
//! A and B in the order in which the cores take them, so that each transfer is one run of memory.
//!
//! Both are rows of blocks along the depth; B is transposed, as linear layers have their weights.
//!
//! | level | A | B |
//! |---|---|---|
//! | outermost | 128 rows | 64 rows: those of array column 0 (each eighth such group), then of column 1, … |
//! | then | tiles of 64 in depth | tiles of 64 in depth |
//! | in a tile | 16 rows | 16 rows |
//! | in those | eight blocks in depth | eight blocks in depth |
//! | innermost | the 16 rows | the 16 rows |

use super::bfp16::{self, Values};
use super::contract::{
    A_TILE_BYTES, B_TILE_BYTES, BLOCK_BYTES, COLUMNS, MatMul, SUB, TILE, TILE_ROWS,
};

/// Rows that lie together in a tile.
const GROUP: usize = 16;
/// Blocks of a row of a tile.
const BLOCKS: usize = TILE / SUB;

/// Where a tile has block `block` (0 to 7) of row `row`, counted in blocks.
const fn place(row: usize, block: usize) -> usize {
    (row / GROUP * BLOCKS + block) * GROUP + row % GROUP
}

/// Row and block (0 to 7) at place `index` of a tile, counted in blocks.
pub const fn position(index: usize) -> (usize, usize) {
    let (group, within) = (index / (BLOCKS * GROUP), index % (BLOCKS * GROUP));
    (group * GROUP + within % GROUP, within / GROUP)
}

/// Packs row `row` of a tile of A or B, `values` long, from the tile's first column on.
#[inline(always)]
pub fn pack_row(tile: &mut [u8], row: usize, values: &[f32]) {
    let values: &[Values] = values.as_chunks().0;
    for (block, values) in values.iter().enumerate() {
        let at = BLOCK_BYTES * place(row, block);
        tile[at..][..BLOCK_BYTES].copy_from_slice(&bfp16::encode(values));
    }
}

/// Packs row `row` (0 to 127) of A: `panel` has all tiles of its 128 rows.
#[inline(always)]
pub fn pack_a_row(panel: &mut [u8], row: usize, values: &[f32]) {
    for (tile, values) in panel
        .chunks_exact_mut(A_TILE_BYTES)
        .zip(values.chunks_exact(TILE))
    {
        pack_row(tile, row, values);
    }
}

/// Packs A, `[rows, depth]`, of which the last rows may be missing: they stay as they are.
///
/// # Panics
///
/// If `out` is not [`MatMul::a_bytes`] long.
pub fn pack_a(matmul: &MatMul, rows: &[f32], out: &mut [u8]) {
    assert_eq!(out.len(), matmul.a_bytes());
    let panels = out.chunks_exact_mut(matmul.k_tiles() * A_TILE_BYTES);
    for (panel, rows) in panels.zip(rows.chunks(TILE_ROWS * matmul.depth)) {
        for (row, values) in rows.chunks_exact(matmul.depth).enumerate() {
            pack_a_row(panel, row, values);
        }
    }
}

/// Packs Bᵀ, `[outputs, depth]`, of which the last outputs may be missing: they are zero.
///
/// # Panics
///
/// If `out` is not [`MatMul::b_bytes`] long.
pub fn pack_b(matmul: &MatMul, weight: &[f32], out: &mut [u8]) {
    assert_eq!(out.len(), matmul.b_bytes());
    let (depth, passes) = (matmul.depth, matmul.n_passes());
    let groups = out.chunks_exact_mut(matmul.k_tiles() * B_TILE_BYTES);
    for (index, group) in groups.enumerate() {
        let first = TILE * (index / passes + COLUMNS * (index % passes));
        let rows = weight.chunks_exact(depth).skip(first);
        let mut rows = rows.take(TILE);
        for row in 0..TILE {
            let Some(values) = rows.next() else {
                break;
            };
            let tiles = group.chunks_exact_mut(B_TILE_BYTES);
            for (tile, values) in tiles.zip(values.chunks_exact(TILE)) {
                pack_row(tile, row, values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Output;

    /// A number that tells its row and column.
    fn value(row: usize, k: usize) -> f32 {
        (row % 1000) as f32 + (k / 8 % 16) as f32 / 16.0
    }

    fn values(rows: usize, depth: usize) -> Vec<f32> {
        (0..rows * depth)
            .map(|i| value(i / depth, i % depth))
            .collect()
    }

    fn block(values: &[f32], depth: usize, row: usize, k: usize) -> [u8; BLOCK_BYTES] {
        let at = row * depth + k / SUB * SUB;
        bfp16::encode(&values[at..][..SUB].try_into().unwrap())
    }

    #[test]
    fn position_is_the_inverse_of_place() {
        for index in 0..TILE_ROWS * BLOCKS {
            let (row, block) = position(index);
            assert_eq!(place(row, block), index);
        }
    }

    #[test]
    fn pack_a_follows_the_order() {
        let matmul = MatMul::new(512, 192, 512, Output::F32).unwrap();
        let rows = values(512, 192);
        let mut packed = vec![0; matmul.a_bytes()];
        pack_a(&matmul, &rows, &mut packed);
        for (row, k) in [(0, 0), (7, 8), (9, 191), (130, 64), (511, 127), (383, 100)] {
            let tile = row / 128 * 3 + k / 64;
            let within = (row % 128 / 16 * 8 + k % 64 / 8) * 16 + row % 16;
            let at = (tile * 1024 + within) * 9;
            assert_eq!(packed[at..][..9], block(&rows, 192, row, k), "{row} {k}");
        }
    }

    #[test]
    fn pack_b_follows_the_order_and_pads() {
        let matmul = MatMul::new(512, 128, 1024, Output::F32).unwrap();
        let weight = values(1000, 128);
        let mut packed = vec![7; matmul.b_bytes()];
        packed.fill(0);
        pack_b(&matmul, &weight, &mut packed);
        let at = |output: usize, k: usize| {
            let (group, row) = (output / 64, output % 64);
            let tile = (group % 8 * 2 + group / 8) * 2 + k / 64;
            (tile * 512 + (row / 16 * 8 + k % 64 / 8) * 16 + row % 16) * 9
        };
        for (output, k) in [(0, 0), (9, 127), (64, 0), (511, 77), (512, 70), (999, 63)] {
            let found = &packed[at(output, k)..][..9];
            assert_eq!(found, block(&weight, 128, output, k), "{output} {k}");
        }
        assert_eq!(packed[at(1000, 64)..][..9], [0; 9]);
    }
}
