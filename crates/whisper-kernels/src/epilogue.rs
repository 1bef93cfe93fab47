// SPDX-License-Identifier: MPL-2.0
//! What the layers do with the sums of a matrix multiplication while these are still in registers.

use std::marker::PhantomData;
use std::ops::Range;

use super::gemm::{Epilogue, Tiles};
use super::math;
use super::{GemmKernel, MAX_MR, MAX_NR, SimdF32, SimdOp};

/// An elementwise function.
pub trait Activation {
    fn apply<L: SimdF32>(lanes: L, x: L::Vector) -> L::Vector;
}

pub struct Identity;
pub struct Gelu;

impl Activation for Identity {
    #[inline(always)]
    fn apply<L: SimdF32>(_: L, x: L::Vector) -> L::Vector {
        x
    }
}

impl Activation for Gelu {
    #[inline(always)]
    fn apply<L: SimdF32>(lanes: L, x: L::Vector) -> L::Vector {
        math::gelu(lanes, x)
    }
}

/// Rows of values `stride` apart: the left operand of a following multiplication.
pub struct ToValues<'a, K: GemmKernel, A> {
    out: &'a mut [K::Value],
    stride: usize,
    activation: PhantomData<A>,
}

impl<'a, K: GemmKernel, A: Activation> ToValues<'a, K, A> {
    pub fn new(out: &'a mut [K::Value], stride: usize, _: A) -> Self {
        Self {
            out,
            stride,
            activation: PhantomData,
        }
    }
}

impl<K: GemmKernel, A: Activation> Epilogue<K> for ToValues<'_, K, A> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        for (i, sums) in tile.iter().enumerate() {
            let out = &mut self.out[(row + i) * self.stride + column..][..K::NR];
            kernel.narrow(A::apply(kernel, sums[0]), out);
            kernel.narrow(A::apply(kernel, sums[1]), &mut out[K::LANES..]);
        }
    }
}

/// Rows of f32, as many as there is room for.
pub struct ToFloats<'a> {
    pub out: &'a mut [f32],
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for ToFloats<'_> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        for (out, sums) in self.out.chunks_exact_mut(self.width).skip(row).zip(tile) {
            let out = &mut out[column..][..K::NR];
            kernel.store(sums[0], out);
            kernel.store(sums[1], &mut out[K::LANES..]);
        }
    }
}

/// Adds to rows of f32: the residual connection.
pub struct AddTo<'a> {
    pub out: &'a mut [f32],
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for AddTo<'_> {
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

/// Rows of f32 that become a mixture of what they were and what comes, each row with numbers of its own.
pub struct Fold<'a> {
    pub before: &'a [f32],
    pub now: &'a [f32],
    pub out: &'a mut [f32],
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for Fold<'_> {
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

/// GELU plus a table's row of the same number, in f32: the second convolution. Rows that the table does not
/// have stay as they are.
pub struct GeluPlus<'a> {
    pub table: &'a [f32],
    pub out: &'a mut [f32],
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for GeluPlus<'_> {
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
                    kernel.add(math::gelu(kernel, *sum), kernel.load(table)),
                    out,
                );
            }
        }
    }
}

/// Columns of f32 rows that are there already, handed to a [`Epilogue`] as if they had been computed; or [`Tiles`]. Rows that `from`
/// does not have are zeros.
pub struct Transfer<'a, S> {
    pub from: &'a [f32],
    pub stride: usize,
    /// A multiple of [`GemmKernel::NR`].
    pub columns: Range<usize>,
    pub rows: usize,
    pub sink: S,
}

impl<K: GemmKernel> Tiles<K> for Transfer<'_, ()> {
    fn for_each_tile(self, kernel: K, sink: impl Epilogue<K>) {
        let Self {
            from,
            stride,
            columns,
            rows,
            ..
        } = self;
        kernel.dispatch(Transfer {
            from,
            stride,
            columns,
            rows,
            sink,
        });
    }
}

impl<K: GemmKernel, S: Epilogue<K>> SimdOp<K> for Transfer<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run(mut self, kernel: K) {
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
                self.sink.write(kernel, first, i * K::NR, tile);
            }
        }
    }
}

/// Rows of f32, each multiplied by a number of its own, as many as there is room for.
pub struct ScaledFloats<'a> {
    pub scales: &'a [f32],
    pub out: &'a mut [f32],
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for ScaledFloats<'_> {
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

/// GELU, to rows of f32.
pub struct GeluFloats<'a> {
    pub out: &'a mut [f32],
    pub width: usize,
}

impl<K: GemmKernel> Epilogue<K> for GeluFloats<'_> {
    #[inline(always)]
    fn write(&mut self, kernel: K, row: usize, column: usize, tile: &[[K::Vector; 2]]) {
        let rows = self.out.chunks_exact_mut(self.width);
        for (out, sums) in rows.skip(row).zip(tile) {
            let out = &mut out[column..][..K::NR];
            kernel.store(math::gelu(kernel, sums[0]), out);
            kernel.store(math::gelu(kernel, sums[1]), &mut out[K::LANES..]);
        }
    }
}

/// Keys of one head, transposed to the right operand of `q · kᵀ`: panels of [`GemmKernel::NR`] keys, the depth
/// being the head's width.
pub struct Keys<'a, K: GemmKernel> {
    pub out: &'a mut [K::Value],
    pub head_width: usize,
    /// The key that the first row becomes.
    pub first: usize,
}

impl<K: GemmKernel> Epilogue<K> for Keys<'_, K> {
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

/// Values of one head as the right operand of `weights · v`: the depth is the keys, all of the head's width
/// side by side.
pub struct Values<'a, K: GemmKernel> {
    pub out: &'a mut [K::Value],
    pub head_width: usize,
    /// The key that the first row belongs to.
    pub first: usize,
}

impl<K: GemmKernel> Epilogue<K> for Values<'_, K> {
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

impl<K: GemmKernel> Values<'_, K> {
    /// Rows that do not fill their groups: each value to its place.
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
