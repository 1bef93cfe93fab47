// SPDX-License-Identifier: MPL-2.0
//! The CPU's kernels on rows of the device's buffers.

use whisper_kernels::epilogue::TilesFromRows;
use whisper_kernels::gemm::{Epilogue, TileSource};
use whisper_kernels::layer_norm::{LayerNorm, normalize_row};
use whisper_kernels::{GemmKernel, MAX_NR, SimdOp};
use xdna::rows::Columns;

/// The columns of a head, as attention takes its operands.
pub struct HeadColumns<'a>(pub Columns<'a>);

impl<K: GemmKernel> TileSource<K> for HeadColumns<'_> {
    fn for_each_tile(self, kernel: K, epilogue: impl Epilogue<K>) {
        let Columns { count, width, .. } = self.0;
        let mut floats = vec![0.0; count * width];
        self.0.to_f32(&mut floats);
        kernel.dispatch(TilesFromRows {
            from: &floats,
            stride: width,
            columns: 0..width,
            rows: count,
            epilogue,
        });
    }
}

/// Normalises a row, and hands it to `write` in pieces, each with the index of its first value.
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
