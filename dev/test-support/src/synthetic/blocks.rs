// SPDX-License-Identifier: MPL-2.0
//! ggml's blocks, quantised as its reference does (`quantize_row_q8_0_ref`,
//! `quantize_row_q5_0_ref`).

use half::f16;

/// Values of a block.
pub const BLOCK: usize = 32;

/// f16 scale, then 32 signed bytes.
pub fn q8_0(values: &[f32]) -> Vec<u8> {
    let largest = values
        .iter()
        .fold(0.0, |largest: f32, x| largest.max(x.abs()));
    let scale = largest / 127.0;
    let mut block = f16::from_f32(scale).to_le_bytes().to_vec();
    block.extend(values.iter().map(|x| (x / scale).round() as i8 as u8));
    block
}

/// f16 scale, the fifth bits of 32 values, then their low nibbles: value *i* beside value *i* + 16.
pub fn q5_0(values: &[f32]) -> Vec<u8> {
    let largest = values.iter().fold(
        0.0,
        |largest: f32, x| {
            if x.abs() > largest.abs() { *x } else { largest }
        },
    );
    let scale = largest / -16.0;
    let quants: Vec<u32> = values
        .iter()
        .map(|x| ((x / scale + 16.5) as u32).min(31))
        .collect();
    let fifths = quants
        .iter()
        .zip(0..)
        .fold(0, |bits, (quant, place)| bits | (quant >> 4) << place);
    let mut block = f16::from_f32(scale).to_le_bytes().to_vec();
    block.extend(u32::to_le_bytes(fifths));
    let (low, high) = quants.split_at(BLOCK / 2);
    block.extend(
        low.iter()
            .zip(high)
            .map(|(a, b)| (a & 15 | (b & 15) << 4) as u8),
    );
    block
}
