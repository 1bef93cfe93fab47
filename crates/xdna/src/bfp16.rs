// SPDX-License-Identifier: MPL-2.0
//! bfp16ebs8: eight values that share an exponent, in nine bytes.
//!
//! A block is the biased exponent of its largest value (as in f32) and eight signed bytes: value i
//! is `mantissa[i] * 2^(exponent - 127) / 64`. AMD's aie_api documentation describes the format
//! under "Block floating point".
//!
//! Encoding rounds each value once, to the nearest multiple of the last place, ties to even. A
//! mantissa that carries to 128, which a byte does not hold, is clipped to 127. The next exponent
//! would hold it too, but would cost the seven other values a bit.

use super::contract::{BLOCK_BYTES, SUB};

/// Eight values, adjacent in depth.
pub type Values = [f32; SUB];

/// The smallest exponent that is encoded: the scale for blocks below it is no number of f32. They
/// are zero.
const LEAST_EXPONENT: u32 = 6;
/// Exponent of a last place of one: 127, and six places after the point.
const UNIT_EXPONENT: u32 = 127 + 6;
/// Where the unit of f32 is one, its own rounding makes integers.
const INTEGERS: f32 = 1.5 * (1 << 23) as f32;

/// The block for `values`, which are finite.
#[inline(always)]
pub fn encode(values: &Values) -> [u8; BLOCK_BYTES] {
    let largest = values
        .iter()
        .fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
    let exponent = largest >> 23;
    let mut block = [0; BLOCK_BYTES];
    if exponent < LEAST_EXPONENT {
        return block;
    }
    block[0] = exponent as u8;
    let scale = f32::from_bits((UNIT_EXPONENT + 127 - exponent) << 23);
    for (byte, x) in block[1..].iter_mut().zip(values) {
        let mantissa = (x * scale + INTEGERS).to_bits() as i32 - INTEGERS.to_bits() as i32;
        *byte = mantissa.min(127) as u8;
    }
    block
}

/// The values of a block.
#[inline(always)]
pub fn decode(block: &[u8; BLOCK_BYTES]) -> Values {
    let exponent = u32::from(block[0]);
    let unit = match exponent.checked_sub(LEAST_EXPONENT) {
        Some(normal @ 1..) => normal << 23,
        _ => 1 << (exponent + 23 - LEAST_EXPONENT - 1),
    };
    let unit = f32::from_bits(unit);
    let mut values = [0.0; SUB];
    for (x, byte) in values.iter_mut().zip(&block[1..]) {
        *x = f32::from(*byte as i8) * unit;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encode_makes_known_blocks() {
        let ones = encode(&[1.0, -1.0, 0.5, -0.5, 0.0, 1.5, -2.0 / 64.0, 1.0 / 64.0]);
        assert_eq!(ones, [127, 64, 192, 32, 224, 0, 96, 254, 1]);
        assert_eq!(encode(&[0.0; 8]), [0; 9]);
        assert_eq!(encode(&[-0.0; 8]), [0; 9]);
        // Carries to 128 and is clipped; its negative is -128, which a byte holds; ties to even.
        let values = [127.75, 1.0, -3.5, 0.0, 64.0, -127.5, 0.25, 100.5].map(|x| x / 64.0);
        let expected = [127, 127, 1, -4, 0, 64, -128, 0, 100].map(|x: i32| x as u8);
        assert_eq!(encode(&values), expected);
    }

    #[test]
    fn decode_takes_every_exponent() {
        // Beyond, f32 does not hold the largest mantissa.
        for exponent in 0..254u8 {
            let block = [exponent, 128, 129, 255, 0, 1, 2, 64, 127];
            for (x, byte) in decode(&block).into_iter().zip(&block[1..]) {
                let exact = f64::from(*byte as i8) * 2f64.powi(i32::from(exponent) - 133);
                assert_eq!(f64::from(x), exact, "{exponent}");
            }
        }
    }

    proptest! {
        #[test]
        fn encode_errs_by_half_a_last_place(values in prop::array::uniform8(-100f32..100.0), scale in -60i32..60) {
            let values = values.map(|x| x * 2f32.powi(scale));
            let block = encode(&values);
            let unit = 2f32.powi(i32::from(block[0]) - 133);
            for (x, y) in values.iter().zip(decode(&block)) {
                let allowed = if *x > 127.0 * unit { unit } else { 0.5 * unit };
                prop_assert!((x - y).abs() <= allowed);
            }
        }

        #[test]
        fn decode_gives_values_of_bf16(values in prop::array::uniform8(-1e3f32..1e3)) {
            for x in decode(&encode(&values)) {
                prop_assert_eq!(half::bf16::from_f32(x).to_f32(), x);
            }
        }
    }
}
