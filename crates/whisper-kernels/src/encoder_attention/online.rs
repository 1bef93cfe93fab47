// SPDX-License-Identifier: MPL-2.0
//! The loop over the blocks of keys, and the softmax that joins them.

use std::iter::StepBy;
use std::slice;

use super::block::AttentionBlock;
use crate::buffer::AlignedBuffer;
use crate::epilogue::RescaleAdd;
use crate::kernel::{GemmKernel, mr};
use crate::simd::SimdOp;
use crate::vecmath::{exp2, max};

/// Queries that go from block to block together: whole tiles, and few enough for their scores to
/// stay in the first-level cache.
const fn queries<K: GemmKernel>() -> usize {
    if mr::<K>() > 24 { mr::<K>() } else { 24 }
}

/// A number for each of them, in whole vectors.
type PerRow = [f32; 32];

/// `softmax2(q kᵀ) v` for the queries of one block and the keys and values of all, as a [`SimdOp`].
pub struct EncoderAttention<'a, K: GemmKernel, B: AttentionBlock<K>> {
    /// The block whose queries these are.
    pub queries: &'a B,
    /// The head's keys and values.
    pub blocks: StepBy<slice::Iter<'a, B>>,
    /// How many keys count, at least one.
    pub context: usize,
    /// `[queries, head width]`, as many queries as are wanted, whole tiles.
    pub out: &'a mut [K::Value],
    /// Made for blocks of this size.
    pub scratch: &'a mut Scratch<K, B>,
}

/// Memory for the queries that go together.
pub struct Scratch<K: GemmKernel, B: AttentionBlock<K>> {
    /// Rows of a block.
    rows: usize,
    head_width: usize,
    /// `[queries, rows of a block]`
    scores: AlignedBuffer<f32>,
    weights: B::Weights,
    /// `[queries, head width]`: the weighted values, accumulated.
    mixed: AlignedBuffer<f32>,
    /// `[queries, LANES]`: the sums of the weights, accumulated.
    sums: AlignedBuffer<f32>,
}

impl<K: GemmKernel, B: AttentionBlock<K>> Scratch<K, B> {
    /// For blocks of `rows` rows of a head.
    pub fn new(rows: usize, head_width: usize) -> Self {
        Self {
            rows,
            head_width,
            scores: AlignedBuffer::new(queries::<K>() * rows),
            weights: B::new_weights(queries::<K>(), rows),
            mixed: AlignedBuffer::new(queries::<K>() * head_width),
            sums: AlignedBuffer::new(queries::<K>() * K::LANES),
        }
    }
}

impl<K: GemmKernel, B: AttentionBlock<K>> SimdOp<K> for EncoderAttention<'_, K, B> {
    type Output = ();

    // The products stay functions: if they were inlined here, the compiler would run out of
    // registers for them.
    #[inline(always)]
    fn eval(self, kernel: K) {
        let Scratch {
            rows, head_width, ..
        } = *self.scratch;
        kernel.begin();
        for (i, out) in self.out.chunks_mut(queries::<K>() * head_width).enumerate() {
            let (first, count) = (i * queries::<K>(), out.len() / head_width);
            let scratch = &mut *self.scratch;
            let scores = &mut scratch.scores[..count * rows];
            let mixed = &mut scratch.mixed[..count * head_width];
            let sums = &mut scratch.sums[..count * K::LANES];
            mixed.fill(0.0);
            sums.fill(0.0);
            let mut largest = LEAST;
            let blocks = self.blocks.clone().take(self.context.div_ceil(rows));
            for (i, block) in blocks.enumerate() {
                block.score(kernel, self.queries, first..first + count, scores);
                let visible = rows.min(self.context - i * rows);
                if visible < rows {
                    for scores in scores.chunks_exact_mut(rows) {
                        scores[visible..].fill(f32::NEG_INFINITY);
                    }
                }
                let (weights, stride) = B::weight_rows(&mut scratch.weights);
                let factors = kernel.dispatch(OnlineSoftmax::<K, B> {
                    scores,
                    rows,
                    weights,
                    stride,
                    sums,
                    largest: &mut largest,
                });
                let epilogue = RescaleAdd {
                    before: &factors.before,
                    now: &factors.now,
                    out: mixed,
                    width: head_width,
                };
                block.apply_values(kernel, &scratch.weights, count, epilogue);
            }
            divide(kernel, mixed, sums, out);
        }
        kernel.end();
    }
}

