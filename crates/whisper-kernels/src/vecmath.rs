// SPDX-License-Identifier: MPL-2.0
//! Elementary functions on vectors: 2^x, GELU, sigmoid, tanh, the largest number.
//!
//! The coefficients are minimax fits (Lawson's iteratively reweighted least squares) made for this
//! file. The tests check the error bounds on every instruction set.

use std::f32::consts::LOG2_E;

use crate::simd::SimdF32;

/// 2^f on [0, 1), relative error 2.6e-6: less than a sum of 1500 f32 loses, far less than bf16
/// does.
const EXP2: [f32; 5] = [
    1.000_002_6,
    0.693_003_83,
    0.241_442_75,
    0.052_011_464,
    0.013_534_168,
];

/// log2 Φ(-a) for a >= 0, Φ being the distribution function of the normal distribution. The fit is
/// weighted so that a Φ(-a) is right to 5e-7.
const LOG2_TAIL: [f32; 6] = [
    -1.000_026_6,
    -1.150_846_2,
    -0.459_888,
    -0.051_909_07,
    0.007_113_154_5,
    -0.000_476_954_56,
];

/// `Σ coefficients[i] x^i`, by Horner's rule.
#[inline(always)]
fn polynomial<K: SimdF32, const N: usize>(
    kernel: K,
    coefficients: &[f32; N],
    x: K::Vector,
) -> K::Vector {
    let mut sum = kernel.splat(coefficients[N - 1]);
    for &coefficient in coefficients[..N - 1].iter().rev() {
        sum = kernel.mul_add(sum, x, kernel.splat(coefficient));
    }
    sum
}

/// The least exponent of [`exp2`]. Smaller powers of two are as good as nothing, and soon
/// subnormal: an instruction that meets one takes Intel's processors a hundred times as long.
pub const MIN_EXPONENT: f32 = -100.0;

/// 2^x for x < 128, relative error below 3e-6; 2^[`MIN_EXPONENT`] for smaller x.
///
/// 1. Clamp x to [`MIN_EXPONENT`].
/// 2. Split x into ⌊x⌋ and f = x - ⌊x⌋.
/// 3. 2^f is a polynomial of degree 4.
/// 4. Multiply by 2^⌊x⌋, in the exponent's bits or by the instruction for it.
#[inline(always)]
pub fn exp2<K: SimdF32>(kernel: K, x: K::Vector) -> K::Vector {
    let x = kernel.max(x, kernel.splat(MIN_EXPONENT));
    kernel.scale_by_exp2(polynomial(kernel, &EXP2, kernel.fraction(x)), x)
}

/// GELU, x Φ(x), in its exact form (by the error function, not tanh), absolute error below 1.5e-6
/// (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016).
///
/// Computed as max(x, 0) - |x| Φ(-|x|), where Φ(-|x|) is 2 to a polynomial of degree 5: the tail's
/// logarithm is so smooth that a short polynomial has it, and nothing cancels.
#[inline(always)]
pub fn gelu<K: SimdF32>(kernel: K, x: K::Vector) -> K::Vector {
    let zero = kernel.splat(0.0);
    let minus = kernel.sub(zero, x);
    let size = kernel.max(x, minus);
    let tail = exp2(kernel, polynomial(kernel, &LOG2_TAIL, size));
    kernel.mul_add(kernel.sub(zero, size), tail, kernel.max(x, zero))
}

/// Beyond it the sigmoid is 0 or 1 in f32, and its power of two would overflow.
const SIGMOID_END: f32 = 60.0;

/// 1 / (1 + e^-x), absolute error below 1.5e-6.
#[inline(always)]
pub fn sigmoid<K: SimdF32>(kernel: K, x: K::Vector) -> K::Vector {
    let one = kernel.splat(1.0);
    let x = kernel.max(x, kernel.splat(-SIGMOID_END));
    let power = exp2(kernel, kernel.mul(x, kernel.splat(-LOG2_E)));
    kernel.div(one, kernel.add(one, power))
}

/// tanh x as 2 sigmoid(2 x) - 1, absolute error below 3e-6.
#[inline(always)]
pub fn tanh<K: SimdF32>(kernel: K, x: K::Vector) -> K::Vector {
    let share = sigmoid(kernel, kernel.add(x, x));
    kernel.sub(kernel.add(share, share), kernel.splat(1.0))
}

/// The largest number of `row`, as far as it has whole vectors; -∞ where it has none.
#[inline(always)]
pub fn max<K: SimdF32>(kernel: K, row: &[f32]) -> f32 {
    let mut max = kernel.splat(f32::NEG_INFINITY);
    for x in row.chunks_exact(K::LANES) {
        max = kernel.max(max, kernel.load(x));
    }
    kernel.reduce_max(max)
}
