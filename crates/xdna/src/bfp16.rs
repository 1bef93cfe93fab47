// SPDX-License-Identifier: MPL-2.0
//! bfp16ebs8: eight values that share an exponent, in nine bytes.
//!
//! A block is the biased exponent of its largest value (as in f32) and eight signed bytes: value i
//! is `mantissa[i] * 2^(exponent - 127) / 64`. AMD's aie_api documentation describes the format
//! under "Block floating point".
//!
//! Encoding rounds each value once, to a multiple of the last place. A mantissa that carries to
//! 128, which a byte does not hold, is clipped to 127. The next exponent would hold it too, but
//! would cost the seven other values a bit.

use super::arithmetic::Rounding;
use super::contract::{BLOCK_BYTES, SUB};

/// Eight values, adjacent in depth.
pub type Values = [f32; SUB];

/// The smallest exponent that is encoded: its last place is still a normal number of f32. Blocks
/// below it are zero.
const LEAST_EXPONENT: u32 = 16;

/// The block's exponent and last place; zeros where all values are (nearly) zero.
#[inline(always)]
fn unit(values: &Values) -> (u32, f32) {
    let magnitude = values
        .iter()
        .fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
    let exponent = magnitude >> 23;
    if exponent < LEAST_EXPONENT {
        return (0, 0.0);
    }
    (exponent, f32::from_bits((exponent - 6) << 23))
}

/// The values of the block for `values` (finite, below 2^112). Each is a multiple of the block's
/// last place, which bf16 holds exactly.
#[inline(always)]
pub fn round<R: Rounding>(values: &Values) -> Values {
    let (_, unit) = unit(values);
    if unit == 0.0 {
        return [0.0; SUB];
    }
    values.map(|x| R::to_multiple(x, unit).clamp(-128.0 * unit, 127.0 * unit))
}

/// The block for `values`.
pub fn encode<R: Rounding>(values: &Values) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let (exponent, unit) = unit(values);
    if unit > 0.0 {
        block[0] = exponent as u8;
        for (byte, x) in block[1..].iter_mut().zip(round::<R>(values)) {
            *byte = (x / unit) as i8 as u8;
        }
    }
    block
}

/// The values of a block.
#[inline(always)]
pub fn decode(block: &[u8; BLOCK_BYTES]) -> Values {
    // Below the last place of f32 a block decodes to zero, as it is encoded.
    let exponent = u32::from(block[0]);
    let unit = f32::from_bits(exponent.saturating_sub(6) << 23);
    let mut values = [0.0; SUB];
    for (x, byte) in values.iter_mut().zip(&block[1..]) {
        *x = f32::from(*byte as i8) * unit;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::super::arithmetic::{Even, Floor};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encode_makes_known_blocks() {
        let ones = encode::<Even>(&[1.0, -1.0, 0.5, -0.5, 0.0, 1.5, -2.0 / 64.0, 1.0 / 64.0]);
        assert_eq!(ones, [127, 64, 192, 32, 224, 0, 96, 254, 1]);
        assert_eq!(encode::<Even>(&[0.0; 8]), [0; 9]);
        // 127.5 / 64 would carry to 128: clipped. Its negative is -128, which a byte holds.
        let carry = 127.5 / 64.0;
        let block = encode::<Even>(&[carry, -carry, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(block[..3], [127, 127, 128]);
    }

    #[test]
    fn encode_with_floor_never_rounds_up() {
        let x = [1.0, 0.99 / 64.0, -0.01 / 64.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(encode::<Floor>(&x), [127, 64, 0, 255, 0, 0, 0, 0, 0]);
        assert_eq!(encode::<Even>(&x), [127, 64, 1, 0, 0, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn decode_gives_the_rounded_values(values in prop::array::uniform8(-1e6f32..1e6), scale in -60i32..60) {
            let values = values.map(|x| x * 2f32.powi(scale));
            prop_assert_eq!(decode(&encode::<Even>(&values)), round::<Even>(&values));
            prop_assert_eq!(decode(&encode::<Floor>(&values)), round::<Floor>(&values));
        }

        #[test]
        fn round_errs_by_half_a_last_place(values in prop::array::uniform8(-100f32..100.0)) {
            let (_, unit) = unit(&values);
            for (x, y) in values.iter().zip(round::<Even>(&values)) {
                let clipped = *x > 127.0 * unit;
                let allowed = if clipped { unit } else { 0.5 * unit };
                prop_assert!((x - y).abs() <= allowed);
            }
        }

        #[test]
        fn round_gives_values_of_bf16(values in prop::array::uniform8(-1e3f32..1e3)) {
            for x in round::<Even>(&values) {
                prop_assert_eq!(half::bf16::from_f32(x).to_f32(), x);
            }
        }
    }
}
