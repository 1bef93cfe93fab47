// SPDX-License-Identifier: MPL-2.0
//! Decimal logarithm over a row, in operations that compilers vectorise.

use std::f32::consts::{FRAC_1_SQRT_2, LOG10_2, LOG10_E};

use super::SILENCE;

/// Powers below this count as digital silence.
const FLOOR: f32 = 1e-10;

/// Replaces each power by log10(max(power, 1e-10)), within 2e-6. NaN counts as silence.
pub(super) fn log10_floored(powers: &mut [f32]) {
    for power in powers {
        // Not `f32::max`: this comparison is one instruction, and false for NaN.
        let floored = if *power > FLOOR { *power } else { FLOOR };
        let log = log10(floored);
        // Rounding must not push silence below its name's value.
        *power = if log > SILENCE { log } else { SILENCE };
    }
}

/// log10 of a normal positive number.
///
/// With x = 2^e · m and √½ ≤ m < √2: log10 x = e · log10 2 + log10 e · 2 artanh((m − 1) / (m + 1)).
/// The argument of artanh stays below 0.172, so five terms of its power series leave less than
/// 1e-9.
#[inline(always)]
fn log10(x: f32) -> f32 {
    let bits = x.to_bits() as i32;
    let exponent = (bits - FRAC_1_SQRT_2.to_bits() as i32) >> 23;
    let mantissa = f32::from_bits((bits - (exponent << 23)) as u32);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let s2 = s * s;
    let series = 1.0 + s2 * (1.0 / 3.0 + s2 * (1.0 / 5.0 + s2 * (1.0 / 7.0 + s2 * (1.0 / 9.0))));
    exponent as f32 * LOG10_2 + 2.0 * LOG10_E * (s * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_library_over_all_magnitudes() {
        // Every 4099th number from the floor up: all exponents, mantissas spread by a prime step.
        for bits in (FLOOR.to_bits()..f32::MAX.to_bits()).step_by(4099) {
            let x = f32::from_bits(bits);
            let error = f64::from(log10(x)) - f64::from(x).log10();
            assert!(
                error.abs() <= 4e-6 * (1.0 + f64::from(x).log10().abs() / 10.0),
                "{x}: {error}"
            );
        }
    }

    #[test]
    fn silence_is_exact_and_nan_is_silence() {
        let mut row = [0.0, -1.0, f32::NAN, 1e-11, 1e-10, f32::MIN_POSITIVE, 1.0];
        log10_floored(&mut row);
        assert_eq!(
            row,
            [SILENCE, SILENCE, SILENCE, SILENCE, SILENCE, SILENCE, 0.0]
        );
    }
}
