// SPDX-License-Identifier: MPL-2.0
//! Epilogues: what layers do with the sums of a product while these are still in registers.
//!
//! | epilogue | what it writes |
//! |---|---|
//! | [`StoreValues`] | values, through an [`Activation`]: the left operand of a following product |
//! | [`StoreF32`], [`StoreGeluF32`], [`StoreScaledF32`] | f32: as they are, through GELU, times a number per row |
//! | [`AddResidual`], [`GeluAddTable`], [`RescaleAdd`] | f32, combined with what is there already |
//! | [`PackKeys`], [`PackValues`] | the right operands of attention's two products |
//!
//! An epilogue is bounded by what it writes to. [`StoreF32`], [`StoreGeluF32`], [`StoreScaledF32`]
//! and [`GeluAddTable`] leave out rows that `out` does not have: the surplus of the last tile.

use std::marker::PhantomData;
use std::ops::Range;

use crate::gemm::{Epilogue, TileSource};
use crate::kernel::{GemmKernel, MAX_MR, MAX_NR};
use crate::simd::{SimdF32, SimdOp};
use crate::vecmath;

/// An elementwise function.
pub trait Activation {
    /// The function of every lane.
    fn apply<K: SimdF32>(kernel: K, x: K::Vector) -> K::Vector;
}

/// x
#[derive(Clone, Copy, Debug)]
pub struct Identity;
/// [`vecmath::gelu`]
#[derive(Clone, Copy, Debug)]
pub struct Gelu;
/// max(x, 0)
#[derive(Clone, Copy, Debug)]
pub struct Relu;

impl Activation for Identity {
    #[inline(always)]
    fn apply<K: SimdF32>(_: K, x: K::Vector) -> K::Vector {
        x
    }
}

impl Activation for Relu {
    #[inline(always)]
    fn apply<K: SimdF32>(kernel: K, x: K::Vector) -> K::Vector {
        kernel.max(x, kernel.splat(0.0))
    }
}

impl Activation for Gelu {
    #[inline(always)]
    fn apply<K: SimdF32>(kernel: K, x: K::Vector) -> K::Vector {
        vecmath::gelu(kernel, x)
    }
}

/// Stores `activation(y)` as values: the left operand of a following product.
pub struct StoreValues<'a, K: GemmKernel, A> {
    out: &'a mut [K::Value],
    stride: usize,
    activation: PhantomData<A>,
}

impl<'a, K: GemmKernel, A: Activation> StoreValues<'a, K, A> {
    /// To `[rows, stride]`, whole tiles of rows.
    pub fn new(out: &'a mut [K::Value], stride: usize, _: A) -> Self {
        Self {
            out,
            stride,
            activation: PhantomData,
        }
    }
}

impl<K: GemmKernel, A: Activation> Epilogue<K> for StoreValues<'_, K, A> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        for (i, sums) in tile.iter().enumerate() {
            let out = &mut self.out[(row + i) * self.stride + column..][..K::NR];
            kernel.narrow(A::apply(kernel, sums[0]), out);
            kernel.narrow(A::apply(kernel, sums[1]), &mut out[K::LANES..]);
        }
    }
}

/// Stores y.
pub struct StoreF32<'a> {
    /// `[rows, width]`
    pub out: &'a mut [f32],
    /// Numbers of a row.
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for StoreF32<'_> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        for (out, sums) in self.out.chunks_exact_mut(self.width).skip(row).zip(tile) {
            let out = &mut out[column..][..K::NR];
            kernel.store(sums[0], out);
            kernel.store(sums[1], &mut out[K::LANES..]);
        }
    }
}

/// `out += y`: the residual connection.
pub struct AddResidual<'a> {
    /// `[rows, width]`, whole tiles of rows.
    pub out: &'a mut [f32],
    /// Numbers of a row.
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for AddResidual<'_> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        for (i, sums) in tile.iter().enumerate() {
            let out = &mut self.out[(row + i) * self.width + column..][..K::NR];
            for (sum, out) in sums.iter().zip(out.chunks_exact_mut(K::LANES)) {
                let x = kernel.load(out);
                kernel.store(kernel.add(x, *sum), out);
            }
        }
    }
}

