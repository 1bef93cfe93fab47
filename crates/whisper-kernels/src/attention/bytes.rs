// SPDX-License-Identifier: MPL-2.0
//! Attention in 8 bits: each query and key has a scale of its own, and so has each column of a block's values.
//!
//! What it costs, as the distance of the encoder's output from f32's (1 - cosine): 6e-5 for queries and keys, 1.5e-4
//! for weights and values (base, the reference recording, numbers rounded in a model of the encoder). One scale for the weights of
//! all keys instead of one per block: 2.9e-4.

use super::Block;
use crate::buffer::{self, Buffer, CACHE_LINE};
use crate::bytes::{
    ByteWeights, Bytes, MOST, QUAD, ZERO, inverse, offset, scale, signed, size, stride,
};
use crate::epilogue::{Identity, ToFloats, ToValues};
use crate::gemm::{Epilogue, Tiles};
use crate::linear::{Linear, ValueRows};
use crate::{GemmKernel, SimdOp};

pub struct ByteBlock<K: Bytes> {
    /// Rows as [`Linear::prepare`] makes them.
    queries: Buffer<u8>,
    /// The outputs are the keys.
    keys: ByteWeights<K>,
    /// The outputs are the columns of the values.
    values: ByteWeights<K>,
    rows: usize,
    head_width: usize,
}

impl<K: Bytes> Block<K> for ByteBlock<K> {
    type Weight = u8;
    /// log2 255
    const RANGE: f32 = 7.994_353_4;

    fn new(rows: usize, head_width: usize) -> Self {
        Self {
            queries: Buffer::new(ByteWeights::<K>::room(rows, head_width)),
            keys: ByteWeights::zeros(rows, head_width),
            values: ByteWeights::zeros(head_width, rows),
            rows,
            head_width,
        }
    }

    fn room(rows: usize, head_width: usize) -> usize {
        rows * buffer::stride::<K::Value>(head_width)
    }

    fn fill<T: Tiles<K>>(&mut self, kernel: K, count: usize, from: [T; 3], room: &mut [K::Value]) {
        let depth = self.head_width;
        let stride = buffer::stride::<K::Value>(depth);
        let room = &mut room[..Self::room(self.rows, depth)];
        let [queries, keys, values] = from;
        // Keys are rounded as queries are, and in their place: they are not there yet.
        keys.for_each_tile(kernel, ToValues::new(room, stride, Identity));
        ByteWeights::prepare(kernel, value_rows(room, depth), &mut self.queries);
        kernel.dispatch(PutKeys {
            rows: &self.queries,
            to: &mut self.keys,
        });
        queries.for_each_tile(kernel, ToValues::new(room, stride, Identity));
        ByteWeights::prepare(kernel, value_rows(room, depth), &mut self.queries);
        values.for_each_tile(kernel, ToValues::new(room, stride, Identity));
        // A column has one scale: rows that do not count may have no part in it.
        room[count * stride..].fill(K::Value::default());
        kernel.dispatch(PutValues {
            rows: value_rows(room, depth),
            to: &mut self.values,
        });
    }

    fn score(&self, kernel: K, queries: &Self, first: usize, count: usize, scores: &mut [f32]) {
        let left = &queries.queries[first * stride(self.head_width)..];
        let sink = ToFloats {
            out: scores,
            width: self.rows,
        };
        self.keys.multiply(kernel, left, count, sink);
    }

    fn weights(count: usize, rows: usize) -> Buffer<u8> {
        let mut weights = Buffer::new(count * stride(rows));
        for row in weights.chunks_exact_mut(stride(rows)) {
            row[stride(rows) - CACHE_LINE..][..size_of::<f32>()]
                .copy_from_slice(&1.0f32.to_ne_bytes());
        }
        weights
    }

    fn weight_stride(rows: usize) -> usize {
        stride(rows)
    }

    #[inline(always)]
    fn weigh(kernel: K, x: K::Vector, to: &mut [u8]) {
        kernel.round_bytes(x, to);
    }

    fn apply_values(&self, kernel: K, weights: &[u8], count: usize, sink: impl Epilogue<K>) {
        self.values.multiply(kernel, weights, count, sink);
    }
}

/// All rows of a room for rows `depth` wide.
fn value_rows<K: GemmKernel>(values: &[K::Value], depth: usize) -> ValueRows<'_, K> {
    ValueRows {
        values,
        depth,
        count: values.len() / buffer::stride::<K::Value>(depth),
    }
}

/// Rounded rows become the outputs of weights as deep as they are.
struct PutKeys<'a, K: Bytes> {
    rows: &'a [u8],
    to: &'a mut ByteWeights<K>,
}

impl<K: Bytes> SimdOp<K> for PutKeys<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self, _: K) {
        let Self { rows, to } = self;
        for (key, row) in rows.chunks_exact(stride(to.depth)).enumerate() {
            let first = to.place(key, 0);
            let quads = to.values[first..].chunks_mut(QUAD * K::NR);
            let mut sum = 0;
            for (to, from) in quads.zip(row[..to.depth].chunks_exact(QUAD)) {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = signed(*from);
                    sum += i32::from(*to);
                }
            }
            to.scales[key] = scale(row);
            to.offsets[key] = offset(sum);
        }
    }
}

/// Columns of rows become the outputs of weights as deep as there are rows, for rows of unsigned bytes that have no
/// zero to take off.
struct PutValues<'a, K: Bytes> {
    rows: ValueRows<'a, K>,
    to: &'a mut ByteWeights<K>,
}

impl<K: Bytes> SimdOp<K> for PutValues<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let ValueRows {
            values,
            depth: width,
            count,
        } = self.rows;
        let (row_stride, depth) = (buffer::stride::<K::Value>(width), self.to.depth);
        let zero = kernel.splat(ZERO);
        for column in (0..width).step_by(K::LANES) {
            let row = |row: usize| kernel.widen(&values[row * row_stride + column..]);
            let mut most = kernel.splat(0.0);
            for x in (0..count).map(row) {
                most = kernel.max(most, size(kernel, x));
            }
            let mut factors = [0.0; 16];
            kernel.store(most, &mut factors);
            for (scale, factor) in self.to.scales[column..]
                .iter_mut()
                .zip(&mut factors[..K::LANES])
            {
                *scale = *factor / MOST;
                *factor = inverse(*factor);
            }
            let factor = kernel.load(&factors);
            let (panel, lane) = (column / K::NR, column % K::NR);
            let panel = &mut self.to.values[panel * depth * K::NR..][..count * K::NR];
            for (quad, to) in panel.chunks_exact_mut(QUAD * K::NR).enumerate() {
                let mut bytes = [[0; 16]; QUAD];
                for (i, bytes) in bytes.iter_mut().enumerate() {
                    kernel.round_bytes(kernel.mul_add(row(quad * QUAD + i), factor, zero), bytes);
                }
                let to = to[lane * QUAD..][..K::LANES * QUAD].chunks_exact_mut(QUAD);
                for (lane, to) in to.enumerate() {
                    for (to, bytes) in to.iter_mut().zip(&bytes) {
                        *to = signed(bytes[lane]);
                    }
                }
            }
        }
    }
}
