// SPDX-License-Identifier: MPL-2.0
//! Linear layers, `y = x Wᵀ + b`, whatever the number format of their operands.

use crate::buffer::padded_stride;
use crate::gemm::{Epilogue, Gemm, Rows};
use crate::kernel::GemmKernel;
use crate::pack::PackedB;

/// Activations `[count, depth]` whose rows are [`padded_stride`] values apart.
#[derive(Clone, Copy, Debug)]
pub struct ValueRows<'a, K: GemmKernel> {
    /// The rows, each with the gap behind it.
    pub values: &'a [K::Value],
    /// Values of a row.
    pub depth: usize,
    /// How many rows.
    pub count: usize,
}

/// The weights of a linear layer, and what becomes of the activations before they are multiplied.
pub trait Linear<K: GemmKernel>: Sized + Send + Sync {
    /// Memory for activations in this format.
    type Scratch: Send;
    /// Activations in this format: the left operand.
    type Left<'a>: Copy;
    /// Bytes that a weight takes.
    const WEIGHT_BYTES: usize;

    /// Packs `scale W` and `scale b`: `weight` is W row-major, `[outputs, depth]`; an empty `bias`
    /// stands for zeros.
    fn new(weight: &[f32], bias: &[f32], depth: usize, scale: f32) -> Self;

    /// Outputs, rounded up to whole panels: how wide the product is.
    fn outputs(&self) -> usize;

    /// What [`Linear::prepare`] needs for up to `rows` rows of up to `depth` values.
    fn scratch(rows: usize, depth: usize) -> Self::Scratch;

    /// The activations in this format, in `scratch` if that is not their own.
    fn prepare<'a>(
        kernel: K,
        rows: ValueRows<'a, K>,
        scratch: &'a mut Self::Scratch,
    ) -> Self::Left<'a>;

    /// Multiplies `count` rows, and hands every tile of the product to `epilogue`.
    ///
    /// Rows are multiplied in whole tiles: `left` must have rows up to the next multiple of MR.
    fn multiply(&self, kernel: K, left: Self::Left<'_>, count: usize, epilogue: impl Epilogue<K>);
}

impl<K: GemmKernel> Linear<K> for PackedB<K> {
    type Scratch = ();
    type Left<'a> = &'a [K::Value];
    const WEIGHT_BYTES: usize = size_of::<K::Value>();

    fn new(weight: &[f32], bias: &[f32], depth: usize, scale: f32) -> Self {
        Self::new(weight, bias, depth, scale)
    }

    fn outputs(&self) -> usize {
        self.view().columns
    }

    fn scratch(_: usize, _: usize) {}

    fn prepare<'a>(_: K, rows: ValueRows<'a, K>, (): &'a mut ()) -> &'a [K::Value] {
        rows.values
    }

    fn multiply(&self, kernel: K, left: &[K::Value], count: usize, epilogue: impl Epilogue<K>) {
        let right = self.view();
        let stride = padded_stride::<K::Value>(right.depth);
        kernel.dispatch(Gemm {
            left: Rows {
                values: left,
                stride,
                count,
            },
            right,
            epilogue,
        });
    }
}
