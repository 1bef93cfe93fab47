// SPDX-License-Identifier: MPL-2.0
//! Attention of one head, a tile of queries at a time.
//!
//! The scores of one tile against all keys stay in the second-level cache with the head's keys and values; the
//! full (rows, keys) matrix never exists.

use super::gemm::{Gemm, Rows};
use super::math::exp2;
use super::pack::Panels;
use super::sink::{Scaled, ToFloats};
use super::{Kernel, MOST_TILE_ROWS, Operation, tile_rows};

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

/// Room for one tile of queries against all keys, [`scores_width`] of them.
pub struct Scores<'a, K: Kernel> {
    /// (tile rows, keys)
    pub scores: &'a mut [f32],
    /// (tile rows, keys)
    pub weights: &'a mut [K::Value],
    /// One row: what is added to every score.
    pub mask: &'a mut [f32],
}

/// Keys rounded up to whole panels.
pub fn scores_width<K: Kernel>(context: usize) -> usize {
    context.next_multiple_of(K::COLUMNS)
}

impl<K: Kernel> Operation<K> for Attend<'_, K> {
    type Output = ();

    // The products are functions of their own: inlined here, the compiler runs out of registers for them.
    #[inline(always)]
    fn run(self, kernel: K) {
        let (rows, width, head_width) = (
            tile_rows::<K>(),
            scores_width::<K>(self.context),
            self.head_width,
        );
        let scores = &mut self.scratch.scores[..rows * width];
        let weights = &mut self.scratch.weights[..rows * width];
        let mask = &mut self.scratch.mask[..width];
        mask[..self.context].fill(0.0);
        mask[self.context..].fill(f32::NEG_INFINITY);
        let keys = Panels::contiguous(&self.keys[..width * head_width], mask, head_width);
        let values = Panels::side_by_side(&self.values[..width * head_width], head_width, width);
        let tile_len = rows * head_width;
        for (queries, out) in self
            .queries
            .chunks_exact(tile_len)
            .zip(self.out.chunks_exact_mut(tile_len))
        {
            let left = Rows {
                values: queries,
                stride: head_width,
                count: rows,
            };
            kernel.vectorize(Gemm {
                left,
                right: keys,
                sink: ToFloats { out: scores, width },
            });
            let mut scales = [0.0; MOST_TILE_ROWS];
            let softened = scores
                .chunks_exact(width)
                .zip(weights.chunks_exact_mut(width));
            for (scale, (scores, weights)) in scales.iter_mut().zip(softened) {
                *scale = 1.0 / soften(kernel, scores, weights);
            }
            let left = Rows {
                values: weights,
                stride: width,
                count: rows,
            };
            kernel.vectorize(Gemm {
                left,
                right: values,
                sink: Scaled {
                    scales: &scales,
                    out,
                    stride: head_width,
                },
            });
        }
    }
}

/// `weights = 2^(scores - their maximum)`; returns their sum.
#[inline(always)]
fn soften<K: Kernel>(kernel: K, scores: &[f32], weights: &mut [K::Value]) -> f32 {
    let mut max = kernel.splat(f32::NEG_INFINITY);
    for scores in scores.chunks_exact(K::LANES) {
        max = kernel.max(max, kernel.load(scores));
    }
    let max = kernel.splat(kernel.largest(max));
    let mut sum = kernel.splat(0.0);
    for (scores, weights) in scores
        .chunks_exact(K::LANES)
        .zip(weights.chunks_exact_mut(K::LANES))
    {
        let weight = exp2(kernel, kernel.sub(kernel.load(scores), max));
        sum = kernel.add(sum, weight);
        kernel.narrow(weight, weights);
    }
    kernel.sum(sum)
}
