// SPDX-License-Identifier: MPL-2.0
//! The cores' arithmetic, defined to the bit: the contract asks it of a core program, and the
//! simulator computes it.
//!
//! AIE2P multiplies bf16 and adds in f32, and a product of two bf16 is exact in f32. So everything
//! here consists of conversions to bf16, such products, and additions in f32 in a fixed order.
//! Results below the normal range of f32 are undefined: activations of neural networks are far from
//! it.

use half::bf16;

/// How a core rounds what it converts.
pub trait Rounding: Copy + Send + Sync + 'static {
    /// The multiple of `unit` beside `x` that the mode chooses. `unit` is a power of two, and
    /// |x| < 2^22 `unit`.
    fn to_multiple(x: f32, unit: f32) -> f32;
    /// The bf16 beside a finite `x` that the mode chooses.
    fn to_bf16(x: f32) -> bf16;
}

/// `aie::rounding_mode::conv_even`, which the core program sets: to nearest, ties to even.
#[derive(Clone, Copy, Debug)]
pub struct Even;

/// `aie::rounding_mode::floor`, the mode in which cores power up. For comparison only.
#[derive(Clone, Copy, Debug)]
pub struct Floor;

impl Rounding for Even {
    #[inline(always)]
    fn to_multiple(x: f32, unit: f32) -> f32 {
        // Where f32's own unit is `unit`, its own rounding does it.
        let shift = 1.5 * (1 << 23) as f32 * unit;
        (x + shift) - shift
    }

    #[inline(always)]
    fn to_bf16(x: f32) -> bf16 {
        let bits = x.to_bits();
        let half = 0x7fff + (bits >> 16 & 1);
        bf16::from_bits((bits.wrapping_add(half) >> 16) as u16)
    }
}

impl Rounding for Floor {
    #[inline(always)]
    fn to_multiple(x: f32, unit: f32) -> f32 {
        (x / unit).floor() * unit
    }

    #[inline(always)]
    fn to_bf16(x: f32) -> bf16 {
        let bits = x.to_bits();
        let up = if x < 0.0 { 0xffff } else { 0 };
        bf16::from_bits((bits.wrapping_add(up) >> 16) as u16)
    }
}

/// f32 as the sum of two bf16: its first 16 bits of precision, both as f32.
#[inline(always)]
fn split<R: Rounding>(x: f32) -> (f32, f32) {
    let high = R::to_bf16(x).to_f32();
    (high, R::to_bf16(x - high).to_f32())
}

/// `a b`, to about 16 bits: three products of bf16, added in this order.
#[inline(always)]
fn product<R: Rounding>(a: f32, b: f32) -> f32 {
    let ((a, a_low), (b, b_low)) = (split::<R>(a), split::<R>(b));
    a * b + a * b_low + a_low * b
}

/// Where GELU's tail ends: beyond it |x| Φ(-|x|) is below 1e-7.
pub const GELU_END: f32 = 5.5;

/// Coefficients of a polynomial for Φ(-a)^(1/8), 0 <= a <= [`GELU_END`], Φ being the normal
/// distribution. The fit is minimax, made for this file. The eighth root is so flat that a short
/// polynomial suffices: for a < 4 the relative error of its eighth power is 4e-4.
pub const GELU_ROOT: [f32; 8] = [
    0.917_006_43,
    -0.091_498_144,
    -0.031_756_185,
    -0.000_975_154_86,
    0.001_776_068_4,
    -9.962_783e-5,
    -2.361_76e-5,
    2.286_211_8e-6,
];

/// x Φ(x), the exact (erf) form of GELU, to an absolute error of 2e-5. Computed as
/// max(x, 0) - |x| Φ(-|x|).
#[inline(always)]
pub fn gelu<R: Rounding>(x: f32) -> f32 {
    let size = x.abs().min(GELU_END);
    let mut root = GELU_ROOT[GELU_ROOT.len() - 1];
    for coefficient in GELU_ROOT[..GELU_ROOT.len() - 1].iter().rev() {
        root = product::<R>(root, size) + coefficient;
    }
    let square = product::<R>(root, root);
    let fourth = product::<R>(square, square);
    let tail = product::<R>(fourth, fourth);
    x.max(0.0) - product::<R>(size, tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x Φ(x) from a series for erf, in f64.
    fn exact(x: f64) -> f64 {
        let z = x / std::f64::consts::SQRT_2;
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        0.5 * x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI)
    }

    #[test]
    fn gelu_is_close_to_the_exact_form() {
        let mut worst: f64 = 0.0;
        for i in -6000..6000 {
            let x = i as f32 * 1e-3;
            let found = f64::from(gelu::<Even>(x));
            worst = worst.max((found - exact(f64::from(x))).abs());
        }
        assert!(worst < 2e-5, "{worst}");
        assert_eq!(gelu::<Even>(300.0), 300.0);
        assert!(gelu::<Even>(-300.0).abs() < 1e-6);
    }

    #[test]
    fn to_bf16_follows_the_mode() {
        let one = f32::from_bits(0x3f80_8000);
        assert_eq!(Even::to_bf16(one).to_bits(), 0x3f80);
        assert_eq!(Even::to_bf16(f32::from_bits(0x3f81_8000)).to_bits(), 0x3f82);
        assert_eq!(
            Floor::to_bf16(f32::from_bits(0x3f80_ffff)).to_bits(),
            0x3f80
        );
        assert_eq!(
            Floor::to_bf16(f32::from_bits(0xbf80_0001)).to_bits(),
            0xbf81
        );
        assert_eq!(Floor::to_bf16(-1.0).to_bits(), 0xbf80);
        for x in [0.1f32, -3.7, 1e-20, 6e30] {
            assert_eq!(Even::to_bf16(x), bf16::from_f32(x));
        }
    }

    #[test]
    fn to_multiple_follows_the_mode() {
        let even = [
            (2.5, 2.0),
            (3.5, 4.0),
            (-2.5, -2.0),
            (-0.4, 0.0),
            (127.5, 128.0),
        ];
        assert!(
            even.iter()
                .all(|&(x, y)| Even::to_multiple(x * 0.25, 0.25) == y * 0.25)
        );
        let floor = [(2.5, 2.0), (-0.1, -1.0), (-3.0, -3.0)];
        assert!(
            floor
                .iter()
                .all(|&(x, y)| Floor::to_multiple(x * 0.25, 0.25) == y * 0.25)
        );
    }
}
