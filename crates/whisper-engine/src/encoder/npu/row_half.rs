// SPDX-License-Identifier: MPL-2.0
//! A part of a window on its way through the device.

use std::ops::Range;

use super::products::{DeviceWeights, Products, Step};
use crate::encoder::stages::BLOCK;
use xdna::contract::PASS_ROWS;
use xdna::device::{NpuBuffer, NpuError};

/// Rows of a lane: whole passes of the array, and whole blocks of attention's.
pub const LANE_ROWS: usize = 768;
const _: () = assert!(LANE_ROWS.is_multiple_of(PASS_ROWS) && LANE_ROWS.is_multiple_of(BLOCK));

/// Rows of a window, and buffers of their own that they pass through: while the device has those of one lane, the CPU
/// works on the other's.
pub struct RowHalf {
    /// Empty if the window does not reach so far.
    pub rows: Range<usize>,
    /// Values of a row.
    width: usize,
    /// Rows that the next product reads.
    pub left: Box<dyn NpuBuffer>,
    /// What comes of them, up to four times as wide.
    pub wide: Box<dyn NpuBuffer>,
    /// What comes of them, as wide.
    pub narrow: Box<dyn NpuBuffer>,
}

impl RowHalf {
    pub fn new(products: &mut Products, width: usize) -> Result<Self, NpuError> {
        let bytes = 2 * LANE_ROWS * width;
        Ok(Self {
            rows: 0..0,
            width,
            left: products.allocate(bytes)?,
            wide: products.allocate(4 * bytes)?,
            narrow: products.allocate(bytes)?,
        })
    }

    /// Lets the device have the rows of `left`, and those after them that fill a pass, at which nobody looks.
    pub fn offer(&self) -> Result<(), NpuError> {
        match self.rows.len().next_multiple_of(PASS_ROWS) {
            0 => Ok(()),
            rows => self.left.sync_to_device(0..2 * rows * self.width),
        }
    }

    pub fn widen<'a>(&'a self, right: &'a DeviceWeights) -> Step<'a> {
        Step::new(&*self.left, right, &*self.wide)
    }

    pub fn project<'a>(&'a self, right: &'a DeviceWeights) -> Step<'a> {
        Step::new(&*self.left, right, &*self.narrow)
    }

    pub fn contract<'a>(&'a self, right: &'a DeviceWeights) -> Step<'a> {
        Step::new(&*self.wide, right, &*self.narrow)
    }
}

/// Lets the CPU have the first `rows` rows of a product with so many `columns`.
pub fn fetch(buffer: &mut dyn NpuBuffer, rows: usize, columns: usize) -> Result<(), NpuError> {
    match rows {
        0 => Ok(()),
        rows => buffer.sync_from_device(0..2 * rows * columns),
    }
}
