// SPDX-License-Identifier: MPL-2.0
//! The CPU's kernels on rows that come from the device or go to it.

use super::lane::{Lane, Product};
use super::weights::{LANE_ROWS, Projection};
use whisper_kernels::epilogue::TilesFromRows;
use whisper_kernels::gemm::{Epilogue, TileSource};
use whisper_kernels::layer_norm::{LayerNorm, normalize_row};
use whisper_kernels::vecmath::gelu;
use whisper_kernels::{GemmKernel, SimdOp};
use xdna::contract::TILE;
use xdna::pack::{pack_a_row, pack_row};

/// Rows of one head's queries, keys or values, which may be in two lanes.
pub struct HeadRows<'a> {
    pub lanes: &'a [Lane],
    pub projection: &'a Projection,
    /// Which 64 columns.
    pub tile: usize,
    /// First row in the window.
    pub first: usize,
    pub count: usize,
}

impl<K: GemmKernel> TileSource<K> for HeadRows<'_> {
    fn for_each_tile(self, kernel: K, epilogue: impl Epilogue<K>) {
        let mut floats = vec![0.0; self.count * TILE];
        for (row, to) in (self.first..).zip(floats.chunks_exact_mut(TILE)) {
            let product = self.lanes[row / LANE_ROWS].product(self.projection);
            product.read(row % LANE_ROWS, self.tile, to);
        }
        kernel.dispatch(TilesFromRows {
            from: &floats,
            stride: TILE,
            columns: 0..TILE,
            rows: self.count,
            epilogue,
        });
    }
}

/// Normalises rows to a panel of A, and to `hidden` as far as that has rows.
pub struct NormalizePanel<'a> {
    pub norm: &'a LayerNorm,
    pub x: &'a [f32],
    pub panel: &'a mut [u8],
    pub hidden: &'a mut [f32],
}

impl<K: GemmKernel> SimdOp<K> for NormalizePanel<'_> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let width = self.norm.weight.len();
        let mut normed = vec![0.0; width];
        let mut hidden = self.hidden.chunks_exact_mut(width);
        for (row, x) in self.x.chunks_exact(width).enumerate() {
            normalize_row(kernel, self.norm, x, |at, y| {
                kernel.store(y, &mut normed[at..]);
            });
            pack_a_row(self.panel, row, &normed);
            if let Some(hidden) = hidden.next() {
                hidden.copy_from_slice(&normed);
            }
        }
    }
}

/// GELU of a product to a tile of A.
pub struct GeluTile<'a> {
    pub product: Product<'a>,
    /// First row in the lane.
    pub first: usize,
    /// How many rows.
    pub count: usize,
    /// Which 64 columns.
    pub column: usize,
    pub tile: &'a mut [u8],
}

impl<K: GemmKernel> SimdOp<K> for GeluTile<'_> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let mut values = [0.0; TILE];
        for row in 0..self.count {
            self.product
                .read(self.first + row, self.column, &mut values);
            for x in values.chunks_exact_mut(K::LANES) {
                kernel.store(gelu(kernel, kernel.load(x)), x);
            }
            pack_row(self.tile, row, &values);
        }
    }
}

/// Rows of 64 values to a tile of A.
pub struct PackTile<'a, V> {
    pub rows: &'a [V],
    pub tile: &'a mut [u8],
}

impl<K: GemmKernel, V: Copy + Into<f32>> SimdOp<K> for PackTile<'_, V> {
    type Output = ();

    #[inline(always)]
    fn eval(self, _: K) {
        let mut values = [0.0; TILE];
        for (row, from) in self.rows.chunks_exact(TILE).enumerate() {
            for (to, x) in values.iter_mut().zip(from) {
                *to = (*x).into();
            }
            pack_row(self.tile, row, &values);
        }
    }
}
