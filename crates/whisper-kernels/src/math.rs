// SPDX-License-Identifier: MPL-2.0
//! The transcendental functions of the encoder, on vectors.
//!
//! Coefficients: minimax fits (Lawson's iteratively reweighted least squares) made for this file.

use super::SimdF32;

/// 2^f on [0, 1), relative error 2.6e-6: below what a sum of 1500 f32 keeps, far below what bf16 does.
const EXP2: [f32; 5] = [
    1.000_002_6,
    0.693_003_83,
    0.241_442_75,
    0.052_011_464,
    0.013_534_168,
];

/// log2 Φ(-a) for a >= 0, Φ being the normal distribution: weighted so that a Φ(-a) is right to 5e-7.
const LOG2_TAIL: [f32; 6] = [
    -1.000_026_6,
    -1.150_846_2,
    -0.459_888,
    -0.051_909_07,
    0.007_113_154_5,
    -0.000_476_954_56,
];

#[inline(always)]
fn polynomial<L: SimdF32, const N: usize>(
    lanes: L,
    coefficients: &[f32; N],
    x: L::Vector,
) -> L::Vector {
    let mut sum = lanes.splat(coefficients[N - 1]);
    for &coefficient in coefficients[..N - 1].iter().rev() {
        sum = lanes.mul_add(sum, x, lanes.splat(coefficient));
    }
    sum
}

/// Smaller powers of two are as good as nothing, and would soon leave f32's normal numbers: an instruction that does
/// takes Intel's processors a hundred times as long.
pub const LEAST_EXPONENT: f32 = -100.0;

/// 2^x, relative error below 3e-6; 2^[`LEAST_EXPONENT`] for smaller ones. For x < 128.
#[inline(always)]
pub fn exp2<L: SimdF32>(lanes: L, x: L::Vector) -> L::Vector {
    let x = lanes.max(x, lanes.splat(LEAST_EXPONENT));
    lanes.scale_by_exp2(polynomial(lanes, &EXP2, lanes.fraction(x)), x)
}

/// x Φ(x), the exact (erf) form of GELU that Whisper uses, absolute error below 1e-6.
///
/// Computed as max(x, 0) - |x| Φ(-|x|): the tail's logarithm is so smooth that a short polynomial has it, and
/// nothing cancels.
#[inline(always)]
pub fn gelu<L: SimdF32>(lanes: L, x: L::Vector) -> L::Vector {
    let zero = lanes.splat(0.0);
    let minus = lanes.sub(zero, x);
    let size = lanes.max(x, minus);
    let tail = exp2(lanes, polynomial(lanes, &LOG2_TAIL, size));
    lanes.mul_add(lanes.sub(zero, size), tail, lanes.max(x, zero))
}

/// The largest of whole vectors.
#[inline(always)]
pub fn largest<L: SimdF32>(lanes: L, row: &[f32]) -> f32 {
    let mut most = lanes.splat(f32::NEG_INFINITY);
    for x in row.chunks_exact(L::LANES) {
        most = lanes.max(most, lanes.load(x));
    }
    lanes.largest(most)
}
