// SPDX-License-Identifier: MPL-2.0
//! Multiplication by weights of 8 bits: what is read anew for every token is what a token costs.
//!
//! Each [`K_GROUP`] weights of an output have a scale of their own: one large weight costs its neighbours accuracy, not
//! the whole row. Activations are rounded to 16 bits, with a scale for each row: beside the error of the weights
//! theirs is nothing.

use std::marker::PhantomData;

use super::buffer::Buffer;
use super::gemm::Epilogue;
use super::{GemmKernel, SimdF32, SimdOp, Tile, mr};

/// The largest weight.
const MOST_WEIGHT: f32 = 127.0;
/// The largest activation.
const MOST_DIGIT: f32 = i16::MAX as f32;
/// Weights of one output with a common scale. Depth is rounded up to whole groups.
const K_GROUP: usize = 64;
/// Rows up to which a product is computed in tiles of so many: what is decoded side by side.
const FEW: usize = 4;
// No sum of a group leaves 32 bits.
const _: () = assert!(K_GROUP * 128 * (1 << 15) < 1 << 31);

/// The right operand of `y = x Wᵀ + b`: (panel of [`GemmKernel::NR`] outputs, pair of depth, output, place in the
/// pair). What the last panel and the last group lack is zeros.
pub struct Quantized<K> {
    values: Buffer<i8>,
    /// (panel, group, output)
    scales: Buffer<f32>,
    bias: Buffer<f32>,
    depth: usize,
    kernel: PhantomData<K>,
}

impl<K: GemmKernel> Quantized<K> {
    /// All zeros.
    pub fn new(columns: usize, depth: usize) -> Self {
        let columns = columns.next_multiple_of(K::NR);
        let depth = padded(depth);
        Self {
            values: Buffer::new(columns * depth),
            scales: Buffer::new(columns * depth / K_GROUP),
            bias: Buffer::new(columns),
            depth,
            kernel: PhantomData,
        }
    }

    /// Sets the weights of one output, and what is added to it.
    pub fn set(&mut self, column: usize, weights: &[f32], bias: f32) {
        self.bias[column] = bias;
        for (group, weights) in weights.chunks(K_GROUP).enumerate() {
            let most = weights.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
            let inverse = if most > 0.0 { MOST_WEIGHT / most } else { 0.0 };
            let scale = self.scale_of(column, group);
            self.scales[scale] = most / MOST_WEIGHT;
            for (i, weight) in weights.iter().enumerate() {
                let place = self.place(column, group * K_GROUP + i);
                self.values[place] = (weight * inverse).round() as i8;
            }
        }
    }

    /// The weights of one output: what an embedding is.
    pub fn get(&self, column: usize, weights: &mut [f32]) {
        for (group, weights) in weights.chunks_mut(K_GROUP).enumerate() {
            let scale = self.scales[self.scale_of(column, group)];
            for (i, weight) in weights.iter_mut().enumerate() {
                let value = self.values[self.place(column, group * K_GROUP + i)];
                *weight = f32::from(value) * scale;
            }
        }
    }

    fn scale_of(&self, column: usize, group: usize) -> usize {
        let (panel, lane) = (column / K::NR, column % K::NR);
        (panel * (self.depth / K_GROUP) + group) * K::NR + lane
    }

    fn place(&self, column: usize, k: usize) -> usize {
        let (panel, lane) = (column / K::NR, column % K::NR);
        ((panel * (self.depth / 2) + k / 2) * K::NR + lane) * 2 + k % 2
    }

    pub fn all(&self) -> Outputs<'_, K> {
        self.panels(0, self.bias.len() / K::NR)
    }

    /// `count` panels from panel `first` on, or as many as there are.
    pub fn panels(&self, first: usize, count: usize) -> Outputs<'_, K> {
        let end = (self.bias.len() / K::NR).min(first + count) * K::NR;
        let (start, groups) = (first * K::NR, self.depth / K_GROUP);
        Outputs {
            values: &self.values[start * self.depth..end * self.depth],
            scales: &self.scales[start * groups..end * groups],
            bias: &self.bias[start..end],
            depth: self.depth,
            kernel: PhantomData,
        }
    }
}

/// Some of the outputs of [`Quantized`].
pub struct Outputs<'a, K> {
    values: &'a [i8],
    scales: &'a [f32],
    bias: &'a [f32],
    depth: usize,
    kernel: PhantomData<K>,
}

impl<K> Outputs<'_, K> {
    /// Whole panels of them.
    pub fn columns(&self) -> usize {
        self.bias.len()
    }
}

const fn padded(depth: usize) -> usize {
    depth.next_multiple_of(K_GROUP)
}

/// Rows of activations, rounded: the left operand.
pub struct QuantizedRows {
    values: Buffer<i16>,
    /// One per row; 0 in rows that hold nothing, so that these are multiplied to zeros.
    scales: Buffer<f32>,
    stride: usize,
}

