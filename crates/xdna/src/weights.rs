// SPDX-License-Identifier: MPL-2.0
//! The right operand in the order in which the array takes it.
//!
//! For each array column its tiles (64 columns of B each, every eighth of them) one after another; for each tile
//! those in depth one after another; each of these 8 × 8 sub-tiles and the tile's bias:
//!
//! | level | order |
//! |---|---|
//! | tile (64 × 64) | eight sub-tile columns; in each of these eight sub-tiles, from the first in depth to the last; then 64 × f32: the bias |
//! | sub-tile (8 × 8) | eight blocks, one per column |
//! | block | eight values along the depth, [`super::bfp16`] |

use super::arithmetic::Even;
use super::bfp16;
use super::contract::{
    BLOCK_BYTES, COLUMNS, Product, RIGHT_BYTES, RIGHT_VALUES, SUB, SUB_TILE_BYTES, TILE,
};

/// A matrix and its bias as they are in the model: `y = x Wᵀ + b`.
pub struct Linear<'a> {
    /// (N, K), row-major: an output's weights lie together.
    pub weight: &'a [f32],
    /// N, or nothing.
    pub bias: &'a [f32],
}

/// Packs `linear` for `product` to `out`, which has [`Product::right_bytes`].
pub fn pack(product: &Product, linear: &Linear, out: &mut [u8]) {
    assert_eq!(linear.weight.len(), product.columns * product.depth);
    assert_eq!(out.len(), product.right_bytes());
    let mut tiles = out.chunks_exact_mut(RIGHT_BYTES);
    for column in 0..COLUMNS {
        for own in 0..product.own_passes(column) {
            let first = (own * COLUMNS + column) * TILE;
            for (k, tile) in (0..product.depth).step_by(TILE).zip(&mut tiles) {
                pack_tile(product.depth, linear, first, k, tile);
            }
        }
    }
}

/// The tile of columns `first..first + 64` and depth `k..k + 64`.
fn pack_tile(depth: usize, linear: &Linear, first: usize, k: usize, out: &mut [u8]) {
    let (values, bias) = out.split_at_mut(RIGHT_VALUES);
    for (i, block) in values.chunks_exact_mut(BLOCK_BYTES).enumerate() {
        let place = Place::of(i);
        let from = (first + place.column) * depth + k + place.k;
        let weights = linear.weight[from..][..SUB].try_into();
        block.copy_from_slice(&bfp16::encode::<Even>(&weights.unwrap_or_default()));
    }
    for (i, bytes) in bias.chunks_exact_mut(4).enumerate() {
        let b = linear.bias.get(first + i).copied().unwrap_or_default();
        bytes.copy_from_slice(&b.to_le_bytes());
    }
}

/// Where in its tile block `i` lies.
pub struct Place {
    pub column: usize,
    /// Of the block's first value.
    pub k: usize,
}

impl Place {
    pub fn of(i: usize) -> Self {
        const BLOCKS: usize = SUB_TILE_BYTES / BLOCK_BYTES;
        let (sub_tile, in_sub_tile) = (i / BLOCKS, i % BLOCKS);
        const DEEP: usize = TILE / SUB;
        Self {
            column: sub_tile / DEEP * SUB + in_sub_tile,
            k: sub_tile % DEEP * SUB,
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
    fn every_weight_is_where_the_order_says() {
        let product = Product::new(256, 128, 576, Epilogue::None).unwrap();
        let weights: Vec<f32> = (0..576 * 128).map(|i| weight(i / 128, i % 128)).collect();
        let bias: Vec<f32> = (0..576).map(|i| i as f32 * 0.5).collect();
        let mut packed = vec![0; product.right_bytes()];
        let linear = Linear {
            weight: &weights,
            bias: &bias,
        };
        pack(&product, &linear, &mut packed);
        // Array column 1 has one tile, outputs 64..128, after column 0's two: 0..64 and 512..576.
        for (output, k) in [(0, 0), (9, 127), (64, 0), (127, 77), (575, 70), (512, 63)] {
            let (tile, column) = (output / 64, output % 64);
            let base = product.right_of(tile % 8).start + tile / 8 * 2 * RIGHT_BYTES;
            let base = base + k / 64 * RIGHT_BYTES;
            let sub_tile = column / 8 * 8 + k % 64 / 8;
            let block = &packed[base + sub_tile * 72 + column % 8 * 9..][..9];
            let expected = weights[output * 128 + k / 8 * 8..][..8].try_into().unwrap();
            assert_eq!(block, bfp16::encode::<Even>(&expected), "{output} {k}");
            let bias = &packed[base + RIGHT_VALUES + column * 4..][..4];
            assert_eq!(bias, (output as f32 * 0.5).to_le_bytes());
        }
    }
}
