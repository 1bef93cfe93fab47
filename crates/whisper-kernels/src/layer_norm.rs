// SPDX-License-Identifier: MPL-2.0
//! Layer normalisation (Ba, Kiros and Hinton, "Layer Normalization", 2016), in two passes: the
//! mean, then the variance about it.

use crate::kernel::GemmKernel;
use crate::simd::SimdOp;

/// Added to the variance: PyTorch's default.
const EPSILON: f32 = 1e-5;

/// The parameters of a layer normalisation: `y = (x - mean) / √(variance + 1e-5) weight + bias`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// One per column.
    pub weight: Vec<f32>,
    /// One per column.
    pub bias: Vec<f32>,
}

/// Normalises rows to the left operand of a product, and to f32 as far as `floats` has rows.
///
/// # Panics
/// When the width is no multiple of [`SimdF32::LANES`](crate::SimdF32::LANES).
pub struct Normalize<'a, K: GemmKernel> {
    /// As wide as the rows.
    pub norm: &'a LayerNorm,
    /// `[rows, width]`
    pub x: &'a [f32],
    /// `[rows, stride]`
    pub out: &'a mut [K::Value],
    /// From one row of `out` to the next, in values.
    pub stride: usize,
    /// `[rows, width]`, of as many rows as are wanted.
    pub floats: &'a mut [f32],
}

impl<K: GemmKernel> SimdOp<K> for Normalize<'_, K> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let width = self.norm.weight.len();
        let mut floats = self.floats.chunks_exact_mut(width);
        for (x, out) in self
            .x
            .chunks_exact(width)
            .zip(self.out.chunks_exact_mut(self.stride))
        {
            let mut floats = floats.next();
            normalize_row(kernel, self.norm, x, |i, y| {
                kernel.narrow(y, &mut out[i..]);
                if let Some(floats) = &mut floats {
                    kernel.store(y, &mut floats[i..]);
                }
            });
        }
    }
}

/// Normalises one row. `write` gets each vector and the index of its first number.
///
/// # Panics
/// When the row's length is no multiple of [`SimdF32::LANES`](crate::SimdF32::LANES).
#[inline(always)]
pub fn normalize_row<K: GemmKernel>(
    kernel: K,
    norm: &LayerNorm,
    x: &[f32],
    mut write: impl FnMut(usize, K::Vector),
) {
    assert!(x.len().is_multiple_of(K::LANES));
    let per_element = 1.0 / x.len() as f32;
    let mut sum = kernel.splat(0.0);
    for x in x.chunks_exact(K::LANES) {
        sum = kernel.add(sum, kernel.load(x));
    }
    let mean = kernel.splat(kernel.reduce_sum(sum) * per_element);

    let mut squares = kernel.splat(0.0);
    for x in x.chunks_exact(K::LANES) {
        let difference = kernel.sub(kernel.load(x), mean);
        squares = kernel.mul_add(difference, difference, squares);
    }
    let variance = kernel.reduce_sum(squares) * per_element;
    let scale = kernel.splat(1.0 / (variance + EPSILON).sqrt());

    for i in (0..x.len()).step_by(K::LANES) {
        let centred = kernel.mul(kernel.sub(kernel.load(&x[i..]), mean), scale);
        let y = kernel.mul_add(
            centred,
            kernel.load(&norm.weight[i..]),
            kernel.load(&norm.bias[i..]),
        );
        write(i, y);
    }
}