impl QuantizedRows {
    /// Room for `rows` rows, and as many more as whole tiles have, of up to `depth` numbers.
    pub fn new<K: GemmKernel>(rows: usize, depth: usize) -> Self {
        let rows = rows.next_multiple_of(mr::<K>()).max(FEW);
        Self {
            values: Buffer::new(rows * padded(depth)),
            scales: Buffer::new(rows),
            stride: padded(depth),
        }
    }
}

/// Rounds `rows`, each `depth` wide, to [`QuantizedRows`]; what is left of the last tile counts for nothing.
pub struct Round<'a> {
    pub rows: &'a [f32],
    pub depth: usize,
    pub out: &'a mut QuantizedRows,
}

impl<K: GemmKernel> SimdOp<K> for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let QuantizedRows {
            values,
            scales,
            stride,
        } = self.out;
        scales.fill(0.0);
        for ((x, out), scale) in self
            .rows
            .chunks_exact(self.depth)
            .zip(values.chunks_exact_mut(*stride))
            .zip(scales.iter_mut())
        {
            *scale = round(kernel, x, out);
        }
    }
}

/// Rounds one row; returns its scale.
#[inline(always)]
fn round<K: GemmKernel>(kernel: K, x: &[f32], out: &mut [i16]) -> f32 {
    let whole = x.len() / K::LANES * K::LANES;
    let mut most = kernel.splat(0.0);
    for x in x[..whole].chunks_exact(K::LANES) {
        let x = kernel.load(x);
        most = kernel.max(most, kernel.max(x, kernel.sub(kernel.splat(0.0), x)));
    }
    let tail = x[whole..].iter().map(|x| x.abs());
    let most = tail.fold(kernel.largest(most), f32::max);
    let inverse = if most > 0.0 { MOST_DIGIT / most } else { 0.0 };
    let factor = kernel.splat(inverse);
    for i in (0..whole).step_by(K::LANES) {
        kernel.round(kernel.mul(kernel.load(&x[i..]), factor), &mut out[i..]);
    }
    for i in whole..x.len() {
        out[i] = (x[i] * inverse).round_ties_even() as i16;
    }
    out[x.len()..padded(x.len())].fill(0);
    most / MOST_DIGIT
}

/// `left · rightᵀ + bias`, as an [`SimdOp`].
pub struct Product<'a, K: GemmKernel, S> {
    pub left: &'a QuantizedRows,
    /// How many rows count. One is computed alone, few together, more in whole tiles.
    pub count: usize,
    pub right: Outputs<'a, K>,
    pub sink: S,
}

impl<K: GemmKernel, S: Epilogue<K>> SimdOp<K> for Product<'_, K, S> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        match self.count {
            0 => {}
            1 => self.multiply_row(kernel),
            2..=FEW => self.multiply::<[[K::Vector; 2]; FEW], [[K::Sums; 2]; FEW]>(kernel),
            _ => self.multiply::<K::Tile, K::SumTile>(kernel),
        }
    }
}

impl<K: GemmKernel, S: Epilogue<K>> Product<'_, K, S> {
    /// PackedBView of the right operand, both operands being large enough for `rows` rows.
    #[inline(always)]
    fn panels(&self, rows: usize) -> usize {
        let (depth, panels) = (self.right.depth, self.right.bias.len() / K::NR);
        let stride = self.left.stride;
        assert!(stride >= depth && depth.is_multiple_of(K_GROUP));
        assert!(self.left.values.len() >= rows * stride);
        assert!(self.right.values.len() >= panels * K::NR * depth);
        panels
    }

    /// Scales, bias and weights of a panel.
    #[inline(always)]
    fn panel(&self, kernel: K, panel: usize) -> (&[f32], [K::Vector; 2], *const i8) {
        let (column, depth) = (panel * K::NR, self.right.depth);
        let (start, groups) = (column * (depth / K_GROUP), depth / K_GROUP);
        (
            &self.right.scales[start..][..K::NR * groups],
            pair(kernel, &self.right.bias[column..]),
            self.right.values[column * depth..].as_ptr(),
        )
    }

    #[inline(always)]
    fn multiply_row(mut self, kernel: K) {
        for panel in 0..self.panels(1) {
            let (scales, bias, right) = self.panel(kernel, panel);
            // SAFETY: one row and one panel of this depth, asserted in `panels`.
            let y = unsafe { multiply_row(kernel, scales, self.left.values.as_ptr(), right) };
            let y = finish(kernel, y, self.left.scales[0], bias);
            self.sink.write(kernel, 0, panel * K::NR, &[y]);
        }
    }

    #[inline(always)]
    fn multiply<T: Tile<K::Vector>, U: Tile<K::Sums>>(mut self, kernel: K) {
        let rows = self.count.next_multiple_of(T::ROWS);
        let (values, stride) = (self.left.values.as_ptr(), self.left.stride);
        for panel in 0..self.panels(rows) {
            for row in (0..rows).step_by(T::ROWS) {
                let (scales, bias, right) = self.panel(kernel, panel);
                // SAFETY: a tile of rows and one panel of this depth, asserted in `panels`.
                let mut tile = unsafe {
                    let left = (values.add(row * stride), stride);
                    multiply::<K, T, U>(kernel, scales, left, right)
                };
                for (y, scale) in tile.rows_mut().iter_mut().zip(&self.left.scales[row..]) {
                    *y = finish(kernel, *y, *scale, bias);
                }
                self.sink.write(kernel, row, panel * K::NR, tile.rows());
            }
        }
    }
}

