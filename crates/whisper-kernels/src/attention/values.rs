// SPDX-License-Identifier: MPL-2.0
//! Attention in the kernel's own values.

use super::Block;
use crate::GemmKernel;
use crate::buffer::Buffer;
use crate::epilogue::{Identity, Keys, ToFloats, ToValues, Values};
use crate::gemm::{Epilogue, Gemm, Rows, Tiles};
use crate::pack::PackedBView;

pub struct ValueBlock<K: GemmKernel> {
    rows: usize,
    head_width: usize,
    /// (rows, head width)
    queries: Buffer<K::Value>,
    /// As [`Keys`] writes them.
    keys: Buffer<K::Value>,
    /// As [`Values`] writes them. Beyond what was filled they are of an earlier window: finite, and multiplied by zero.
    values: Buffer<K::Value>,
}

impl<K: GemmKernel> Block<K> for ValueBlock<K> {
    type Weight = K::Value;
    const RANGE: f32 = 0.0;

    fn new(rows: usize, head_width: usize) -> Self {
        let buffer = || Buffer::new(rows * head_width);
        Self {
            rows,
            head_width,
            queries: buffer(),
            keys: buffer(),
            values: buffer(),
        }
    }

    fn room(_: usize, _: usize) -> usize {
        0
    }

    fn fill<T: Tiles<K>>(&mut self, kernel: K, _: usize, from: [T; 3], _: &mut [K::Value]) {
        let [queries, keys, values] = from;
        let head_width = self.head_width;
        queries.for_each_tile(
            kernel,
            ToValues::new(&mut self.queries, head_width, Identity),
        );
        keys.for_each_tile(
            kernel,
            Keys {
                out: &mut self.keys,
                head_width,
                first: 0,
            },
        );
        values.for_each_tile(
            kernel,
            Values {
                out: &mut self.values,
                head_width,
                first: 0,
            },
        );
    }

    fn score(&self, kernel: K, queries: &Self, first: usize, count: usize, scores: &mut [f32]) {
        kernel.dispatch(Gemm {
            left: Rows {
                values: &queries.queries[first * self.head_width..],
                stride: self.head_width,
                count,
            },
            right: PackedBView::contiguous(&self.keys, &[], self.head_width),
            sink: ToFloats {
                out: scores,
                width: self.rows,
            },
        });
    }

    fn weights(count: usize, rows: usize) -> Buffer<K::Value> {
        Buffer::new(count * Self::weight_stride(rows))
    }

    fn weight_stride(rows: usize) -> usize {
        rows
    }

    #[inline(always)]
    fn weigh(kernel: K, x: K::Vector, to: &mut [K::Value]) {
        kernel.narrow(x, to);
    }

    fn apply_values(&self, kernel: K, weights: &[K::Value], count: usize, sink: impl Epilogue<K>) {
        kernel.dispatch(Gemm {
            left: Rows {
                values: weights,
                stride: self.rows,
                count,
            },
            right: PackedBView::side_by_side(&self.values, self.head_width, self.rows),
            sink,
        });
    }
}
