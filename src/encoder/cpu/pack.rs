// SPDX-License-Identifier: MPL-2.0
//! Weights in the order in which the kernel reads them.

use std::ops::Range;

use super::buffer::Buffer;
use super::kernel::Kernel;

/// The right operand of `y = x Wᵀ + b`, rounded and rearranged once, when the model is loaded.
///
/// One panel per [`Kernel::COLUMNS`] outputs, each panel contiguous and in the order of
/// [`Kernel::load_groups`]. What the last panel and the last group lack is zeros.
pub struct Packed<K: Kernel> {
    values: Buffer<K::Value>,
    bias: Buffer<f32>,
    depth: usize,
}

/// Some panels of a [`Packed`].
#[derive(Clone, Copy)]
pub struct Panels<'a, K: Kernel> {
    /// (panel, group of depth, column, place in the group)
    pub values: &'a [K::Value],
    /// One per column.
    pub bias: &'a [f32],
    /// Rounded up to whole groups.
    pub depth: usize,
}

impl<K: Kernel> Packed<K> {
    /// `weight` is `W` row-major, (columns, depth); `bias` is zero when empty. All is multiplied by `scale`.
    pub fn new(weight: &[f32], bias: &[f32], depth: usize, scale: f32) -> Self {
        let columns = weight.len() / depth;
        let panels = columns.div_ceil(K::COLUMNS);
        let groups = depth.div_ceil(K::GROUP);
        let mut packed = Self {
            values: Buffer::new(panels * groups * K::COLUMNS * K::GROUP),
            bias: Buffer::new(panels * K::COLUMNS),
            depth: groups * K::GROUP,
        };
        for (to, from) in packed.bias.iter_mut().zip(bias) {
            *to = from * scale;
        }
        for (column, row) in weight.chunks_exact(depth).enumerate() {
            let (panel, lane) = (column / K::COLUMNS, column % K::COLUMNS);
            for (k, &weight) in row.iter().enumerate() {
                let group = (panel * groups + k / K::GROUP) * K::COLUMNS + lane;
                packed.values[group * K::GROUP + k % K::GROUP] = K::value(weight * scale);
            }
        }
        packed
    }

    pub fn all(&self) -> Panels<'_, K> {
        Panels { values: &self.values, bias: &self.bias, depth: self.depth }
    }

    /// The outputs in `range`, whose ends must be multiples of [`Kernel::COLUMNS`].
    pub fn columns(&self, range: Range<usize>) -> Panels<'_, K> {
        debug_assert!(range.start.is_multiple_of(K::COLUMNS) && range.end.is_multiple_of(K::COLUMNS));
        Panels {
            values: &self.values[range.start * self.depth..range.end * self.depth],
            bias: &self.bias[range],
            depth: self.depth,
        }
    }
}