/// `out = before out + now y`, with two factors per row: the accumulator of online softmax.
pub struct RescaleAdd<'a> {
    /// One factor per row.
    pub before: &'a [f32],
    /// One factor per row.
    pub now: &'a [f32],
    /// `[rows, width]`, whole tiles of rows.
    pub out: &'a mut [f32],
    /// Numbers of a row.
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for RescaleAdd<'_> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        for (i, sums) in tile.iter().enumerate() {
            let before = kernel.splat(self.before[row + i]);
            let now = kernel.splat(self.now[row + i]);
            let out = &mut self.out[(row + i) * self.width + column..][..K::NR];
            for (sum, out) in sums.iter().zip(out.chunks_exact_mut(K::LANES)) {
                let past = kernel.mul(kernel.load(out), before);
                kernel.store(kernel.mul_add(*sum, now, past), out);
            }
        }
    }
}

/// Stores GELU(y) plus a table: an embedding of positions. Rows that the table does not have stay
/// as they are.
pub struct GeluAddTable<'a> {
    /// `[rows, width]`
    pub table: &'a [f32],
    /// `[rows, width]`
    pub out: &'a mut [f32],
    /// Numbers of a row.
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for GeluAddTable<'_> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        let rows = self
            .out
            .chunks_exact_mut(self.width)
            .zip(self.table.chunks_exact(self.width));
        for ((out, table), sums) in rows.skip(row).zip(tile) {
            let out = out[column..][..K::NR].chunks_exact_mut(K::LANES);
            let table = table[column..][..K::NR].chunks_exact(K::LANES);
            for ((out, table), sum) in out.zip(table).zip(sums) {
                kernel.store(
                    kernel.add(vecmath::gelu(kernel, *sum), kernel.load(table)),
                    out,
                );
            }
        }
    }
}

/// Columns of f32 rows, handed to an epilogue as if a product had computed them: a [`SimdOp`], or
/// without an epilogue a [`TileSource`].
pub struct TilesFromRows<'a, E> {
    /// The rows. Those that are missing are zeros.
    pub from: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
    /// Which columns of each row, a multiple of [`GemmKernel::NR`].
    pub columns: Range<usize>,
    /// How many rows.
    pub rows: usize,
    /// What becomes of the tiles; `()` for a [`TileSource`].
    pub epilogue: E,
}

impl<K: GemmKernel> TileSource<K> for TilesFromRows<'_, ()> {
    fn for_each_tile(self, kernel: K, epilogue: impl Epilogue<K>) {
        let Self {
            from,
            stride,
            columns,
            rows,
            ..
        } = self;
        kernel.dispatch(TilesFromRows {
            from,
            stride,
            columns,
            rows,
            epilogue,
        });
    }
}

impl<K: GemmKernel, E: Epilogue<K>> SimdOp<K> for TilesFromRows<'_, E> {
    type Output = ();

    #[inline(always)]
    fn eval(mut self, kernel: K) {
        let mut tile = [[kernel.splat(0.0); 2]; MAX_MR];
        for first in (0..self.rows).step_by(MAX_MR) {
            let tile = &mut tile[..MAX_MR.min(self.rows - first)];
            for (i, column) in self.columns.clone().step_by(K::NR).enumerate() {
                for (row, x) in tile.iter_mut().enumerate() {
                    let from = self.from.get((first + row) * self.stride + column..);
                    *x = match from {
                        Some(from) if !from.is_empty() => {
                            [kernel.load(from), kernel.load(&from[K::LANES..])]
                        }
                        _ => [kernel.splat(0.0); 2],
                    };
                }
                self.epilogue.write(kernel, first, i * K::NR, tile);
            }
        }
    }
}

/// Stores y times a number per row.
pub struct StoreScaledF32<'a> {
    /// One per row; rows without one are left out.
    pub scales: &'a [f32],
    /// `[rows, width]`
    pub out: &'a mut [f32],
    /// Numbers of a row.
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for StoreScaledF32<'_> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        let rows = self.out.chunks_exact_mut(self.width).zip(self.scales);
        for ((out, scale), sums) in rows.skip(row).zip(tile) {
            let (scale, out) = (kernel.splat(*scale), &mut out[column..][..K::NR]);
            kernel.store(kernel.mul(sums[0], scale), out);
            kernel.store(kernel.mul(sums[1], scale), &mut out[K::LANES..]);
        }
    }
}

