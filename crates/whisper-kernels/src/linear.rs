// SPDX-License-Identifier: MPL-2.0
//! Linear layers over many rows, in the number format that the instruction set multiplies fastest.

use super::GemmKernel;
use super::buffer::stride;
use super::gemm::{Epilogue, Gemm, Rows};
use super::pack::PackedB;

/// `count` rows of values, `depth` wide and [`stride`] apart.
pub struct ValueRows<'a, K: GemmKernel> {
    pub values: &'a [K::Value],
    pub depth: usize,
    pub count: usize,
}

/// The right operand of `y = x Wᵀ + b`, and what becomes of the left one before they are multiplied.
pub trait Linear<K: GemmKernel>: Sized + Send + Sync {
    /// What rows of the left operand consist of.
    type Element: Copy + Default + Send + Sync;

    /// `weight` is `W` row-major, (columns, depth); `bias` is zero when empty. All is multiplied by `scale`.
    fn new(weight: &[f32], bias: &[f32], depth: usize, scale: f32) -> Self;

    /// Outputs, rounded up to whole panels.
    fn outputs(&self) -> usize;

    /// Elements that [`Linear::prepare`] needs for rows of this depth.
    fn room(rows: usize, depth: usize) -> usize;

    /// Rows as elements, in `room` if these are not the values themselves.
    fn prepare<'a>(
        kernel: K,
        rows: ValueRows<'a, K>,
        room: &'a mut [Self::Element],
    ) -> &'a [Self::Element];

    /// `left · rightᵀ + bias` for `count` rows. `left` must have rows up to the next multiple of the tile's; what lies
    /// there is multiplied too.
    fn multiply(&self, kernel: K, left: &[Self::Element], count: usize, sink: impl Epilogue<K>);
}

impl<K: GemmKernel> Linear<K> for PackedB<K> {
    type Element = K::Value;

    fn new(weight: &[f32], bias: &[f32], depth: usize, scale: f32) -> Self {
        Self::new(weight, bias, depth, scale)
    }

    fn outputs(&self) -> usize {
        self.all().columns
    }

    fn room(_: usize, _: usize) -> usize {
        0
    }

    fn prepare<'a>(_: K, rows: ValueRows<'a, K>, _: &'a mut [K::Value]) -> &'a [K::Value] {
        rows.values
    }

    fn multiply(&self, kernel: K, left: &[K::Value], count: usize, sink: impl Epilogue<K>) {
        let right = self.all();
        let stride = stride::<K::Value>(right.depth);
        kernel.dispatch(Gemm {
            left: Rows {
                values: left,
                stride,
                count,
            },
            right,
            sink,
        });
    }
}
