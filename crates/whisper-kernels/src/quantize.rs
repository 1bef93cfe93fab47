// SPDX-License-Identifier: MPL-2.0
//! Dynamic quantisation of activations: integers, and a scale for each row.
//!
//! A row's scale is its largest magnitude divided by the largest integer, found when the row is
//! quantised (as ONNX Runtime's `DynamicQuantizeLinear` and CTranslate2 do). Rounding is to the
//! nearest integer, ties to even, so a number is off by at most half of its row's scale.
//!
//! | integer | range used | zero point | multiplied by |
//! |---|---|---|---|
//! | `u8` | 1 to 255 | 128 | [`w8a8`](crate::w8a8) |
//! | `i16` | -32767 to 32767 | 0 | [`w8a16`](crate::w8a16) |

use crate::buffer::{AlignedBuffer, CACHE_LINE};
use crate::kernel::{DotI8, GemmKernel, mr};
use crate::simd::{SimdF32, SimdOp};

/// The largest magnitude of an 8-bit integer, signed or (beside [`ZERO_POINT`]) unsigned.
pub(crate) const MAX_I8: f32 = 127.0;
/// What stands for 0 among unsigned bytes.
pub(crate) const ZERO_POINT: f32 = 128.0;
/// Depth, in integers, is padded to a multiple of this.
const PADDING: usize = 64;
/// Rows of the smallest tile that a product is computed in.
pub(crate) const FEW_ROWS: usize = 4;

/// An integer that `K` quantises activations to.
pub trait QuantizedInt<K: SimdF32>: Copy + Default + Send + Sync + 'static {
    /// The largest magnitude.
    const MAX: f32;
    /// What stands for 0.
    const ZERO_POINT: f32;

    /// The stride, in integers, of rows that are `depth` wide.
    fn stride(depth: usize) -> usize;
    /// Rounds to the nearest integers, ties to even: to the first LANES of `to`.
    fn round_vector(kernel: K, x: K::Vector, to: &mut [Self]);
    /// The integer nearest to `x`, the even one of two.
    fn round(x: f32) -> Self;
}

impl<K: DotI8> QuantizedInt<K> for u8 {
    const MAX: f32 = MAX_I8;
    const ZERO_POINT: f32 = ZERO_POINT;

    /// A cache line more than the depth, as [`padded_stride`](crate::buffer::padded_stride).
    #[inline(always)]
    fn stride(depth: usize) -> usize {
        depth.next_multiple_of(PADDING) + CACHE_LINE
    }

    #[inline(always)]
    fn round_vector(kernel: K, x: K::Vector, to: &mut [u8]) {
        kernel.round_to_u8(x, to);
    }

    #[inline(always)]
    fn round(x: f32) -> u8 {
        x.round_ties_even() as u8
    }
}

impl<K: GemmKernel> QuantizedInt<K> for i16 {
    const MAX: f32 = i16::MAX as f32;
    const ZERO_POINT: f32 = 0.0;

    #[inline(always)]
    fn stride(depth: usize) -> usize {
        depth.next_multiple_of(PADDING)
    }

    #[inline(always)]
    fn round_vector(kernel: K, x: K::Vector, to: &mut [i16]) {
        kernel.round_to_i16(x, to);
    }

    #[inline(always)]
    fn round(x: f32) -> i16 {
        x.round_ties_even() as i16
    }
}

/// Rows of integers, `[rows, stride]`, beside the scale of each row.
#[derive(Debug)]
pub struct QuantizedRows<T> {
    values: AlignedBuffer<T>,
    /// One per row; 0 in rows that hold nothing, so that these are multiplied to zeros.
    scales: AlignedBuffer<f32>,
    /// From one row to the next, as the rows quantised last have it.
    stride: usize,
}

impl<T: Copy + Default> QuantizedRows<T> {
    /// Memory for `rows` rows of up to `depth` numbers, rounded up to whole tiles of `K`.
    pub fn new<K: GemmKernel>(rows: usize, depth: usize) -> Self
    where
        T: QuantizedInt<K>,
    {
        let rows = rows.next_multiple_of(mr::<K>()).max(FEW_ROWS);
        let stride = T::stride(depth);
        Self {
            values: AlignedBuffer::new(rows * stride),
            scales: AlignedBuffer::new(rows),
            stride,
        }
    }

    /// As [`QuantizedRows::new`], with the same scale for every row.
    pub(crate) fn with_scale<K: GemmKernel>(rows: usize, depth: usize, scale: f32) -> Self
    where
        T: QuantizedInt<K>,
    {
        let mut rows = Self::new::<K>(rows, depth);
        rows.scales.fill(scale);
        rows
    }

