// SPDX-License-Identifier: MPL-2.0
//! Attention in the kernel's own values, f32 or bf16.

use std::ops::Range;

use super::block::AttentionBlock;
use crate::buffer::AlignedBuffer;
use crate::epilogue::{Identity, PackKeys, PackValues, StoreF32, StoreValues};
use crate::gemm::{Epilogue, Gemm, Rows, TileSource};
use crate::kernel::GemmKernel;
use crate::pack::PackedBView;

/// A block in the kernel's own values.
#[derive(Debug)]
pub struct FloatAttention<K: GemmKernel> {
    rows: usize,
    head_width: usize,
    /// `[rows, head width]`
    queries: AlignedBuffer<K::Value>,
    /// As [`PackKeys`] writes them.
    keys: AlignedBuffer<K::Value>,
    /// As [`PackValues`] writes them. Beyond what was filled they are of an earlier sequence:
    /// finite, and multiplied by zero.
    values: AlignedBuffer<K::Value>,
}

/// Softmax weights of some queries: the left operand of the product with the values.
#[derive(Debug)]
pub struct FloatWeights<K: GemmKernel> {
    /// `[queries, rows]`
    values: AlignedBuffer<K::Value>,
    /// Rows of a block.
    rows: usize,
}

impl<K: GemmKernel> AttentionBlock<K> for FloatAttention<K> {
    type Weight = K::Value;
    type Weights = FloatWeights<K>;
    const WEIGHT_EXPONENT: f32 = 0.0;

    fn new(rows: usize, head_width: usize) -> Self {
        let buffer = || AlignedBuffer::new(rows * head_width);
        Self {
            rows,
            head_width,
            queries: buffer(),
            keys: buffer(),
            values: buffer(),
        }
    }

    fn scratch_len(_: usize, _: usize) -> usize {
        0
    }

    fn fill<T: TileSource<K>>(&mut self, kernel: K, _: usize, from: [T; 3], _: &mut [K::Value]) {
        let [queries, keys, values] = from;
        let head_width = self.head_width;
        queries.for_each_tile(
            kernel,
            StoreValues::new(&mut self.queries, head_width, Identity),
        );
        keys.for_each_tile(
            kernel,
            PackKeys {
                out: &mut self.keys,
                head_width,
                first: 0,
            },
        );
        values.for_each_tile(
            kernel,
            PackValues {
                out: &mut self.values,
                head_width,
                first: 0,
            },
        );
    }

    fn score(&self, kernel: K, queries: &Self, rows: Range<usize>, scores: &mut [f32]) {
        kernel.dispatch(Gemm {
            left: Rows {
                values: &queries.queries[rows.start * self.head_width..],
                stride: self.head_width,
                count: rows.len(),
            },
            right: PackedBView::contiguous(&self.keys, &[], self.head_width),
            epilogue: StoreF32 {
                out: scores,
                width: self.rows,
            },
        });
    }

    fn new_weights(count: usize, rows: usize) -> FloatWeights<K> {
        FloatWeights {
            values: AlignedBuffer::new(count * rows),
            rows,
        }
    }

    fn weight_rows(weights: &mut FloatWeights<K>) -> (&mut [K::Value], usize) {
        (&mut weights.values, weights.rows)
    }

    #[inline(always)]
    fn round_weights(kernel: K, x: K::Vector, to: &mut [K::Value]) {
        kernel.narrow(x, to);
    }

    fn apply_values(
        &self,
        kernel: K,
        weights: &FloatWeights<K>,
        count: usize,
        epilogue: impl Epilogue<K>,
    ) {
        kernel.dispatch(Gemm {
            left: Rows {
                values: &weights.values,
                stride: self.rows,
                count,
            },
            right: PackedBView::side_by_side(&self.values, self.head_width, self.rows),
            epilogue,
        });
    }
}
