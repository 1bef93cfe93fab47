// SPDX-License-Identifier: MPL-2.0
//! Attention of one head, a tile of queries at a time.
//!
//! The scores of one tile against all keys stay in the second-level cache with the head's keys and values; the
//! full (rows, keys) matrix never exists.

use super::kernel::{Kernel, Operation, Tile, multiply};
use super::math::exp2;

/// `softmax2(q kᵀ) v` for a block of queries, where softmax2 has base 2: the queries carry the factor
/// log2 e / √(head width).
pub struct Attend<'a, K: Kernel> {
    /// (rows, head width), row-major; rows a multiple of the tile's.
    pub queries: &'a [K::Value],
    /// As [`super::sink::Keys`] writes them, whole panels.
    pub keys: &'a [K::Value],
    /// As [`super::sink::Values`] writes them; as many rows as `keys` has columns, the surplus finite.
    pub values: &'a [K::Value],
    /// How many keys count.
    pub context: usize,
    pub head_width: usize,
    /// Like `queries`.
    pub out: &'a mut [K::Value],
    pub scratch: Scores<'a, K>,
}

/// Room for one tile of queries against all keys: tile rows times [`scores_width`] each.
pub struct Scores<'a, K: Kernel> {
    pub scores: &'a mut [f32],
    pub weights: &'a mut [K::Value],
}

/// Keys rounded up to whole panels.
pub fn scores_width<K: Kernel>(context: usize) -> usize {
    context.next_multiple_of(K::COLUMNS)
}

impl<K: Kernel> Operation<K> for Attend<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let tile_rows = <K::Tile as Tile<K::Vector>>::ROWS;
        let (width, head_width) = (scores_width::<K>(self.context), self.head_width);
        let scores = &mut self.scratch.scores[..tile_rows * width];
        let weights = &mut self.scratch.weights[..tile_rows * width];
        let keys = &self.keys[..width * head_width];
        let values = &self.values[..width * head_width];
        let tile_len = tile_rows * head_width;
        for (queries, out) in self.queries.chunks_exact(tile_len).zip(self.out.chunks_exact_mut(tile_len)) {
            score(kernel, queries, keys, head_width, scores);
            let mut scales = K::Tile::splat([kernel.splat(0.0); 2]);
            for ((scores, weights), scale) in
                scores.chunks_exact_mut(width).zip(weights.chunks_exact_mut(width)).zip(scales.rows_mut())
            {
                let sum = soften(kernel, scores, self.context, weights);
                *scale = [kernel.splat(1.0 / sum); 2];
            }
            mix(kernel, weights, values, head_width, &scales, out);
        }
    }
}

/// `scores = q kᵀ` for one tile of queries.
#[inline(always)]
fn score<K: Kernel>(kernel: K, queries: &[K::Value], keys: &[K::Value], head_width: usize, scores: &mut [f32]) {
    let width = keys.len() / head_width;
    assert!(queries.len() >= <K::Tile as Tile<K::Vector>>::ROWS * head_width);
    for (panel, keys) in keys.chunks_exact(head_width * K::COLUMNS).enumerate() {
        // SAFETY: the queries are a tile of `head_width` values each, a panel is `head_width` times COLUMNS.
        let tile = unsafe {
            multiply(
                kernel,
                K::Tile::splat([kernel.splat(0.0); 2]),
                head_width / K::GROUP,
                (queries.as_ptr(), head_width),
                (keys.as_ptr(), K::COLUMNS * K::GROUP),
            )
        };
        for (sums, scores) in tile.rows().iter().zip(scores.chunks_exact_mut(width)) {
            let scores = &mut scores[panel * K::COLUMNS..][..K::COLUMNS];
            kernel.store(sums[0], scores);
            kernel.store(sums[1], &mut scores[K::LANES..]);
        }
    }
}

/// `weights = 2^(scores - their maximum)`, zero beyond `context`; returns their sum.
#[inline(always)]
fn soften<K: Kernel>(kernel: K, scores: &mut [f32], context: usize, weights: &mut [K::Value]) -> f32 {
    scores[context..].fill(f32::NEG_INFINITY);
    let mut max = kernel.splat(f32::NEG_INFINITY);
    for scores in scores.chunks_exact(K::LANES) {
        max = kernel.max(max, kernel.load(scores));
    }
    let max = kernel.splat(kernel.largest(max));
    let mut sum = kernel.splat(0.0);
    for (scores, weights) in scores.chunks_exact(K::LANES).zip(weights.chunks_exact_mut(K::LANES)) {
        let weight = exp2(kernel, kernel.sub(kernel.load(scores), max));
        sum = kernel.add(sum, weight);
        kernel.narrow(weight, weights);
    }
    kernel.sum(sum)
}

/// `out = scales (weights v)` for one tile of queries.
#[inline(always)]
fn mix<K: Kernel>(
    kernel: K,
    weights: &[K::Value],
    values: &[K::Value],
    head_width: usize,
    scales: &K::Tile,
    out: &mut [K::Value],
) {
    let width = values.len() / head_width;
    assert!(weights.len() >= <K::Tile as Tile<K::Vector>>::ROWS * width && head_width.is_multiple_of(K::COLUMNS));
    for column in (0..head_width).step_by(K::COLUMNS) {
        // SAFETY: the weights are a tile of `width` values each; the values are `width / GROUP` groups of
        // `head_width` columns, of which COLUMNS are read from `column` on.
        let tile = unsafe {
            multiply(
                kernel,
                K::Tile::splat([kernel.splat(0.0); 2]),
                width / K::GROUP,
                (weights.as_ptr(), width),
                (values.as_ptr().add(column * K::GROUP), head_width * K::GROUP),
            )
        };
        let rows = tile.rows().iter().zip(scales.rows()).zip(out.chunks_exact_mut(head_width));
        for ((sums, scale), out) in rows {
            let out = &mut out[column..][..K::COLUMNS];
            kernel.narrow(kernel.mul(sums[0], scale[0]), out);
            kernel.narrow(kernel.mul(sums[1], scale[1]), &mut out[K::LANES..]);
        }
    }
}