#[inline(always)]
fn pair<L: SimdF32>(lanes: L, from: &[f32]) -> [L::Vector; 2] {
    [lanes.load(from), lanes.load(&from[L::LANES..])]
}

/// `y scale + bias`
#[inline(always)]
fn finish<L: SimdF32>(
    lanes: L,
    y: [L::Vector; 2],
    scale: f32,
    bias: [L::Vector; 2],
) -> [L::Vector; 2] {
    let scale = lanes.splat(scale);
    [
        lanes.mul_add(y[0], scale, bias[0]),
        lanes.mul_add(y[1], scale, bias[1]),
    ]
}

/// A tile: `a` is the left operand's first row, its rows `a_stride` apart; `b` is the panel, `scales` its scales.
///
/// # Safety
/// For each group that there are scales for, K_GROUP integers must be readable in each row of a tile from `a` on, and
/// `K_GROUP * COLUMNS` bytes from `b` on.
#[inline(always)]
unsafe fn multiply<K: GemmKernel, T: Tile<K::Vector>, U: Tile<K::Sums>>(
    kernel: K,
    scales: &[f32],
    (a, a_stride): (*const i16, usize),
    b: *const i8,
) -> T {
    let mut tile = T::splat([kernel.splat(0.0); 2]);
    for (group, scales) in scales.chunks_exact(K::NR).enumerate() {
        // SAFETY: this group is one of those that the caller promises.
        let sums = unsafe {
            let (a, b) = (a.add(group * K_GROUP), b.add(group * K_GROUP * K::NR));
            multiply_group::<K, U>(kernel, (a, a_stride), b)
        };
        let scales = pair(kernel, scales);
        for (y, sums) in tile.rows_mut().iter_mut().zip(sums.rows()) {
            y[0] = kernel.mul_add(kernel.floats(sums[0]), scales[0], y[0]);
            y[1] = kernel.mul_add(kernel.floats(sums[1]), scales[1], y[1]);
        }
    }
    tile
}

/// The sums of one group.
///
/// # Safety
/// As [`multiply`] with one group.
#[inline(always)]
unsafe fn multiply_group<K: GemmKernel, U: Tile<K::Sums>>(
    kernel: K,
    (a, a_stride): (*const i16, usize),
    b: *const i8,
) -> U {
    let mut tile = U::splat([kernel.no_sums(); 2]);
    for k in (0..K_GROUP).step_by(2) {
        // SAFETY: within what the caller promises for this step.
        let columns = unsafe {
            let b = b.add(k * K::NR);
            [kernel.load_pairs(b), kernel.load_pairs(b.add(K::NR))]
        };
        for (row, sums) in tile.rows_mut().iter_mut().enumerate() {
            // SAFETY: within what the caller promises for this row.
            let left = unsafe { kernel.broadcast_pair(a.add(row * a_stride + k)) };
            sums[0] = kernel.dot_pairs(sums[0], left, columns[0]);
            sums[1] = kernel.dot_pairs(sums[1], left, columns[1]);
        }
    }
    tile
}

/// One row. Memory, not arithmetic, is to be the limit, so there are several sums for the multiplier to work on while
/// others wait for their last addition.
///
/// # Safety
/// As [`multiply`] with one row.
#[inline(always)]
unsafe fn multiply_row<K: GemmKernel>(
    kernel: K,
    scales: &[f32],
    a: *const i16,
    b: *const i8,
) -> [K::Vector; 2] {
    const PARTS: usize = 4;
    let mut y = [kernel.splat(0.0); 2];
    for (group, scales) in scales.chunks_exact(K::NR).enumerate() {
        let mut parts = [[kernel.no_sums(); 2]; PARTS];
        for k in (0..K_GROUP).step_by(2 * PARTS) {
            for (part, sums) in parts.iter_mut().enumerate() {
                let k = group * K_GROUP + k + 2 * part;
                // SAFETY: within what the caller promises for this group.
                unsafe {
                    let (left, b) = (kernel.broadcast_pair(a.add(k)), b.add(k * K::NR));
                    sums[0] = kernel.dot_pairs(sums[0], left, kernel.load_pairs(b));
                    sums[1] = kernel.dot_pairs(sums[1], left, kernel.load_pairs(b.add(K::NR)));
                }
            }
        }
        let scales = pair(kernel, scales);
        for (half, y) in y.iter_mut().enumerate() {
            let even = kernel.add_sums(parts[0][half], parts[1][half]);
            let odd = kernel.add_sums(parts[2][half], parts[3][half]);
            let sums = kernel.add_sums(even, odd);
            *y = kernel.mul_add(kernel.floats(sums), scales[half], *y);
        }
    }
    y
}
