// SPDX-License-Identifier: MPL-2.0
//! Attention of one head over a whole window, some queries and a block of keys at a time: the encoder's.
//!
//! The scores of these queries against a block stay in the first-level cache, and softmax goes from block to block with a
//! maximum that may yet grow (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
//! "FlashAttention", 2022), so the (rows, keys) matrix never exists.

mod bytes;
mod values;

use std::iter::StepBy;
use std::slice;

pub use bytes::ByteBlock;
pub use values::ValueBlock;

use super::buffer::Buffer;
use super::epilogue::Fold;
use super::gemm::{Epilogue, Tiles};
use super::math::{exp2, largest};
use super::{GemmKernel, SimdOp, mr};

/// Queries that go from block to block together: whole tiles, and few enough for their scores to stay in the first-level
/// cache.
const fn queries<K: GemmKernel>() -> usize {
    if mr::<K>() > 24 { mr::<K>() } else { 24 }
}

/// A number for each of them, in whole vectors.
type PerRow = [f32; 32];

/// Queries, keys and values of some rows of one head, in the format that the instruction set multiplies fastest.
///
/// Queries carry the factor log2 e / √(head width): softmax here has base 2.
pub trait Block<K: GemmKernel>: Sized + Send + Sync {
    /// An element of the rows that [`Block::apply_values`] multiplies the values by.
    type Weight: Copy + Default + Send + Sync;
    /// Weights are rounded from numbers up to 2^`RANGE`.
    const RANGE: f32;

    /// `rows`: a multiple of the tile's rows and of [`GemmKernel::NR`]; `head_width`: a multiple of the latter.
    fn new(rows: usize, head_width: usize) -> Self;

    /// Values that [`Block::fill`] needs room for.
    fn room(rows: usize, head_width: usize) -> usize;

    /// Takes the first `count` rows of queries, keys and values, in this order.
    fn fill<T: Tiles<K>>(&mut self, kernel: K, count: usize, from: [T; 3], room: &mut [K::Value]);

    /// `q kᵀ` for `count` rows of `queries`, whole tiles, from row `first` on: (count, rows of this block).
    fn score(&self, kernel: K, queries: &Self, first: usize, count: usize, scores: &mut [f32]);

    /// Weights of `count` queries for blocks of this many rows.
    fn weights(count: usize, rows: usize) -> Buffer<Self::Weight>;

    /// From one row of weights to the next.
    fn weight_stride(rows: usize) -> usize;

    /// Rounds numbers in [0, 2^`RANGE`] to the first LANES of `to`.
    fn weigh(kernel: K, x: K::Vector, to: &mut [Self::Weight]);

    /// `weights v` for `count` rows, whole tiles: (count, head width), in units of 2^-`RANGE`.
    fn apply_values(
        &self,
        kernel: K,
        weights: &[Self::Weight],
        count: usize,
        sink: impl Epilogue<K>,
    );
}

/// `softmax2(q kᵀ) v` for a block of queries.
pub struct Attend<'a, K: GemmKernel, B: Block<K> = <K as GemmKernel>::Attention> {
    pub queries: &'a B,
    /// The head's keys and values.
    pub blocks: StepBy<slice::Iter<'a, B>>,
    /// How many keys count, at least one.
    pub context: usize,
    /// (queries, head width), row-major, as many queries as are wanted; whole tiles.
    pub out: &'a mut [K::Value],
    pub scratch: &'a mut Scratch<K, B>,
}

/// Room for the queries that go together.
pub struct Scratch<K: GemmKernel, B: Block<K> = <K as GemmKernel>::Attention> {
    /// Rows of a block.
    rows: usize,
    head_width: usize,
    /// (queries, rows of a block)
    scores: Buffer<f32>,
    weights: Buffer<B::Weight>,
    /// (queries, head width): the values mixed so far.
    mixed: Buffer<f32>,
    /// (queries, lanes): the sums of the weights so far.
    sums: Buffer<f32>,
}

impl<K: GemmKernel, B: Block<K>> Scratch<K, B> {
    /// For blocks of `rows` rows.
    pub fn new(rows: usize, head_width: usize) -> Self {
        Self {
            rows,
            head_width,
            scores: Buffer::new(queries::<K>() * rows),
            weights: B::weights(queries::<K>(), rows),
            mixed: Buffer::new(queries::<K>() * head_width),
            sums: Buffer::new(queries::<K>() * K::LANES),
        }
    }
}

