// SPDX-License-Identifier: MPL-2.0
//! W8A8: products of 8-bit weights and 8-bit activations, two to four times as many in an
//! instruction as f32 or bf16 has.
//!
//! Weights are quantised per output channel: `w ≈ s_w q_w`, q_w in [-127, 127]. Activations are
//! quantised per row, when they are multiplied ([`quantize`](crate::quantize)): `x ≈ s_x (q_x -
//! 128)`, q_x unsigned, as the instructions want their left operand. The product of a row is then
//!
//! ```text
//! y = s_x s_w (Σ q_x q_w - 128 Σ q_w) + b
//! ```
//!
//! where the second sum is known when the weights are packed: it is the offset that the sums begin
//! with. The sums are exact, so each term is off only by the rounding of its two factors, half a
//! step each: at most `s_x |w| / 2 + s_w |x| / 2 + s_x s_w / 4`.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::buffer::{AlignedBuffer, padded_stride};
use crate::gemm::Epilogue;
use crate::kernel::{DotI8, QUAD, mr};
use crate::linear::{Linear, ValueRows};
use crate::micro_kernel::{Operands, Tile};
use crate::quantize::{
    MAX_I8, QuantizeRows, QuantizedRows, QuantizedRowsView, ValueRow, ZERO_POINT, inverse_scale,
    max_abs,
};
use crate::simd::SimdOp;

/// The deepest product of which no sum leaves 32 bits.
const MAX_DEPTH: usize = (i32::MAX / (255 * 128)) as usize;

/// Weights of 8 bits with a scale per output: `[panel of NR outputs, quad of depth, output, place
/// in the quad]`. Zeros fill the last panel and the last [`DotI8::K_ALIGN_I8`].
#[derive(Debug)]
pub struct PackedW8A8<K> {
    values: AlignedBuffer<i8>,
    /// One per output.
    scales: AlignedBuffer<f32>,
    bias: AlignedBuffer<f32>,
    /// What the sums of each output begin with: minus 128 times the sum of its weights.
    offsets: AlignedBuffer<i32>,
    depth: usize,
    kernel: PhantomData<K>,
}

impl<K: DotI8> PackedW8A8<K> {
    /// `outputs` outputs that are zero whatever they are multiplied by.
    pub(crate) fn zeros(outputs: usize, depth: usize) -> Self {
        assert!(depth <= MAX_DEPTH);
        let columns = outputs.next_multiple_of(K::NR);
        let depth = depth.next_multiple_of(K::K_ALIGN_I8);
        Self {
            values: AlignedBuffer::new(columns * depth),
            scales: AlignedBuffer::new(columns),
            bias: AlignedBuffer::new(columns),
            offsets: AlignedBuffer::new(columns),
            depth,
            kernel: PhantomData,
        }
    }

    /// Quantises the weights of one output, and multiplies them by `scale`.
    fn set(&mut self, output: usize, weights: &[f32], scale: f32) {
        let max = max_abs(weights);
        let inverse = inverse_scale(max, MAX_I8);
        let mut sum = 0;
        for (k, weight) in weights.iter().enumerate() {
            let (value, place) = (
                (weight * inverse).round_ties_even() as i8,
                self.place(output, k),
            );
            self.values[place] = value;
            sum += i32::from(value);
        }
        self.scales[output] = max / MAX_I8 * scale;
        self.offsets[output] = offset(sum);
    }

    /// Where the weight of `output` for number `k` of a row is.
    #[inline(always)]
    fn place(&self, output: usize, k: usize) -> usize {
        let (panel, lane) = (output / K::NR, output % K::NR);
        let quad = (panel * (self.depth / QUAD) + k / QUAD) * K::NR + lane;
        quad * QUAD + k % QUAD
    }

    /// Sets the weights of one output to a quantised row as deep as they are.
    #[inline(always)]
    pub(crate) fn set_quantized(&mut self, output: usize, row: &[u8], scale: f32) {
        let first = self.place(output, 0);
        let quads = self.values[first..].chunks_mut(QUAD * K::NR);
        let mut sum = 0;
        for (to, from) in quads.zip(row[..self.depth].chunks_exact(QUAD)) {
            for (to, from) in to.iter_mut().zip(from) {
                *to = signed(*from);
                sum += i32::from(*to);
            }
        }
        self.scales[output] = scale;
        self.offsets[output] = offset(sum);
    }

    /// Panel number `panel`, in k-groups of [`QUAD`], and the scales of all outputs.
    #[inline(always)]
    pub(crate) fn panel_mut(&mut self, panel: usize) -> (&mut [i8], &mut [f32]) {
        let len = self.depth * K::NR;
        (&mut self.values[panel * len..][..len], &mut self.scales)
    }
}

impl<K: DotI8> Linear<K> for PackedW8A8<K> {
    type Scratch = QuantizedRows<u8>;
    type Left<'a> = QuantizedRowsView<'a, u8>;
    const WEIGHT_BYTES: usize = 1;

