// SPDX-License-Identifier: MPL-2.0
//! Half of a window's rows on their way through the device.

use std::ops::Range;

use crate::encoder::stages::BLOCK;
use xdna::NpuError;
use xdna::contract::PASS_ROWS;
use xdna::device::NpuBuffer;
use xdna::matmul::{DeviceWeights, MatMulStep, Multiplier};

/// Rows of a half: whole passes of the array, and whole blocks of attention.
pub const HALF_ROWS: usize = 768;
const _: () = assert!(HALF_ROWS.is_multiple_of(PASS_ROWS) && HALF_ROWS.is_multiple_of(BLOCK));

/// Rows of a window, and the buffers that they pass through. While the device computes one half,
/// the CPU works on the other one.
pub struct RowHalf {
    /// Empty if the window is too short for this half.
    pub rows: Range<usize>,
    /// Values of a row of the residual stream.
    width: usize,
    /// `[HALF_ROWS, width]`: the rows that the next product reads.
    pub input: Box<dyn NpuBuffer>,
    /// `[HALF_ROWS, 4 * width]`: results that are up to four times as wide.
    pub wide: Box<dyn NpuBuffer>,
    /// `[HALF_ROWS, width]`: results that are added to the residual stream.
    pub narrow: Box<dyn NpuBuffer>,
}

impl RowHalf {
    pub fn new(npu: &mut Multiplier, width: usize) -> Result<Self, NpuError> {
        let bytes = 2 * HALF_ROWS * width;
        Ok(Self {
            rows: 0..0,
            width,
            input: npu.allocate(bytes)?,
            wide: npu.allocate(4 * bytes)?,
            narrow: npu.allocate(bytes)?,
        })
    }

    /// Lets the device see the rows of `input`, and as many after them as fill a pass, whose
    /// results are never read.
    pub fn sync_to_device(&self) -> Result<(), NpuError> {
        match self.rows.len().next_multiple_of(PASS_ROWS) {
            0 => Ok(()),
            rows => self.input.sync_to_device(0..2 * rows * self.width),
        }
    }

    /// The product from `input` to `wide`.
    pub fn widen<'a>(&'a self, weights: &'a DeviceWeights) -> MatMulStep<'a> {
        step(&*self.input, weights, &*self.wide)
    }

    /// The product from `input` to `narrow`.
    pub fn project<'a>(&'a self, weights: &'a DeviceWeights) -> MatMulStep<'a> {
        step(&*self.input, weights, &*self.narrow)
    }

    /// The product from `wide` to `narrow`.
    pub fn contract<'a>(&'a self, weights: &'a DeviceWeights) -> MatMulStep<'a> {
        step(&*self.wide, weights, &*self.narrow)
    }
}

fn step<'a>(
    a: &'a dyn NpuBuffer,
    weights: &'a DeviceWeights,
    c: &'a dyn NpuBuffer,
) -> MatMulStep<'a> {
    MatMulStep { a, weights, c }
}

/// Lets the CPU see the first `rows` rows of a product with so many `columns`.
pub fn sync_from_device(
    buffer: &mut dyn NpuBuffer,
    rows: usize,
    columns: usize,
) -> Result<(), NpuError> {
    match rows {
        0 => Ok(()),
        rows => buffer.sync_from_device(0..2 * rows * columns),
    }
}
