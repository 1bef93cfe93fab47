// SPDX-License-Identifier: MPL-2.0
//! B in the order in which the array takes it.
//!
//! First come all tiles of array column 0 (64 columns of B each, every eighth of them), then those
//! of column 1, and so on. Within a column, tiles in depth follow each other:
//!
//! | level | order |
//! |---|---|
//! | tile (64 × 64) | eight columns of sub-tiles, each from the first in depth to the last; then the bias, 64 × f32 |
//! | sub-tile (8 × 8) | eight blocks, one per column |
//! | block | eight values along the depth, see [`super::bfp16`] |

use super::arithmetic::Even;
use super::bfp16;
use super::contract::{
    B_TILE_BYTES, B_VALUE_BYTES, BLOCK_BYTES, COLUMNS, MatMul, SUB, SUB_TILE_BYTES, TILE,
};

/// A matrix and its bias as linear layers have them: `y = x Wᵀ + b`.
pub struct Linear<'a> {
    /// `[N, K]`, row-major: the weights of an output lie together.
    pub weight: &'a [f32],
    /// `[N]`, or empty.
    pub bias: &'a [f32],
}

/// Packs `linear` for `matmul` to `out`.
///
/// # Panics
///
/// If the weight is not `[N, K]`, or `out` has not [`MatMul::b_bytes`].
pub fn pack(matmul: &MatMul, linear: &Linear, out: &mut [u8]) {
    assert_eq!(linear.weight.len(), matmul.columns * matmul.depth);
    assert_eq!(out.len(), matmul.b_bytes());
    let mut tiles = out.chunks_exact_mut(B_TILE_BYTES);
    for column in 0..COLUMNS {
        for pass in 0..matmul.own_passes(column) {
            let first = (pass * COLUMNS + column) * TILE;
            for (k, tile) in (0..matmul.depth).step_by(TILE).zip(&mut tiles) {
                pack_tile(matmul.depth, linear, first, k, tile);
            }
        }
    }
}

/// Packs the tile of columns `first..first + 64` and depth `k..k + 64`.
fn pack_tile(depth: usize, linear: &Linear, first: usize, k: usize, out: &mut [u8]) {
    let (values, bias) = out.split_at_mut(B_VALUE_BYTES);
    for (i, block) in values.chunks_exact_mut(BLOCK_BYTES).enumerate() {
        let position = BlockPosition::of(i);
        let from = (first + position.column) * depth + k + position.k;
        let weights = linear.weight[from..][..SUB].try_into();
        block.copy_from_slice(&bfp16::encode::<Even>(&weights.unwrap_or_default()));
    }
    for (i, bytes) in bias.chunks_exact_mut(4).enumerate() {
        let b = linear.bias.get(first + i).copied().unwrap_or_default();
        bytes.copy_from_slice(&b.to_le_bytes());
    }
}

/// Where a block lies in its tile.
pub struct BlockPosition {
    /// Column of the tile.
    pub column: usize,
    /// Depth of the block's first value in the tile.
    pub k: usize,
}

impl BlockPosition {
    /// The position of block `index` of a tile.
    pub fn of(index: usize) -> Self {
        const BLOCKS: usize = SUB_TILE_BYTES / BLOCK_BYTES;
        const SUB_TILES_IN_DEPTH: usize = TILE / SUB;
        let (sub_tile, block) = (index / BLOCKS, index % BLOCKS);
        Self {
            column: sub_tile / SUB_TILES_IN_DEPTH * SUB + block,
            k: sub_tile % SUB_TILES_IN_DEPTH * SUB,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::Epilogue;
    use super::*;

    /// Weights that bfp16 holds exactly, since 8 adjacent ones are alike.
    fn weight(output: usize, k: usize) -> f32 {
        (output % 100) as f32 + (k / 8 % 16) as f32 / 16.0
    }

    #[test]
    fn pack_follows_the_order() {
        let matmul = MatMul::new(256, 128, 576, Epilogue::None).unwrap();
        let weights: Vec<f32> = (0..576 * 128).map(|i| weight(i / 128, i % 128)).collect();
        let bias: Vec<f32> = (0..576).map(|i| i as f32 * 0.5).collect();
        let mut packed = vec![0; matmul.b_bytes()];
        let linear = Linear {
            weight: &weights,
            bias: &bias,
        };
        pack(&matmul, &linear, &mut packed);
        // Array column 1 has one tile, outputs 64..128, after column 0's two: 0..64 and 512..576.
        for (output, k) in [(0, 0), (9, 127), (64, 0), (127, 77), (575, 70), (512, 63)] {
            let (tile, column) = (output / 64, output % 64);
            let base = matmul.b_range(tile % 8).start + tile / 8 * 2 * B_TILE_BYTES;
            let base = base + k / 64 * B_TILE_BYTES;
            let sub_tile = column / 8 * 8 + k % 64 / 8;
            let block = &packed[base + sub_tile * 72 + column % 8 * 9..][..9];
            let expected = weights[output * 128 + k / 8 * 8..][..8].try_into().unwrap();
            assert_eq!(block, bfp16::encode::<Even>(&expected), "{output} {k}");
            let bias = &packed[base + B_VALUE_BYTES + column * 4..][..4];
            assert_eq!(bias, (output as f32 * 0.5).to_le_bytes());
        }
    }
}
