// SPDX-License-Identifier: MPL-2.0
//! A lane: rows of a window that pass through the device together.

use std::ops::Range;

use super::weights::{LANE_ROWS, Projection};
use xdna::NpuError;
use xdna::contract::{A_TILE_BYTES, MatMul, PASS_COLUMNS, TILE, TILE_ROWS};
use xdna::device::NpuBuffer;
use xdna::matmul::{MatMulStep, Multiplier};

/// Rows of a window, and their buffers on the device. While the device computes one lane, the CPU
/// works on the others.
pub struct Lane {
    /// Empty if the window is too short for this lane.
    pub rows: Range<usize>,
    /// What the next product reads: A, packed, up to four times as deep as the residual stream.
    pub a: Box<dyn NpuBuffer>,
    /// What the last product gave: C in tiles, up to four times as wide.
    pub c: Box<dyn NpuBuffer>,
}

impl Lane {
    pub fn new(npu: &mut Multiplier, width: usize) -> Result<Self, NpuError> {
        let columns = (4 * width).next_multiple_of(PASS_COLUMNS);
        let largest = MatMul::new(LANE_ROWS, 4 * width, columns, Default::default())?;
        Ok(Self {
            rows: 0..0,
            a: npu.allocate(largest.a_bytes())?,
            c: npu.allocate(largest.c_bytes())?,
        })
    }

    /// The product of the lane's rows with `projection`.
    pub fn step<'a>(&'a self, projection: &'a Projection) -> MatMulStep<'a> {
        MatMulStep {
            rows: self.rows.len(),
            a: &*self.a,
            weights: &projection.weights,
            c: &*self.c,
        }
    }

    /// Size of the panels of A, 128 rows each, that have rows of the lane. Rows after them have
    /// results that are never read.
    pub fn a_bytes(&self, depth: usize) -> usize {
        self.rows.len().div_ceil(TILE_ROWS) * panel_bytes(depth)
    }

    /// Lets the device see the rows of A.
    pub fn sync_to_device(&self, depth: usize) -> Result<(), NpuError> {
        self.a.sync_to_device(0..self.a_bytes(depth))
    }

    /// Lets the CPU see C of a product.
    pub fn sync_from_device(&mut self, projection: &Projection) -> Result<(), NpuError> {
        self.c.sync_from_device(0..projection.matmul.c_bytes())
    }

    /// C of a product, which was synced.
    pub fn product<'a>(&'a self, projection: &'a Projection) -> Product<'a> {
        Product::new(projection, self.c.bytes())
    }
}

/// Size of 128 rows of A.
pub fn panel_bytes(depth: usize) -> usize {
    depth / TILE * A_TILE_BYTES
}

/// C of a product.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    projection: &'a Projection,
    c: &'a [u8],
}

impl<'a> Product<'a> {
    pub fn new(projection: &'a Projection, c: &'a [u8]) -> Self {
        Self { projection, c }
    }

    /// Writes C and the bias in row `row` of the lane, at columns `64 tile..64 (tile + 1)`.
    #[inline(always)]
    pub fn read(&self, row: usize, tile: usize, to: &mut [f32]) {
        let Projection { bias, matmul, .. } = self.projection;
        let from = &self.c[matmul.c_offset(row, tile * TILE)..][..4 * TILE];
        let bias = &bias[tile * TILE..][..TILE];
        for ((to, from), bias) in to.iter_mut().zip(from.as_chunks().0).zip(bias) {
            *to = f32::from_le_bytes(*from) + bias;
        }
    }
}
