// SPDX-License-Identifier: MPL-2.0
//! Matrix multiplication: a block of rows times packed weights, each finished tile handed to a [`Sink`].

use super::kernel::{Kernel, Operation, Tile, multiply};
use super::pack::Panels;

/// The left operand: rows of `K::Value`s, `stride` apart. They may overlap: a convolution over time-major
/// frames is a multiplication whose rows are several frames long and one frame (or two) apart.
pub struct Rows<'a, K: Kernel> {
    pub values: &'a [K::Value],
    pub stride: usize,
    /// Computed in whole tiles: what lies in `values` up to the next multiple of the tile's rows is
    /// multiplied too.
    pub count: usize,
}

/// Where tiles go, and what becomes of them on the way.
pub trait Sink<K: Kernel> {
    /// `tile` has the sums, bias included, of rows `row..` and columns `column..`.
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &K::Tile);
}

/// `left · rightᵀ + bias`, as an [`Operation`].
pub struct Gemm<'a, K: Kernel, S> {
    pub left: Rows<'a, K>,
    pub right: Panels<'a, K>,
    pub sink: S,
}

impl<K: Kernel, S: Sink<K>> Operation<K> for Gemm<'_, K, S> {
    type Output = ();

    #[inline(always)]
    fn run(mut self, kernel: K) {
        let tile_rows = <K::Tile as Tile<K::Vector>>::ROWS;
        let Panels { values, bias, depth } = self.right;
        let Rows { values: left, stride, count } = self.left;
        let rows = count.next_multiple_of(tile_rows);
        assert!(rows == 0 || left.len() >= (rows - 1) * stride + depth);

        for (panel, (values, bias)) in
            values.chunks_exact(depth * K::COLUMNS).zip(bias.chunks_exact(K::COLUMNS)).enumerate()
        {
            let bias = [kernel.load(bias), kernel.load(&bias[K::LANES..])];
            for row in (0..rows).step_by(tile_rows) {
                // SAFETY: the rows' extent is asserted above; a panel is `depth` times COLUMNS values.
                let tile = unsafe {
                    multiply(
                        kernel,
                        K::Tile::splat(bias),
                        depth / K::GROUP,
                        (left.as_ptr().add(row * stride), stride),
                        (values.as_ptr(), K::COLUMNS * K::GROUP),
                    )
                };
                self.sink.write(kernel, row, panel * K::COLUMNS, &tile);
            }
        }
    }
}
