// SPDX-License-Identifier: MPL-2.0
//! Attention of one head for few queries at a time, whose weights the caller may want to see: a
//! decoder's.
//!
//! All scores of a tile of queries fit the cache, so softmax is the plain one: subtract the
//! maximum, exponentiate, divide by the sum.

use crate::epilogue::{StoreF32, StoreScaledF32};
use crate::gemm::{Gemm, Rows};
use crate::kernel::{GemmKernel, MAX_MR, mr};
use crate::pack::PackedBView;
use crate::simd::SimdOp;
use crate::vecmath::{exp2, max};

/// Keys rounded up to whole panels: how many scores a query has.
pub fn padded_keys<K: GemmKernel>(context: usize) -> usize {
    context.next_multiple_of(K::NR)
}

/// `softmax2(q kᵀ) v` for any number of queries, in f32, and the softmax weights where they are
/// wanted: a [`SimdOp`].
///
/// Softmax has base 2: queries carry the factor log2 e / √(head width).
pub struct DecoderAttention<'a, K: GemmKernel> {
    /// Rows as wide as the head.
    pub queries: Rows<'a, K>,
    /// As [`PackKeys`](crate::epilogue::PackKeys) writes them, whole panels.
    pub keys: &'a [K::Value],
    /// As [`PackValues`](crate::epilogue::PackValues) writes them: as many rows as `keys` has
    /// columns, the surplus finite.
    pub values: &'a [K::Value],
    /// How many keys count.
    pub context: usize,
    /// Causal mask: query `r` attends to keys `0..past + r + 1`. Without it, to all.
    pub past: Option<usize>,
    /// Numbers of a query, a key and a value.
    pub head_width: usize,
    /// `[queries, head width]`
    pub out: &'a mut [f32],
    /// The softmax weights, `[queries, context]`, or empty.
    pub weights_out: &'a mut [f32],
    /// Scratch, `[MR, padded_keys]`; one row is enough for one query.
    pub scores: &'a mut [f32],
    /// Scratch, as large.
    pub weights: &'a mut [K::Value],
}

impl<K: GemmKernel> SimdOp<K> for DecoderAttention<'_, K> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let (width, head_width) = (padded_keys::<K>(self.context), self.head_width);
        let keys = PackedBView::contiguous(&self.keys[..width * head_width], &[], head_width);
        let values =
            PackedBView::side_by_side(&self.values[..width * head_width], head_width, width);
        let (scores, weights) = (self.scores, self.weights);
        let mut weights_out = self.weights_out.chunks_exact_mut(self.context);
        let mut scales = [0.0; MAX_MR];
        for (first, out) in (0..self.queries.count)
            .step_by(mr::<K>())
            .zip(self.out.chunks_mut(mr::<K>() * head_width))
        {
            let count = mr::<K>().min(self.queries.count - first);
            // A tile that is not full is computed like a full one, except where there is one query
            // in all.
            let rows = if self.queries.count == 1 {
                1
            } else {
                mr::<K>()
            };
            let left = Rows {
                values: &self.queries.values[first * self.queries.stride..],
                stride: self.queries.stride,
                count: rows,
            };
            kernel.dispatch(Gemm {
                left,
                right: keys,
                epilogue: StoreF32 {
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
                scales[row] = softmax_row(kernel, visible, scores, weights, weights_out.next());
            }
            let left = Rows {
                values: &weights[..rows * width],
                stride: width,
                count: rows,
            };
            kernel.dispatch(Gemm {
                left,
                right: values,
                epilogue: StoreScaledF32 {
                    scales: &scales[..count],
                    out,
                    width: head_width,
                },
            });
        }
    }
}

/// Makes a row of scores, of which the first `visible` count, weights that are yet to be divided by
/// their sum; returns what to multiply them by. `out` gets the weights divided.
#[inline(always)]
fn softmax_row<K: GemmKernel>(
    kernel: K,
    visible: usize,
    scores: &mut [f32],
    weights: &mut [K::Value],
    out: Option<&mut [f32]>,
) -> f32 {
    scores[visible..].fill(f32::NEG_INFINITY);
    let Some(out) = out else {
        return 1.0 / exponentiate::<K, false>(kernel, scores, weights);
    };
    let scale = 1.0 / exponentiate::<K, true>(kernel, scores, weights);
    for (out, weight) in out.iter_mut().zip(&*scores) {
        *out = weight * scale;
    }
    scale
}

/// `weights = 2^(scores - their maximum)`; returns their sum. With `KEEP` the scores become the
/// weights too.
#[inline(always)]
fn exponentiate<K: GemmKernel, const KEEP: bool>(
    kernel: K,
    scores: &mut [f32],
    weights: &mut [K::Value],
) -> f32 {
    let max = kernel.splat(max(kernel, scores));
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
    kernel.reduce_sum(sum)
}
