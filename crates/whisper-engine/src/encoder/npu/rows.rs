// SPDX-License-Identifier: MPL-2.0
//! Rows between the CPU's kernels and the device's buffers, which hold bf16, little-endian.

use half::bf16;

use whisper_kernels::epilogue::TilesFromRows;
use whisper_kernels::gemm::{Epilogue, TileSource};
use whisper_kernels::layer_norm::{LayerNorm, normalize_row};
use whisper_kernels::{GemmKernel, MAX_NR, SimdOp};
use xdna::arithmetic::{Even, Rounding};

/// To the first bytes of `to`, rounded.
#[inline(always)]
pub fn narrow<T: Copy + Into<f32>>(from: &[T], to: &mut [u8]) {
    for (to, x) in to.chunks_exact_mut(2).zip(from) {
        to.copy_from_slice(&Even::to_bf16((*x).into()).to_le_bytes());
    }
}

fn floats(from: &[u8]) -> impl Iterator<Item = f32> {
    let pairs = from.chunks_exact(2);
    pairs.map(|pair| bf16::from_le_bytes([pair[0], pair[1]]).to_f32())
}

/// Adds a row of the device's to one of the CPU's.
pub fn add(from: &[u8], to: &mut [f32]) {
    to.iter_mut().zip(floats(from)).for_each(|(to, x)| *to += x);
}

/// Some columns of rows of the device's.
pub struct Part<'a> {
    pub rows: &'a [u8],
    /// Values from one row to the next.
    pub stride: usize,
    pub column: usize,
    pub width: usize,
    /// How many rows.
    pub count: usize,
}

impl Part<'_> {
    /// To rows of f32.
    pub fn to_floats(&self, out: &mut [f32]) {
        let rows = self.rows.chunks_exact(2 * self.stride).take(self.count);
        for (out, row) in out.chunks_exact_mut(self.width).zip(rows) {
            let from = floats(&row[2 * self.column..]);
            out.iter_mut().zip(from).for_each(|(to, x)| *to = x);
        }
    }
}

impl<K: GemmKernel> TileSource<K> for Part<'_> {
    fn for_each_tile(self, kernel: K, epilogue: impl Epilogue<K>) {
        let mut floats = vec![0.0; self.count * self.width];
        self.to_floats(&mut floats);
        kernel.dispatch(TilesFromRows {
            from: &floats,
            stride: self.width,
            columns: 0..self.width,
            rows: self.count,
            epilogue,
        });
    }
}

/// A row, normalised, handed to `write` piece by piece, with the place of its first value.
pub struct NormalizeRow<'a, W> {
    pub norm: &'a LayerNorm,
    pub x: &'a [f32],
    pub write: W,
}

impl<K: GemmKernel, W: FnMut(usize, &[f32])> SimdOp<K> for NormalizeRow<'_, W> {
    type Output = ();

    #[inline(always)]
    fn eval(mut self, kernel: K) {
        let mut lanes = [0.0; MAX_NR];
        normalize_row(kernel, self.norm, self.x, |at, y| {
            kernel.store(y, &mut lanes);
            (self.write)(at, &lanes[..K::LANES]);
        });
    }
}
