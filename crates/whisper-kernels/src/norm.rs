// SPDX-License-Identifier: MPL-2.0
//! Layer normalisation.

use super::{GemmKernel, SimdOp};

/// Whisper's, inside the square root.
const EPSILON: f32 = 1e-5;

/// What a layer normalisation multiplies and adds, one each per column.
pub struct Norm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Normalises rows to the left operand of a following multiplication, and to f32 as far as `floats` has rows.
/// The width must be a multiple of the kernel's LANES.
pub struct Normalize<'a, K: GemmKernel> {
    pub norm: &'a Norm,
    /// Rows as wide as the norm, one after another.
    pub x: &'a [f32],
    pub out: &'a mut [K::Value],
    pub stride: usize,
    pub floats: &'a mut [f32],
}

impl<K: GemmKernel> SimdOp<K> for Normalize<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let width = self.norm.weight.len();
        let mut floats = self.floats.chunks_exact_mut(width);
        for (x, out) in self
            .x
            .chunks_exact(width)
            .zip(self.out.chunks_exact_mut(self.stride))
        {
            let mut floats = floats.next();
            normalize(kernel, self.norm, x, |i, y| {
                kernel.narrow(y, &mut out[i..]);
                if let Some(floats) = &mut floats {
                    kernel.store(y, &mut floats[i..]);
                }
            });
        }
    }
}

/// Normalises one row; `write` gets each vector and where in the row it begins.
#[inline(always)]
pub fn normalize<K: GemmKernel>(
    kernel: K,
    norm: &Norm,
    x: &[f32],
    mut write: impl FnMut(usize, K::Vector),
) {
    assert!(x.len().is_multiple_of(K::LANES));
    let per_element = 1.0 / x.len() as f32;
    let mut sum = kernel.splat(0.0);
    for x in x.chunks_exact(K::LANES) {
        sum = kernel.add(sum, kernel.load(x));
    }
    let mean = kernel.splat(kernel.sum(sum) * per_element);

    let mut squares = kernel.splat(0.0);
    for x in x.chunks_exact(K::LANES) {
        let difference = kernel.sub(kernel.load(x), mean);
        squares = kernel.mul_add(difference, difference, squares);
    }
    let scale = kernel.splat(1.0 / (kernel.sum(squares) * per_element + EPSILON).sqrt());

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
