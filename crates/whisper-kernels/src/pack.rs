// SPDX-License-Identifier: MPL-2.0
//! Packing: the right operand in the order in which the micro-kernel reads it.

use std::ops::Range;

use crate::buffer::AlignedBuffer;
use crate::kernel::GemmKernel;

/// The weights of `y = x Wᵀ + b`, rounded to values and rearranged once, when they are loaded.
///
/// The layout is `[panel of NR outputs, k-group, output, place in the k-group]`. Zeros fill the
/// last panel and the last [`GemmKernel::K_ALIGN`].
#[derive(Debug)]
pub struct PackedB<K: GemmKernel> {
    values: AlignedBuffer<K::Value>,
    bias: AlignedBuffer<f32>,
    depth: usize,
}

/// A packed right operand, wherever it comes from: panels of [`GemmKernel::NR`] columns.
#[derive(Debug)]
pub struct PackedBView<'a, K: GemmKernel> {
    /// The panels, or all columns of each k-group: see the strides.
    pub values: &'a [K::Value],
    /// One number per column, added to the product; nothing is added when this is empty.
    pub bias: &'a [f32],
    /// Columns, whole panels.
    pub columns: usize,
    /// Values that are summed, a multiple of [`GemmKernel::K_ALIGN`].
    pub depth: usize,
    /// From one panel to the next, in values.
    pub panel_stride: usize,
    /// From one k-group to the next within a panel, in values.
    pub group_stride: usize,
}

// Not derived: a reference is `Copy` whatever it refers to.
impl<K: GemmKernel> Clone for PackedBView<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: GemmKernel> Copy for PackedBView<'_, K> {}

impl<'a, K: GemmKernel> PackedBView<'a, K> {
    /// Panels one after another: `[panel, k-group, column, place in the k-group]`.
    pub fn contiguous(values: &'a [K::Value], bias: &'a [f32], depth: usize) -> Self {
        let (panel_stride, group_stride) = (depth * K::NR, K::NR * K::K_GROUP);
        Self {
            values,
            bias,
            columns: values.len() / depth,
            depth,
            panel_stride,
            group_stride,
        }
    }

    /// The part of the product that sums over `range` of the depth: its ends are multiples of
    /// [`GemmKernel::K_ALIGN`]. The bias is added all the same.
    ///
    /// # Panics
    /// When the depth does not reach so far.
    pub fn depths(self, range: Range<usize>) -> Self {
        assert!(range.end <= self.depth && range.start.is_multiple_of(K::K_ALIGN));
        let skipped = range.start / K::K_GROUP * self.group_stride;
        Self {
            values: &self.values[skipped..],
            depth: range.len(),
            ..self
        }
    }

    /// All columns side by side: `[k-group, column, place in the k-group]`, without bias. New rows
    /// of depth can be appended to this layout.
    pub fn side_by_side(values: &'a [K::Value], columns: usize, depth: usize) -> Self {
        let (panel_stride, group_stride) = (K::NR * K::K_GROUP, columns * K::K_GROUP);
        Self {
            values,
            bias: &[],
            columns,
            depth,
            panel_stride,
            group_stride,
        }
    }
}

impl<K: GemmKernel> PackedB<K> {
    /// Packs `scale W` and `scale b`: `weight` is W row-major, `[outputs, depth]`; an empty `bias`
    /// stands for zeros.
    pub fn new(weight: &[f32], bias: &[f32], depth: usize, scale: f32) -> Self {
        let columns = weight.len() / depth;
        let panels = columns.div_ceil(K::NR);
        let groups = depth.next_multiple_of(K::K_ALIGN) / K::K_GROUP;
        let mut packed = Self {
            values: AlignedBuffer::new(panels * groups * K::NR * K::K_GROUP),
            bias: AlignedBuffer::new(panels * K::NR),
            depth: groups * K::K_GROUP,
        };
        for (to, from) in packed.bias.iter_mut().zip(bias) {
            *to = from * scale;
        }
        for (column, row) in weight.chunks_exact(depth).enumerate() {
            let (panel, lane) = (column / K::NR, column % K::NR);
            for (k, &weight) in row.iter().enumerate() {
                let group = (panel * groups + k / K::K_GROUP) * K::NR + lane;
                packed.values[group * K::K_GROUP + k % K::K_GROUP] = K::value(weight * scale);
            }
        }
        packed
    }

    /// All outputs, and zeros up to whole panels.
    pub fn view(&self) -> PackedBView<'_, K> {
        PackedBView::contiguous(&self.values, &self.bias, self.depth)
    }

    /// The outputs in `range`, whose ends must be multiples of [`GemmKernel::NR`].
    ///
    /// # Panics
    /// When there are no such outputs.
    pub fn columns(&self, range: Range<usize>) -> PackedBView<'_, K> {
        debug_assert!(range.start.is_multiple_of(K::NR) && range.end.is_multiple_of(K::NR));
        let values = &self.values[range.start * self.depth..range.end * self.depth];
        PackedBView::contiguous(values, &self.bias[range], self.depth)
    }
}
