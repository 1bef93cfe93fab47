// SPDX-License-Identifier: MPL-2.0
//! Attention of one head, a tile of queries at a time.
//!
//! The scores of one tile against all keys stay in the second-level cache with the head's keys and values; the
//! full (rows, keys) matrix never exists.

use super::gemm::{Gemm, Rows};
use super::math::exp2;
use super::pack::Panels;
use super::sink::{Scaled, ScaledFloats, ToFloats};
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
                .chunks_exact_mut(width)
                .zip(weights.chunks_exact_mut(width));
            for (scale, (scores, weights)) in scales.iter_mut().zip(softened) {
                *scale = 1.0 / soften::<K, false>(kernel, scores, weights);
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

/// `softmax2(q kᵀ) v` as [`Attend`] computes it, for any number of queries, in f32; and the softened weights where
/// somebody wants to see them.
pub struct Recall<'a, K: Kernel> {
    /// Rows as wide as the head.
    pub queries: Rows<'a, K>,
    pub keys: &'a [K::Value],
    pub values: &'a [K::Value],
    /// How many keys count.
    pub context: usize,
    /// The keys may be looked at by queries that come later only: query r sees those before `past + r + 1`.
    pub past: Option<usize>,
    pub head_width: usize,
    /// (queries, head width)
    pub out: &'a mut [f32],
    /// (queries, context), or nothing.
    pub looks: &'a mut [f32],
    /// Room for a tile of queries, or for the one there is, against [`scores_width`] keys.
    pub scores: &'a mut [f32],
    /// As much room.
    pub weights: &'a mut [K::Value],
}

impl<K: Kernel> Operation<K> for Recall<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let (width, head_width) = (scores_width::<K>(self.context), self.head_width);
        let keys = Panels::contiguous(&self.keys[..width * head_width], &[], head_width);
        let values = Panels::side_by_side(&self.values[..width * head_width], head_width, width);
        let (scores, weights) = (self.scores, self.weights);
        let mut looks = self.looks.chunks_exact_mut(self.context);
        let mut scales = [0.0; MOST_TILE_ROWS];
        for (first, out) in (0..self.queries.count)
            .step_by(tile_rows::<K>())
            .zip(self.out.chunks_mut(tile_rows::<K>() * head_width))
        {
            let count = tile_rows::<K>().min(self.queries.count - first);
            // A tile that is not full is computed like a full one, except where there is one query in all.
            let rows = if self.queries.count == 1 {
                1
            } else {
                tile_rows::<K>()
            };
            let left = Rows {
                values: &self.queries.values[first * self.queries.stride..],
                stride: self.queries.stride,
                count: rows,
            };
            kernel.vectorize(Gemm {
                left,
                right: keys,
                sink: ToFloats {
                    out: &mut scores[..rows * width],
                    width,
                },
            });
            for row in 0..count {
                let visible = match self.past {
                    Some(past) => self.context.min(past + first + row + 1),
                    None => self.context,
                };
                let scores = &mut scores[row * width..][..width];
                let weights = &mut weights[row * width..][..width];
                scores[visible..].fill(f32::NEG_INFINITY);
                scales[row] = match looks.next() {
                    Some(look) => {
                        let scale = 1.0 / soften::<K, true>(kernel, scores, weights);
                        for (look, weight) in look.iter_mut().zip(&*scores) {
                            *look = weight * scale;
                        }
                        scale
                    }
                    None => 1.0 / soften::<K, false>(kernel, scores, weights),
                };
            }
            let left = Rows {
                values: &weights[..rows * width],
                stride: width,
                count: rows,
            };
            kernel.vectorize(Gemm {
                left,
                right: values,
                sink: ScaledFloats {
                    scales: &scales[..count],
                    out,
                    width: head_width,
                },
            });
        }
    }
}

/// `weights = 2^(scores - their maximum)`; returns their sum. With `KEEP` the scores become the weights too.
#[inline(always)]
fn soften<K: Kernel, const KEEP: bool>(
    kernel: K,
    scores: &mut [f32],
    weights: &mut [K::Value],
) -> f32 {
    let mut max = kernel.splat(f32::NEG_INFINITY);
    for scores in scores.chunks_exact(K::LANES) {
        max = kernel.max(max, kernel.load(scores));
    }
    let max = kernel.splat(kernel.largest(max));
    let mut sum = kernel.splat(0.0);
    for (scores, weights) in scores
        .chunks_exact_mut(K::LANES)
        .zip(weights.chunks_exact_mut(K::LANES))
    {
        let weight = exp2(kernel, kernel.sub(kernel.load(scores), max));
        sum = kernel.add(sum, weight);
        kernel.narrow(weight, weights);
        if KEEP {
            kernel.store(weight, scores);
        }
    }
    kernel.sum(sum)
}