/// Stores GELU(y).
pub struct StoreGeluF32<'a> {
    /// `[rows, width]`
    pub out: &'a mut [f32],
    /// Numbers of a row.
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for StoreGeluF32<'_> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        let rows = self.out.chunks_exact_mut(self.width);
        for (out, sums) in rows.skip(row).zip(tile) {
            let out = &mut out[column..][..K::NR];
            kernel.store(vecmath::gelu(kernel, sums[0]), out);
            kernel.store(vecmath::gelu(kernel, sums[1]), &mut out[K::LANES..]);
        }
    }
}

/// Packs the keys of one head, rows of the product, as the right operand of `q kᵀ`.
pub struct PackKeys<'a, K: GemmKernel> {
    /// Panels of NR keys, whose depth is the head's width:
    /// [`PackedBView::contiguous`](crate::pack::PackedBView::contiguous).
    pub out: &'a mut [K::Value],
    /// Numbers of a key.
    pub head_width: usize,
    /// The key that the first row becomes.
    pub first: usize,
}

impl<K: GemmKernel> Epilogue<K> for PackKeys<'_, K> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        for (i, sums) in tile.iter().enumerate() {
            let mut values = [K::Value::default(); MAX_NR];
            let values = &mut values[..K::NR];
            kernel.narrow(sums[0], values);
            kernel.narrow(sums[1], &mut values[K::LANES..]);

            let key = self.first + row + i;
            let (panel, lane) = (key / K::NR, key % K::NR);
            let first = (panel * self.head_width + column) * K::NR + lane * K::K_GROUP;
            let step = K::NR * K::K_GROUP;
            let out = &mut self.out[first..][..step * (K::NR / K::K_GROUP - 1) + K::K_GROUP];
            for (group, from) in values.chunks_exact(K::K_GROUP).enumerate() {
                out[group * step..][..K::K_GROUP].copy_from_slice(from);
            }
        }
    }
}

/// Packs the values of one head, rows of the product, as the right operand of `weights v`.
pub struct PackValues<'a, K: GemmKernel> {
    /// The depth is the keys, all columns side by side:
    /// [`PackedBView::side_by_side`](crate::pack::PackedBView::side_by_side).
    pub out: &'a mut [K::Value],
    /// Numbers of a key's value.
    pub head_width: usize,
    /// The key that the first row belongs to.
    pub first: usize,
}

impl<K: GemmKernel> Epilogue<K> for PackValues<'_, K> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        let first = self.first + row;
        let whole = first.is_multiple_of(K::K_GROUP) && tile.len().is_multiple_of(K::K_GROUP);
        if !whole {
            return self.write_rows(kernel, first, column, tile);
        }
        for (i, rows) in tile.chunks_exact(K::K_GROUP).enumerate() {
            let group = first / K::K_GROUP + i;
            let out = &mut self.out[(group * self.head_width + column) * K::K_GROUP..]
                [..K::NR * K::K_GROUP];
            for (half, out) in out.chunks_exact_mut(K::LANES * K::K_GROUP).enumerate() {
                kernel.narrow_group(rows, half, out);
            }
        }
    }
}

impl<K: GemmKernel> PackValues<'_, K> {
    /// Rows that do not fill their k-groups: each value to its place.
    #[inline(always)]
    fn write_rows(&mut self, kernel: K, first: usize, column: usize, tile: &[[K::Vector; 2]]) {
        for (i, sums) in tile.iter().enumerate() {
            let mut values = [K::Value::default(); MAX_NR];
            kernel.narrow(sums[0], &mut values);
            kernel.narrow(sums[1], &mut values[K::LANES..]);
            let (group, place) = ((first + i) / K::K_GROUP, (first + i) % K::K_GROUP);
            let out = &mut self.out[(group * self.head_width + column) * K::K_GROUP..]
                [..K::NR * K::K_GROUP];
            for (out, value) in out.chunks_exact_mut(K::K_GROUP).zip(values) {
                out[place] = value;
            }
        }
    }
}
