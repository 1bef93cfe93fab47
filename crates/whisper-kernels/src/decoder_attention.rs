// SPDX-License-Identifier: MPL-2.0
//! Attention of few queries, a tile of them at a time, whose weights somebody may want to see: the decoder's.

use super::epilogue::{ScaledFloats, ToFloats};
use super::gemm::{Gemm, Rows};
use super::math::{exp2, largest};
use super::pack::PackedBView;
use super::{GemmKernel, MAX_MR, SimdOp, mr};

/// Keys rounded up to whole panels.
pub fn scores_width<K: GemmKernel>(context: usize) -> usize {
    context.next_multiple_of(K::NR)
}

/// `softmax2(q kᵀ) v`, where softmax2 has base 2 and the queries carry the factor log2 e / √(head width), for any
/// number of queries, in f32; and the softened weights where
/// somebody wants to see them.
pub struct DecoderAttention<'a, K: GemmKernel> {
    /// Rows as wide as the head.
    pub queries: Rows<'a, K>,
    /// As [`super::epilogue::Keys`] writes them, whole panels.
    pub keys: &'a [K::Value],
    /// As [`super::epilogue::Values`] writes them; as many rows as `keys` has columns, the surplus finite.
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

impl<K: GemmKernel> SimdOp<K> for DecoderAttention<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let (width, head_width) = (scores_width::<K>(self.context), self.head_width);
        let keys = PackedBView::contiguous(&self.keys[..width * head_width], &[], head_width);
        let values =
            PackedBView::side_by_side(&self.values[..width * head_width], head_width, width);
        let (scores, weights) = (self.scores, self.weights);
        let mut looks = self.looks.chunks_exact_mut(self.context);
        let mut scales = [0.0; MAX_MR];
        for (first, out) in (0..self.queries.count)
            .step_by(mr::<K>())
            .zip(self.out.chunks_mut(mr::<K>() * head_width))
        {
            let count = mr::<K>().min(self.queries.count - first);
            // A tile that is not full is computed like a full one, except where there is one query in all.
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
            kernel.dispatch(Gemm {
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
fn soften<K: GemmKernel, const KEEP: bool>(
    kernel: K,
    scores: &mut [f32],
    weights: &mut [K::Value],
) -> f32 {
    let max = kernel.splat(largest(kernel, scores));
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
