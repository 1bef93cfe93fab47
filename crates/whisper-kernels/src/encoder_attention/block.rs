// SPDX-License-Identifier: MPL-2.0
//! What attention asks of the number format it is computed in.

use std::ops::Range;

use crate::gemm::{Epilogue, TileSource};
use crate::kernel::GemmKernel;

/// Queries, keys and values of some rows of one head, in one number format.
///
/// Queries carry the factor log2 e / √(head width).
pub trait AttentionBlock<K: GemmKernel>: Sized + Send + Sync {
    /// A softmax weight: an element of the left operand of [`AttentionBlock::apply_values`].
    type Weight;
    /// Rows of weights.
    type Weights: Send + Sync;
    /// Weights are rounded from numbers in [0, 2^`WEIGHT_EXPONENT`].
    const WEIGHT_EXPONENT: f32;

    /// A block of `rows` rows, a multiple of MR and of [`GemmKernel::NR`], of a head whose width is
    /// a multiple of the latter.
    fn new(rows: usize, head_width: usize) -> Self;

    /// How many values [`AttentionBlock::fill`] needs as scratch.
    fn scratch_len(rows: usize, head_width: usize) -> usize;

    /// Takes the first `count` rows of queries, keys and values, in this order.
    fn fill<T: TileSource<K>>(
        &mut self,
        kernel: K,
        count: usize,
        from: [T; 3],
        scratch: &mut [K::Value],
    );

    /// `q kᵀ` for some rows of `queries`, whole tiles, and the keys of this block: to `scores`,
    /// `[queries, rows of this block]`.
    fn score(&self, kernel: K, queries: &Self, rows: Range<usize>, scores: &mut [f32]);

    /// Weights of `count` queries for blocks of `rows` rows.
    fn new_weights(count: usize, rows: usize) -> Self::Weights;

    /// The rows of weights, and their stride.
    fn weight_rows(weights: &mut Self::Weights) -> (&mut [Self::Weight], usize);

    /// Rounds numbers in [0, 2^`WEIGHT_EXPONENT`] to the first LANES weights of `to`.
    fn round_weights(kernel: K, x: K::Vector, to: &mut [Self::Weight]);

    /// `weights v` for `count` rows, whole tiles: `[count, head width]`, too large by the factor
    /// 2^`WEIGHT_EXPONENT`.
    fn apply_values(
        &self,
        kernel: K,
        weights: &Self::Weights,
        count: usize,
        epilogue: impl Epilogue<K>,
    );
}
