// SPDX-License-Identifier: MPL-2.0
//! Matrix multiplication: a block of rows times packed weights, each finished tile handed to a [`Epilogue`].

use std::mem::MaybeUninit;

use super::pack::PackedBView;
use super::{GemmKernel, SimdOp, Tile, mr};

/// The left operand: rows of `K::Value`s, `stride` apart. They may overlap: a convolution over time-major
/// frames is a multiplication whose rows are several frames long and one frame (or two) apart.
pub struct Rows<'a, K: GemmKernel> {
    pub values: &'a [K::Value],
    pub stride: usize,
    /// One row is computed alone; more are computed in whole tiles: what lies in `values` up to the next multiple
    /// of the tile's rows is multiplied too.
    pub count: usize,
}

/// Where tiles go, and what becomes of them on the way.
pub trait Epilogue<K: GemmKernel> {
    /// `tile` has the sums, bias included, of rows `row..` and columns `column..`.
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]);
}

/// Where tiles come from.
pub trait Tiles<K: GemmKernel> {
    /// Hands every tile to `epilogue`.
    fn for_each_tile(self, kernel: K, sink: impl Epilogue<K>);
}

/// `left · rightᵀ + bias`, as an [`SimdOp`], or without a sink as [`Tiles`].
pub struct Gemm<'a, K: GemmKernel, S> {
    pub left: Rows<'a, K>,
    pub right: PackedBView<'a, K>,
    pub sink: S,
}

impl<K: GemmKernel> Tiles<K> for Gemm<'_, K, ()> {
    fn for_each_tile(self, kernel: K, sink: impl Epilogue<K>) {
        let Self { left, right, .. } = self;
        kernel.dispatch(Gemm { left, right, sink });
    }
}

impl<K: GemmKernel, S: Epilogue<K>> SimdOp<K> for Gemm<'_, K, S> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        match self.left.count {
            0 => {}
            1 => self.multiply_row(kernel),
            _ => self.multiply(kernel),
        }
    }
}

impl<K: GemmKernel, S: Epilogue<K>> Gemm<'_, K, S> {
    /// PackedBView of the right operand and groups of depth, both operands being large enough for `rows` rows.
    #[inline(always)]
    fn extents(&self, rows: usize) -> (usize, usize) {
        let (left, right) = (&self.left, &self.right);
        let (panels, groups) = (right.columns / K::NR, right.depth / K::K_GROUP);
        assert!(right.columns.is_multiple_of(K::NR) && right.depth.is_multiple_of(K::K_ALIGN));
        if panels == 0 || groups == 0 {
            return (0, 0);
        }
        assert!(left.values.len() >= (rows - 1) * left.stride + right.depth);
        let last = (panels - 1) * right.panel_stride + (groups - 1) * right.group_stride;
        assert!(right.values.len() >= last + K::NR * K::K_GROUP);
        (panels, groups)
    }

    /// What is added to the sums of a panel.
    #[inline(always)]
    fn bias(&self, kernel: K, panel: usize) -> Option<[K::Vector; 2]> {
        let columns = panel * K::NR..(panel + 1) * K::NR;
        let bias = self.right.bias.get(columns)?;
        Some([kernel.load(bias), kernel.load(&bias[K::LANES..])])
    }

    #[inline(always)]
    fn multiply(mut self, kernel: K) {
        let rows = self.left.count.next_multiple_of(mr::<K>());
        let (panels, groups) = self.extents(rows);
        let (left, right) = (&self.left, self.right);
        kernel.begin();
        for panel in 0..panels {
            let bias = self.bias(kernel, panel);
            for row in (0..rows).step_by(mr::<K>()) {
                let mut tile = MaybeUninit::uninit();
                // SAFETY: the extents of both operands are asserted; the product is written to the whole tile.
                let tile: &K::Tile = unsafe {
                    let a = left.values.as_ptr().add(row * left.stride);
                    let b = right.values.as_ptr().add(panel * right.panel_stride);
                    let (a, b) = ((a, left.stride), (b, right.group_stride));
                    kernel.multiply(&mut tile, bias, groups, a, b);
                    tile.assume_init_ref()
                };
                self.sink.write(kernel, row, panel * K::NR, tile.rows());
            }
        }
        kernel.end();
    }

    /// Two panels at a time: one row alone would leave the multiplier waiting for its own last sum.
    #[inline(always)]
    fn multiply_row(mut self, kernel: K) {
        let (panels, groups) = self.extents(1);
        let (left, right) = (self.left.values.as_ptr(), self.right);
        for panel in (0..panels).step_by(2) {
            // The last one of an odd number is multiplied twice.
            let second = (panel + 1).min(panels - 1);
            let zeros = [kernel.splat(0.0); 2];
            let bias = [panel, second].map(|panel| self.bias(kernel, panel).unwrap_or(zeros));
            // SAFETY: the extents of both operands are asserted.
            let sums = unsafe {
                let b = right.values.as_ptr();
                let b = [panel, second].map(|panel| b.add(panel * right.panel_stride));
                multiply_row(kernel, bias, groups, left, (b, right.group_stride))
            };
            for (panel, sums) in (panel..=second).zip(sums) {
                self.sink.write(kernel, 0, panel * K::NR, &[sums]);
            }
        }
    }
}

/// `sums + a b` for one row and two panels over `groups` groups of depth, consecutive ones `b_stride` values apart.
///
/// # Safety
/// `groups * K_GROUP` values must be readable at `a`, and for each group g `NR * K_GROUP` values from `g b_stride` on
/// in either panel.
#[inline(always)]
unsafe fn multiply_row<K: GemmKernel>(
    kernel: K,
    mut sums: [[K::Vector; 2]; 2],
    groups: usize,
    a: *const K::Value,
    (b, b_stride): ([*const K::Value; 2], usize),
) -> [[K::Vector; 2]; 2] {
    let add = |sums: &mut [[K::Vector; 2]; 2], group: usize| {
        // SAFETY: within what the caller promises for this group.
        let left = unsafe { kernel.broadcast_group(a.add(group * K::K_GROUP)) };
        for (sums, b) in sums.iter_mut().zip(b) {
            // SAFETY: within what the caller promises for this group of this panel.
            let columns = unsafe {
                let b = b.add(group * b_stride);
                [
                    kernel.load_groups(b),
                    kernel.load_groups(b.add(K::LANES * K::K_GROUP)),
                ]
            };
            sums[0] = kernel.dot(sums[0], left, columns[0]);
            sums[1] = kernel.dot(sums[1], left, columns[1]);
        }
    };
    let mut odd = [[kernel.splat(0.0); 2]; 2];
    for group in (0..groups - groups % 2).step_by(2) {
        add(&mut sums, group);
        add(&mut odd, group + 1);
    }
    if groups % 2 == 1 {
        add(&mut sums, groups - 1);
    }
    for (sums, odd) in sums.iter_mut().zip(odd) {
        *sums = [kernel.add(sums[0], odd[0]), kernel.add(sums[1], odd[1])];
    }
    sums
}