/// Rows of `out` become those of `mixed`, divided by the sums of their weights.
#[inline(always)]
fn divide<K: GemmKernel>(kernel: K, mixed: &[f32], sums: &[f32], out: &mut [K::Value]) {
    let sums = sums.chunks_exact(K::LANES);
    let head_width = out.len() / sums.len();
    let rows = mixed.chunks_exact(head_width).zip(sums);
    for (out, (mixed, sums)) in out.chunks_exact_mut(head_width).zip(rows) {
        let share = kernel.splat(1.0 / kernel.reduce_sum(kernel.load(sums)));
        let mixed = mixed.chunks_exact(K::LANES);
        for (out, mixed) in out.chunks_exact_mut(K::LANES).zip(mixed) {
            kernel.narrow(kernel.mul(kernel.load(mixed), share), out);
        }
    }
}

/// Below any score, and finite.
const LEAST: PerRow = [-1e30; 32];

/// What each row's sums up to now, and those of the block at hand, have to be multiplied by to be
/// added.
struct RescaleFactors {
    before: PerRow,
    now: PerRow,
}

/// Makes weights of some queries' scores against one block.
struct OnlineSoftmax<'a, K: GemmKernel, B: AttentionBlock<K>> {
    /// `[queries, rows]`
    scores: &'a [f32],
    rows: usize,
    /// `[queries, stride]`: 2^(score - the block's largest + [`AttentionBlock::WEIGHT_EXPONENT`])
    weights: &'a mut [B::Weight],
    stride: usize,
    /// `[queries, LANES]`
    sums: &'a mut [f32],
    /// The largest score of each row up to now.
    largest: &'a mut PerRow,
}

impl<K: GemmKernel, B: AttentionBlock<K>> SimdOp<K> for OnlineSoftmax<'_, K, B> {
    type Output = RescaleFactors;

    #[inline(always)]
    fn eval(self, kernel: K) -> RescaleFactors {
        let mut here = LEAST;
        for (here, scores) in here.iter_mut().zip(self.scores.chunks_exact(self.rows)) {
            *here = max(kernel, scores);
        }
        let factors = RescaleFactors::new(kernel, self.largest, &here);
        let rows = self
            .scores
            .chunks_exact(self.rows)
            .zip(self.weights.chunks_exact_mut(self.stride))
            .zip(self.sums.chunks_exact_mut(K::LANES));
        for (row, ((scores, weights), sums)) in rows.enumerate() {
            let unit = kernel.splat(here[row] - B::WEIGHT_EXPONENT);
            let mut sum = kernel.splat(0.0);
            for (scores, weights) in scores
                .chunks_exact(K::LANES)
                .zip(weights.chunks_exact_mut(K::LANES))
            {
                let weight = exp2(kernel, kernel.sub(kernel.load(scores), unit));
                sum = kernel.add(sum, weight);
                B::round_weights(kernel, weight, weights);
            }
            let before = kernel.mul(kernel.load(sums), kernel.splat(factors.before[row]));
            kernel.store(
                kernel.mul_add(sum, kernel.splat(factors.now[row]), before),
                sums,
            );
        }
        factors
    }
}

impl RescaleFactors {
    /// `largest` becomes the largest score up to now and `here`.
    #[inline(always)]
    fn new<K: GemmKernel>(kernel: K, largest: &mut PerRow, here: &PerRow) -> Self {
        let (mut before, mut now) = (PerRow::default(), PerRow::default());
        for i in (0..here.len()).step_by(K::LANES) {
            let (past, here) = (kernel.load(&largest[i..]), kernel.load(&here[i..]));
            let max = kernel.max(past, here);
            kernel.store(exp2(kernel, kernel.sub(past, max)), &mut before[i..]);
            kernel.store(exp2(kernel, kernel.sub(here, max)), &mut now[i..]);
            kernel.store(max, &mut largest[i..]);
        }
        Self { before, now }
    }
}
