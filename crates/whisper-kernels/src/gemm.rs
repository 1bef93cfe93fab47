// SPDX-License-Identifier: MPL-2.0
//! Matrix multiplication: rows of values times a packed right operand, each finished tile handed to
//! an [`Epilogue`].

use std::mem::MaybeUninit;

use crate::kernel::{GemmKernel, mr};
use crate::micro_kernel::{Operands, Tile};
use crate::pack::PackedBView;
use crate::simd::SimdOp;

/// The left operand: rows of values, `stride` apart.
///
/// Rows may overlap. A convolution over time-major frames is a multiplication whose rows are
/// several frames long and one frame (or two) apart.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, K: GemmKernel> {
    /// The first row, and what follows it.
    pub values: &'a [K::Value],
    /// From one row to the next, in values.
    pub stride: usize,
    /// How many rows. One is computed alone. More are computed in whole tiles: what lies in
    /// `values` up to the next multiple of MR is multiplied too.
    pub count: usize,
}

/// What becomes of the tiles of a product while their sums are still in registers.
pub trait Epilogue<K: GemmKernel> {
    /// Takes the sums, bias included, of the rows from `row` on and the NR columns from `column`
    /// on.
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]);
}

/// Where tiles come from.
pub trait TileSource<K: GemmKernel> {
    /// Hands every tile to `epilogue`.
    fn for_each_tile(self, kernel: K, epilogue: impl Epilogue<K>);
}

/// `left · rightᵀ + bias`: a [`SimdOp`], or without an epilogue a [`TileSource`].
///
/// # Panics
/// When either operand is shorter than its rows and strides say.
pub struct Gemm<'a, K: GemmKernel, E> {
    /// Rows as deep as the right operand.
    pub left: Rows<'a, K>,
    /// The packed right operand.
    pub right: PackedBView<'a, K>,
    /// What becomes of the tiles; `()` for a [`TileSource`].
    pub epilogue: E,
}

impl<K: GemmKernel> TileSource<K> for Gemm<'_, K, ()> {
    fn for_each_tile(self, kernel: K, epilogue: impl Epilogue<K>) {
        let Self { left, right, .. } = self;
        kernel.dispatch(Gemm {
            left,
            right,
            epilogue,
        });
    }
}

impl<K: GemmKernel, E: Epilogue<K>> SimdOp<K> for Gemm<'_, K, E> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        match self.left.count {
            0 => {}
            1 => self.multiply_row(kernel),
            _ => self.multiply(kernel),
        }
    }
}

impl<K: GemmKernel, E: Epilogue<K>> Gemm<'_, K, E> {
    /// Panels and k-groups of the right operand, both operands being large enough for `rows` rows.
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
        let (panels, k_groups) = self.extents(rows);
        let (left, right) = (self.left, self.right);
        kernel.begin();
        for panel in 0..panels {
            let bias = self.bias(kernel, panel);
            for row in (0..rows).step_by(mr::<K>()) {
                let mut tile = MaybeUninit::uninit();
                // SAFETY: the extents of both operands are asserted; the micro-kernel writes the
                // whole tile.
                let tile: &K::Tile = unsafe {
                    let operands = Operands {
                        a: left.values.as_ptr().add(row * left.stride),
                        a_stride: left.stride,
                        b: right.values.as_ptr().add(panel * right.panel_stride),
                        b_stride: right.group_stride,
                        k_groups,
                    };
                    kernel.multiply(&mut tile, bias, operands);
                    tile.assume_init_ref()
                };
                self.epilogue.write(kernel, row, panel * K::NR, tile.rows());
            }
        }
        kernel.end();
    }

    /// Two panels at a time: one alone would leave the multiplier waiting for its own last sum.
    #[inline(always)]
    fn multiply_row(mut self, kernel: K) {
        let (panels, k_groups) = self.extents(1);
        let (left, right) = (self.left.values.as_ptr(), self.right);
        for panel in (0..panels).step_by(2) {
            // The last one of an odd number is multiplied twice.
            let second = (panel + 1).min(panels - 1);
            let zeros = [kernel.splat(0.0); 2];
            let bias = [panel, second].map(|panel| self.bias(kernel, panel).unwrap_or(zeros));
            // SAFETY: the extents of both operands are asserted.
            let sums = unsafe {
                let b = right.values.as_ptr();
                let operands = [panel, second].map(|panel| Operands {
                    a: left,
                    a_stride: 0,
                    b: b.add(panel * right.panel_stride),
                    b_stride: right.group_stride,
                    k_groups,
                });
                multiply_row(kernel, bias, operands)
            };
            for (panel, sums) in (panel..=second).zip(sums) {
                self.epilogue.write(kernel, 0, panel * K::NR, &[sums]);
            }
        }
    }
}

