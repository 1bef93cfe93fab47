// SPDX-License-Identifier: MPL-2.0
//! Matrices of bf16 in device buffers (row-major, little-endian), from and to f32.

use half::bf16;

use crate::arithmetic::{Even, Rounding};

/// Writes `values` to the first bytes of `bytes`, rounded to even.
#[inline(always)]
pub fn write_bf16<T: Copy + Into<f32>>(values: &[T], bytes: &mut [u8]) {
    for (to, x) in bytes.chunks_exact_mut(2).zip(values) {
        to.copy_from_slice(&Even::to_bf16((*x).into()).to_le_bytes());
    }
}

/// The values in `bytes`, as f32.
pub fn read_bf16(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let pairs = bytes.chunks_exact(2);
    pairs.map(|pair| bf16::from_le_bytes([pair[0], pair[1]]).to_f32())
}

/// Adds the values in `bytes` to `sums`.
pub fn add_bf16(bytes: &[u8], sums: &mut [f32]) {
    sums.iter_mut()
        .zip(read_bf16(bytes))
        .for_each(|(sum, x)| *sum += x);
}

/// Some adjacent columns of a matrix of bf16.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    /// The matrix, from its first row of interest on.
    pub rows: &'a [u8],
    /// Columns of the whole matrix.
    pub stride: usize,
    /// The first column of interest.
    pub first: usize,
    /// Number of columns of interest.
    pub width: usize,
    /// Number of rows of interest.
    pub count: usize,
}

impl Columns<'_> {
    /// Copies the columns to `out`, `[count, width]`, as f32.
    pub fn to_f32(&self, out: &mut [f32]) {
        let rows = self.rows.chunks_exact(2 * self.stride).take(self.count);
        for (out, row) in out.chunks_exact_mut(self.width).zip(rows) {
            let from = read_bf16(&row[2 * self.first..]);
            out.iter_mut().zip(from).for_each(|(to, x)| *to = x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_cut_out_of_rows() {
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut bytes = vec![0; 24];
        write_bf16(&values, &mut bytes);
        let mut out = [0.0; 4];
        let columns = Columns {
            rows: &bytes[8..],
            stride: 4,
            first: 1,
            width: 2,
            count: 2,
        };
        columns.to_f32(&mut out);
        assert_eq!(out, [5.0, 6.0, 9.0, 10.0]);
        add_bf16(&bytes[8..], &mut out);
        assert_eq!(out, [9.0, 11.0, 15.0, 17.0]);
    }

    #[test]
    fn write_bf16_rounds_to_even() {
        let mut bytes = [0; 4];
        let halfway = [f32::from_bits(0x3f80_8000), f32::from_bits(0x3f81_8000)];
        write_bf16(&halfway, &mut bytes);
        let read: Vec<u32> = read_bf16(&bytes).map(f32::to_bits).collect();
        assert_eq!(read, [0x3f80_0000, 0x3f82_0000]);
    }
}