    fn new(weight: &[f32], bias: &[f32], depth: usize, scale: f32) -> Self {
        let mut weights = Self::zeros(weight.len() / depth, depth);
        for (to, from) in weights.bias.iter_mut().zip(bias) {
            *to = from * scale;
        }
        for (output, row) in weight.chunks_exact(depth).enumerate() {
            weights.set(output, row, scale);
        }
        weights
    }

    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn scratch(rows: usize, depth: usize) -> QuantizedRows<u8> {
        QuantizedRows::new::<K>(rows, depth)
    }

    fn prepare<'a>(
        kernel: K,
        rows: ValueRows<'a, K>,
        scratch: &'a mut QuantizedRows<u8>,
    ) -> QuantizedRowsView<'a, u8> {
        let ValueRows {
            values,
            depth,
            count,
        } = rows;
        let rows = values.chunks(padded_stride::<K::Value>(depth)).take(count);
        kernel.dispatch(QuantizeRows {
            rows: rows.map(|row| ValueRow(&row[..depth])),
            depth,
            out: &mut *scratch,
        });
        scratch.view(0)
    }

    fn multiply(
        &self,
        kernel: K,
        left: QuantizedRowsView<'_, u8>,
        count: usize,
        epilogue: impl Epilogue<K>,
    ) {
        kernel.dispatch(GemmW8A8 {
            left,
            count,
            right: self,
            epilogue,
        });
    }
}

/// What takes off what [`ZERO_POINT`] adds, for weights of this sum.
fn offset(sum: i32) -> i32 {
    -(ZERO_POINT as i32) * sum
}

/// An unsigned activation as a signed weight.
#[inline(always)]
pub(crate) fn signed(byte: u8) -> i8 {
    (byte ^ ZERO_POINT as u8) as i8
}

/// `left · rightᵀ + bias`.
struct GemmW8A8<'a, K: DotI8, E> {
    left: QuantizedRowsView<'a, u8>,
    /// Rows, computed in whole tiles.
    count: usize,
    right: &'a PackedW8A8<K>,
    epilogue: E,
}

impl<K: DotI8, E: Epilogue<K>> SimdOp<K> for GemmW8A8<'_, K, E> {
    type Output = ();

    #[inline(always)]
    fn eval(mut self, kernel: K) {
        let rows = self.count.next_multiple_of(mr::<K>());
        let (right, depth) = (self.right, self.right.depth);
        let QuantizedRowsView {
            values,
            scales,
            stride,
        } = self.left;
        assert!(values.len() >= rows * stride && stride >= depth && scales.len() >= rows);
        assert!(right.values.len() >= right.bias.len() * depth);
        kernel.begin();
        for column in (0..right.bias.len()).step_by(K::NR) {
            let dequantize = Dequantize::load(kernel, right, column);
            for row in (0..rows).step_by(mr::<K>()) {
                let mut sums = MaybeUninit::uninit();
                // SAFETY: the left operand has a tile of rows no shorter than the depth, and the
                // panel lies within the right one: both asserted above. The micro-kernel writes
                // the whole tile.
                let sums = unsafe {
                    let operands = Operands {
                        a: values.as_ptr().add(row * stride),
                        a_stride: stride,
                        b: right.values.as_ptr().add(column * depth),
                        b_stride: QUAD * K::NR,
                        k_groups: depth / QUAD,
                    };
                    kernel.multiply_quads(&mut sums, dequantize.offsets, operands);
                    sums.assume_init_ref()
                };
                let tile = dequantize.tile(kernel, sums, &scales[row..][..mr::<K>()]);
                self.epilogue.write(kernel, row, column, tile.rows());
            }
        }
        kernel.end();
    }
}

/// What makes f32 of the sums of a panel.
struct Dequantize<K: DotI8> {
    offsets: [K::Sums; 2],
    scales: [K::Vector; 2],
    bias: [K::Vector; 2],
}

impl<K: DotI8> Dequantize<K> {
    #[inline(always)]
    fn load(kernel: K, weights: &PackedW8A8<K>, first: usize) -> Self {
        let second = first + K::LANES;
        let floats = |from: &[f32]| [kernel.load(&from[first..]), kernel.load(&from[second..])];
        let sums = |from: &[i32]| {
            [
                kernel.load_sums(&from[first..]),
                kernel.load_sums(&from[second..]),
            ]
        };
        Self {
            offsets: sums(&weights.offsets),
            scales: floats(&weights.scales),
            bias: floats(&weights.bias),
        }
    }

    /// The sums of a tile whose rows have these scales, as f32.
    #[inline(always)]
    fn tile(&self, kernel: K, sums: &K::SumTile, row_scales: &[f32]) -> K::Tile {
        let mut tile = K::Tile::splat([kernel.splat(0.0); 2]);
        // A counted loop, which is unrolled: else neither tile stays in registers.
        for (row, y) in tile.rows_mut().iter_mut().enumerate() {
            let sums = sums.rows()[row];
            let scale = kernel.splat(row_scales[row]);
            for half in 0..2 {
                let product = kernel.mul(kernel.sums_to_f32(sums[half]), self.scales[half]);
                y[half] = kernel.mul_add(product, scale, self.bias[half]);
            }
        }
        tile
    }
}
