// SPDX-License-Identifier: MPL-2.0
//! Attention in 8 bits: each query and key has a scale, and so has each column of a block's values.
//!
//! What it costs, as the distance of an encoder's output from f32's (1 - cosine): 6e-5 for queries
//! and keys, 1.5e-4 for weights and values (a speech encoder of six layers, one recording, numbers
//! rounded in a model of the encoder). One scale for the weights of all keys, instead of one per
//! block, would cost 2.9e-4.

use std::ops::Range;

use super::block::AttentionBlock;
use crate::buffer::padded_stride;
use crate::epilogue::{Identity, StoreF32, StoreValues};
use crate::gemm::{Epilogue, TileSource};
use crate::kernel::{DotI8, QUAD};
use crate::linear::{Linear, ValueRows};
use crate::quantize::{MAX_I8, QuantizedRows, ZERO_POINT, abs, inverse_scale};
use crate::simd::SimdOp;
use crate::w8a8::{PackedW8A8, signed};

/// A block in 8 bits.
#[derive(Debug)]
pub struct Int8Attention<K: DotI8> {
    queries: QuantizedRows<u8>,
    /// The outputs are the keys.
    keys: PackedW8A8<K>,
    /// The outputs are the columns of the values.
    values: PackedW8A8<K>,
    rows: usize,
    head_width: usize,
}

impl<K: DotI8> AttentionBlock<K> for Int8Attention<K> {
    type Weight = u8;
    type Weights = QuantizedRows<u8>;
    /// log2 255
    const WEIGHT_EXPONENT: f32 = 7.994_353_4;

    fn new(rows: usize, head_width: usize) -> Self {
        Self {
            queries: QuantizedRows::new::<K>(rows, head_width),
            keys: PackedW8A8::zeros(rows, head_width),
            values: PackedW8A8::zeros(head_width, rows),
            rows,
            head_width,
        }
    }

    fn scratch_len(rows: usize, head_width: usize) -> usize {
        rows * padded_stride::<K::Value>(head_width)
    }

    fn fill<T: TileSource<K>>(
        &mut self,
        kernel: K,
        count: usize,
        from: [T; 3],
        scratch: &mut [K::Value],
    ) {
        let depth = self.head_width;
        let stride = padded_stride::<K::Value>(depth);
        let scratch = &mut scratch[..Self::scratch_len(self.rows, depth)];
        let [queries, keys, values] = from;
        // Keys are quantised as queries are, and in their place: they are not there yet.
        keys.for_each_tile(kernel, StoreValues::new(scratch, stride, Identity));
        PackedW8A8::prepare(kernel, value_rows(scratch, depth), &mut self.queries);
        kernel.dispatch(SetKeys {
            rows: &self.queries,
            to: &mut self.keys,
        });
        queries.for_each_tile(kernel, StoreValues::new(scratch, stride, Identity));
        PackedW8A8::prepare(kernel, value_rows(scratch, depth), &mut self.queries);
        values.for_each_tile(kernel, StoreValues::new(scratch, stride, Identity));
        // A column has one scale: rows that do not count may have no part in it.
        scratch[count * stride..].fill(K::Value::default());
        kernel.dispatch(SetValues {
            rows: value_rows(scratch, depth),
            to: &mut self.values,
        });
    }

    fn score(&self, kernel: K, queries: &Self, rows: Range<usize>, scores: &mut [f32]) {
        let left = queries.queries.view(rows.start);
        let epilogue = StoreF32 {
            out: scores,
            width: self.rows,
        };
        self.keys.multiply(kernel, left, rows.len(), epilogue);
    }

    fn new_weights(count: usize, rows: usize) -> QuantizedRows<u8> {
        QuantizedRows::with_scale::<K>(count, rows, 1.0)
    }

    fn weight_rows(weights: &mut QuantizedRows<u8>) -> (&mut [u8], usize) {
        let stride = weights.stride();
        (weights.values_mut(), stride)
    }

    #[inline(always)]
    fn round_weights(kernel: K, x: K::Vector, to: &mut [u8]) {
        kernel.round_to_u8(x, to);
    }

    fn apply_values(
        &self,
        kernel: K,
        weights: &QuantizedRows<u8>,
        count: usize,
        epilogue: impl Epilogue<K>,
    ) {
        self.values
            .multiply(kernel, weights.view(0), count, epilogue);
    }
}

/// All rows of `values`, `depth` wide.
fn value_rows<K: DotI8>(values: &[K::Value], depth: usize) -> ValueRows<'_, K> {
    ValueRows {
        values,
        depth,
        count: values.len() / padded_stride::<K::Value>(depth),
    }
}

/// Quantised rows become the outputs of weights as deep as they are.
struct SetKeys<'a, K: DotI8> {
    rows: &'a QuantizedRows<u8>,
    to: &'a mut PackedW8A8<K>,
}

impl<K: DotI8> SimdOp<K> for SetKeys<'_, K> {
    type Output = ();

    #[inline(always)]
    fn eval(self, _: K) {
        let Self { rows, to } = self;
        let rows = rows.view(0);
        let scaled = rows.values.chunks_exact(rows.stride).zip(rows.scales);
        for (key, (row, scale)) in scaled.take(to.outputs()).enumerate() {
            to.set_quantized(key, row, *scale);
        }
    }
}

/// Columns of rows become the outputs of weights as deep as there are rows. The weights are for
/// unsigned bytes without a zero point, so there is no offset to take off.
struct SetValues<'a, K: DotI8> {
    rows: ValueRows<'a, K>,
    to: &'a mut PackedW8A8<K>,
}

impl<K: DotI8> SimdOp<K> for SetValues<'_, K> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let ValueRows {
            values,
            depth: width,
            count,
        } = self.rows;
        let row_stride = padded_stride::<K::Value>(width);
        let zero = kernel.splat(ZERO_POINT);
        for column in (0..width).step_by(K::LANES) {
            let row = |row: usize| kernel.widen(&values[row * row_stride + column..]);
            let mut max = kernel.splat(0.0);
            for x in (0..count).map(row) {
                max = kernel.max(max, abs(kernel, x));
            }
            let (panel, lane) = (column / K::NR, column % K::NR);
            let (panel, scales) = self.to.panel_mut(panel);
            let mut factors = [0.0; 16];
            kernel.store(max, &mut factors);
            for (scale, factor) in scales[column..].iter_mut().zip(&mut factors[..K::LANES]) {
                *scale = *factor / MAX_I8;
                *factor = inverse_scale(*factor, MAX_I8);
            }
            let factor = kernel.load(&factors);
            let panel = &mut panel[..count * K::NR];
            for (quad, to) in panel.chunks_exact_mut(QUAD * K::NR).enumerate() {
                let mut bytes = [[0; 16]; QUAD];
                for (i, bytes) in bytes.iter_mut().enumerate() {
                    kernel.round_to_u8(kernel.mul_add(row(quad * QUAD + i), factor, zero), bytes);
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