    /// The integers, row after row.
    pub(crate) fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// From one row to the next, in integers.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The rows from `first` on.
    pub fn view(&self, first: usize) -> QuantizedRowsView<'_, T> {
        QuantizedRowsView {
            values: &self.values[first * self.stride..],
            scales: &self.scales[first..],
            stride: self.stride,
        }
    }
}

/// Some rows of [`QuantizedRows`]: the left operand of a product.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedRowsView<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) scales: &'a [f32],
    pub(crate) stride: usize,
}

/// A row of numbers that are to be quantised.
pub trait FloatRow<K: SimdF32>: Copy {
    /// How many.
    fn width(self) -> usize;
    /// LANES of them, from number `at` on.
    fn load(self, kernel: K, at: usize) -> K::Vector;
    /// Number `at`.
    fn get(self, at: usize) -> f32;
}

impl<K: SimdF32> FloatRow<K> for &[f32] {
    #[inline(always)]
    fn width(self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn load(self, kernel: K, at: usize) -> K::Vector {
        kernel.load(&self[at..])
    }

    #[inline(always)]
    fn get(self, at: usize) -> f32 {
        self[at]
    }
}

/// A row of [`GemmKernel::Value`]s.
#[derive(Clone, Copy, Debug)]
pub struct ValueRow<'a, V>(pub &'a [V]);

impl<K: DotI8> FloatRow<K> for ValueRow<'_, K::Value> {
    #[inline(always)]
    fn width(self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn load(self, kernel: K, at: usize) -> K::Vector {
        kernel.widen(&self.0[at..])
    }

    #[inline(always)]
    fn get(self, at: usize) -> f32 {
        self.0[at].into()
    }
}

/// Quantises rows, each to the range of its largest number.
pub struct QuantizeRows<'a, R, T> {
    /// [`FloatRow`]s, all of them `depth` numbers long.
    pub rows: R,
    /// Numbers of a row.
    pub depth: usize,
    /// Rows that there are none for get the scale 0.
    pub out: &'a mut QuantizedRows<T>,
}

impl<K: GemmKernel, R, T> SimdOp<K> for QuantizeRows<'_, R, T>
where
    R: Iterator<Item: FloatRow<K>>,
    T: QuantizedInt<K>,
{
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let QuantizedRows {
            values,
            scales,
            stride,
        } = self.out;
        *stride = T::stride(self.depth);
        scales.fill(0.0);
        let out = values.chunks_exact_mut(*stride).zip(scales.iter_mut());
        for (x, (out, scale)) in self.rows.zip(out) {
            *scale = quantize_row(kernel, x, out);
        }
    }
}

/// Quantises one row; returns its scale.
#[inline(always)]
fn quantize_row<K: GemmKernel, T: QuantizedInt<K>>(
    kernel: K,
    x: impl FloatRow<K>,
    out: &mut [T],
) -> f32 {
    let whole = x.width() / K::LANES * K::LANES;
    let mut max = kernel.splat(0.0);
    for i in (0..whole).step_by(K::LANES) {
        max = kernel.max(max, abs(kernel, x.load(kernel, i)));
    }
    let tail = (whole..x.width()).map(|i| x.get(i).abs());
    let max = tail.fold(kernel.reduce_max(max), f32::max);
    let inverse = inverse_scale(max, T::MAX);
    let (factor, zero) = (kernel.splat(inverse), kernel.splat(T::ZERO_POINT));
    for i in (0..whole).step_by(K::LANES) {
        let x = kernel.mul_add(x.load(kernel, i), factor, zero);
        T::round_vector(kernel, x, &mut out[i..]);
    }
    for (out, i) in out[whole..].iter_mut().zip(whole..x.width()) {
        *out = T::round(x.get(i) * inverse + T::ZERO_POINT);
    }
    // What the depth is padded with is multiplied by zero weights.
    out[x.width()..x.width().next_multiple_of(PADDING)].fill(T::default());
    max / T::MAX
}

/// |x|, lane by lane.
#[inline(always)]
pub(crate) fn abs<K: SimdF32>(kernel: K, x: K::Vector) -> K::Vector {
    kernel.max(x, kernel.sub(kernel.splat(0.0), x))
}

/// What brings numbers of magnitude `max` to `limit`; 0 where all numbers are.
#[inline(always)]
pub(crate) fn inverse_scale(max: f32, limit: f32) -> f32 {
    if max > 0.0 { limit / max } else { 0.0 }
}

/// The largest magnitude in `x`.
pub(crate) fn max_abs(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |max: f32, x| max.max(x.abs()))
}