impl<K: GemmKernel, B: Block<K>> SimdOp<K> for Attend<'_, K, B> {
    type Output = ();

    // The products are functions of their own: inlined here, the compiler runs out of registers for them.
    #[inline(always)]
    fn run(self, kernel: K) {
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
                block.score(kernel, self.queries, first, count, scores);
                let visible = rows.min(self.context - i * rows);
                if visible < rows {
                    for scores in scores.chunks_exact_mut(rows) {
                        scores[visible..].fill(f32::NEG_INFINITY);
                    }
                }
                let shares = kernel.dispatch(OnlineSoftmax::<K, B> {
                    scores,
                    rows,
                    weights: &mut scratch.weights,
                    sums,
                    largest: &mut largest,
                });
                let sink = Fold {
                    before: &shares.before,
                    now: &shares.now,
                    out: mixed,
                    width: head_width,
                };
                block.apply_values(kernel, &scratch.weights, count, sink);
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
        let share = kernel.splat(1.0 / kernel.sum(kernel.load(sums)));
        let mixed = mixed.chunks_exact(K::LANES);
        for (out, mixed) in out.chunks_exact_mut(K::LANES).zip(mixed) {
            kernel.narrow(kernel.mul(kernel.load(mixed), share), out);
        }
    }
}

/// Below any score, and finite.
const LEAST: PerRow = [-1e30; 32];

/// What a row's sums up to now, and those of the block at hand, have to be multiplied by to be added.
struct RescaleFactors {
    before: PerRow,
    now: PerRow,
}

/// Makes weights of some queries' scores against one block.
struct OnlineSoftmax<'a, K: GemmKernel, B: Block<K>> {
    scores: &'a [f32],
    rows: usize,
    /// 2^(scores - the block's largest + range)
    weights: &'a mut [B::Weight],
    sums: &'a mut [f32],
    /// The largest score of each row up to now.
    largest: &'a mut PerRow,
}

impl<K: GemmKernel, B: Block<K>> SimdOp<K> for OnlineSoftmax<'_, K, B> {
    type Output = RescaleFactors;

    #[inline(always)]
    fn run(self, kernel: K) -> RescaleFactors {
        let mut here = LEAST;
        for (here, scores) in here.iter_mut().zip(self.scores.chunks_exact(self.rows)) {
            *here = largest(kernel, scores);
        }
        let shares = RescaleFactors::new(kernel, self.largest, &here);
        let stride = B::weight_stride(self.rows);
        let rows = self
            .scores
            .chunks_exact(self.rows)
            .zip(self.weights.chunks_exact_mut(stride))
            .zip(self.sums.chunks_exact_mut(K::LANES));
        for (row, ((scores, weights), sums)) in rows.enumerate() {
            let unit = kernel.splat(here[row] - B::RANGE);
            let mut sum = kernel.splat(0.0);
            for (scores, weights) in scores
                .chunks_exact(K::LANES)
                .zip(weights.chunks_exact_mut(K::LANES))
            {
                let weight = exp2(kernel, kernel.sub(kernel.load(scores), unit));
                sum = kernel.add(sum, weight);
                B::weigh(kernel, weight, weights);
            }
            let before = kernel.mul(kernel.load(sums), kernel.splat(shares.before[row]));
            kernel.store(
                kernel.mul_add(sum, kernel.splat(shares.now[row]), before),
                sums,
            );
        }
        shares
    }
}

impl RescaleFactors {
    /// `largest` becomes the largest score up to now and `here`.
    #[inline(always)]
    fn new<K: GemmKernel>(kernel: K, largest: &mut PerRow, here: &PerRow) -> Self {
        let (mut before, mut now) = (PerRow::default(), PerRow::default());
        for i in (0..here.len()).step_by(K::LANES) {
            let (past, here) = (kernel.load(&largest[i..]), kernel.load(&here[i..]));
            let most = kernel.max(past, here);
            kernel.store(share(kernel, past, most), &mut before[i..]);
            kernel.store(share(kernel, here, most), &mut now[i..]);
            kernel.store(most, &mut largest[i..]);
        }
        Self { before, now }
    }
}

/// 2^(x - most), or next to nothing.
#[inline(always)]
fn share<K: GemmKernel>(kernel: K, x: K::Vector, most: K::Vector) -> K::Vector {
    exp2(kernel, kernel.sub(x, most))
}