/// `sums + a b` for one row and two panels, whose operands differ in `b` alone.
///
/// # Safety
/// `k_groups * K_GROUP` values must be readable at `a`, and for each k-group g `NR * K_GROUP`
/// values from `b + g b_stride` in either panel.
#[inline(always)]
unsafe fn multiply_row<K: GemmKernel>(
    kernel: K,
    mut sums: [[K::Vector; 2]; 2],
    panels: [Operands<K::Value, K::Value>; 2],
) -> [[K::Vector; 2]; 2] {
    let k_groups = panels[0].k_groups;
    let row = RowOperands {
        a: panels[0].a,
        b: [panels[0].b, panels[1].b],
        b_stride: panels[0].b_stride,
    };
    // Even and odd k-groups are summed apart, for the same reason as the two panels.
    let mut odd = [[kernel.splat(0.0); 2]; 2];
    for group in (0..k_groups - k_groups % 2).step_by(2) {
        // SAFETY: the caller promises the same for these k-groups.
        unsafe {
            sums = add_group(kernel, sums, row, group);
            odd = add_group(kernel, odd, row, group + 1);
        }
    }
    if k_groups % 2 == 1 {
        // SAFETY: the caller promises the same for this k-group.
        sums = unsafe { add_group(kernel, sums, row, k_groups - 1) };
    }
    for (sums, odd) in sums.iter_mut().zip(odd) {
        *sums = [kernel.add(sums[0], odd[0]), kernel.add(sums[1], odd[1])];
    }
    sums
}

/// A row and two panels, handed on by value: through references a token of tiny.en took 1.4 of the
/// time.
struct RowOperands<V> {
    a: *const V,
    b: [*const V; 2],
    b_stride: usize,
}

// Not derived: that would ask for `V`'s own bounds in vain.
impl<V> Clone for RowOperands<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for RowOperands<V> {}

/// Adds one k-group's products to the sums of two panels. No closure of [`multiply_row`]: the
/// compiler may leave a closure out of line, where the instruction set is not enabled.
///
/// # Safety
/// As for [`multiply_row`], for this k-group.
#[inline(always)]
unsafe fn add_group<K: GemmKernel>(
    kernel: K,
    mut sums: [[K::Vector; 2]; 2],
    row: RowOperands<K::Value>,
    group: usize,
) -> [[K::Vector; 2]; 2] {
    // SAFETY: within what the caller promises for this k-group of both panels.
    unsafe {
        let left = kernel.broadcast_group(row.a.add(group * K::K_GROUP));
        let right = |panel: usize, half: usize| {
            let b = row.b[panel].add(group * row.b_stride);
            b.add(half * K::LANES * K::K_GROUP)
        };
        sums[0][0] = kernel.dot(sums[0][0], left, kernel.load_groups(right(0, 0)));
        sums[0][1] = kernel.dot(sums[0][1], left, kernel.load_groups(right(0, 1)));
        sums[1][0] = kernel.dot(sums[1][0], left, kernel.load_groups(right(1, 0)));
        sums[1][1] = kernel.dot(sums[1][1], left, kernel.load_groups(right(1, 1)));
    }
    sums
}
