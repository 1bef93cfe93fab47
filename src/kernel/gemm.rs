// SPDX-License-Identifier: MPL-2.0
//! Matrix multiplication: a block of rows times packed weights, each finished tile handed to a [`Sink`].

use super::pack::Panels;
use super::{Kernel, Operation, Tile, multiply};

/// The left operand: rows of `K::Value`s, `stride` apart. They may overlap: a convolution over time-major
/// frames is a multiplication whose rows are several frames long and one frame (or two) apart.
pub struct Rows<'a, K: Kernel> {
    pub values: &'a [K::Value],
    pub stride: usize,
    /// One row is computed alone; more are computed in whole tiles: what lies in `values` up to the next multiple
    /// of the tile's rows is multiplied too.
    pub count: usize,
}

/// Where tiles go, and what becomes of them on the way.
pub trait Sink<K: Kernel> {
    /// `tile` has the sums, bias included, of rows `row..` and columns `column..`.
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]);
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
    fn run(self, kernel: K) {
        match self.left.count {
            1 => self.multiply::<[[K::Vector; 2]; 1]>(kernel),
            _ => self.multiply::<K::Tile>(kernel),
        }
    }
}

impl<K: Kernel, S: Sink<K>> Gemm<'_, K, S> {
    #[inline(always)]
    fn multiply<T: Tile<K::Vector>>(mut self, kernel: K) {
        let Rows {
            values: left,
            stride,
            count,
        } = self.left;
        let Panels {
            values: right,
            bias,
            columns,
            depth,
            panel_stride,
            group_stride,
        } = self.right;
        let rows = count.next_multiple_of(T::ROWS);
        if rows == 0 || columns == 0 || depth == 0 {
            return;
        }
        let (panels, groups) = (columns / K::COLUMNS, depth / K::GROUP);
        assert!(columns.is_multiple_of(K::COLUMNS) && depth.is_multiple_of(K::GROUP));
        assert!(left.len() >= (rows - 1) * stride + depth);
        assert!(
            right.len()
                >= (panels - 1) * panel_stride
                    + (groups - 1) * group_stride
                    + K::COLUMNS * K::GROUP
        );

        for panel in 0..panels {
            let column = panel * K::COLUMNS;
            let bias = match bias.get(column..column + K::COLUMNS) {
                Some(bias) => [kernel.load(bias), kernel.load(&bias[K::LANES..])],
                None => [kernel.splat(0.0); 2],
            };
            for row in (0..rows).step_by(T::ROWS) {
                // SAFETY: the extents of both operands are asserted above.
                let tile = unsafe {
                    let left = (left.as_ptr().add(row * stride), stride);
                    let right = (right.as_ptr().add(panel * panel_stride), group_stride);
                    multiply(kernel, T::splat(bias), groups, left, right)
                };
                self.sink.write(kernel, row, column, tile.rows());
            }
        }
    }
}
