// SPDX-License-Identifier: MPL-2.0
//! Weights in the order in which the kernel reads them.

use std::ops::Range;

use super::GemmKernel;
use super::buffer::Buffer;

/// The right operand of `y = x Wᵀ + b`, rounded and rearranged once, when the model is loaded.
///
/// One panel per [`GemmKernel::NR`] outputs, each panel contiguous and in the order of
/// [`GemmKernel::load_groups`]. What the last panel and the last [`GemmKernel::K_ALIGN`] lack is zeros.
pub struct PackedB<K: GemmKernel> {
    values: Buffer<K::Value>,
    bias: Buffer<f32>,
    depth: usize,
}

/// The right operand of a multiplication, wherever it comes from: panels of [`GemmKernel::NR`] columns.
pub struct PackedBView<'a, K: GemmKernel> {
    pub values: &'a [K::Value],
    /// One per column, added to the product; nothing is added when this is empty.
    pub bias: &'a [f32],
    pub columns: usize,
    /// Rounded up to whole [`GemmKernel::K_ALIGN`]s.
    pub depth: usize,
    /// From one panel to the next, in values.
    pub panel_stride: usize,
    /// From one group of depth to the next within a panel, in values.
    pub group_stride: usize,
}

// Not derived: that would ask for `K::Value`'s own bounds in vain.
impl<K: GemmKernel> Clone for PackedBView<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: GemmKernel> Copy for PackedBView<'_, K> {}

impl<'a, K: GemmKernel> PackedBView<'a, K> {
    /// (panel, group of depth, column, place in the group): each panel contiguous.
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

    /// (group of depth, column, place in the group): all columns of a group side by side, no bias.
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
    /// `weight` is `W` row-major, (columns, depth); `bias` is zero when empty. All is multiplied by `scale`.
    pub fn new(weight: &[f32], bias: &[f32], depth: usize, scale: f32) -> Self {
        let columns = weight.len() / depth;
        let panels = columns.div_ceil(K::NR);
        let groups = depth.next_multiple_of(K::K_ALIGN) / K::K_GROUP;
        let mut packed = Self {
            values: Buffer::new(panels * groups * K::NR * K::K_GROUP),
            bias: Buffer::new(panels * K::NR),
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

    pub fn all(&self) -> PackedBView<'_, K> {
        PackedBView::contiguous(&self.values, &self.bias, self.depth)
    }

    /// The outputs in `range`, whose ends must be multiples of [`GemmKernel::NR`].
    pub fn columns(&self, range: Range<usize>) -> PackedBView<'_, K> {
        debug_assert!(range.start.is_multiple_of(K::NR) && range.end.is_multiple_of(K::NR));
        let values = &self.values[range.start * self.depth..range.end * self.depth];
        PackedBView::contiguous(values, &self.bias[range], self.depth)
    }
}
