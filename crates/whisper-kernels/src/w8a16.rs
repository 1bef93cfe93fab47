// SPDX-License-Identifier: MPL-2.0
//! W8A16: products of 8-bit weights and 16-bit activations. For few rows, where reading the weights
//! takes the time and 8 bits halve it or better.
//!
//! Weights are quantised per group: [`QUANT_GROUP`] weights of an output, adjacent along the depth,
//! share a scale, so a large weight costs its neighbours accuracy and not the whole row (as the
//! block formats of llama.cpp and GPTQ's group size do). Activations are quantised per row
//! ([`quantize`](crate::quantize)) to 16 bits: beside the error of the weights theirs is nothing.
//! A weight is off by at most 1/254 of the largest magnitude in its group, an activation by at most
//! 1/65534 of the largest in its row; the sums of a group are exact.
//!
//! ```
//! use whisper_kernels::epilogue::StoreF32;
//! use whisper_kernels::quantize::{QuantizeRows, QuantizedRows};
//! use whisper_kernels::w8a16::{GemmW8A16, PackedW8A16};
//! use whisper_kernels::{GemmKernel, Portable};
//!
//! // Any kernel will do; `Portable` needs no detection.
//! let (kernel, depth) = (Portable, 2);
//! let mut weights = PackedW8A16::new(3, depth);
//! for (output, row) in [[1.0, 1.0], [0.5, -2.0], [0.0, 1.0]].iter().enumerate() {
//!     weights.set(output, row, 0.25);
//! }
//!
//! let x = [1.0, 2.0];
//! let mut left = QuantizedRows::new::<Portable>(1, depth);
//! kernel.dispatch(QuantizeRows { rows: x.chunks_exact(depth), depth, out: &mut left });
//!
//! let width = weights.view().columns();
//! let mut y = vec![0.0; width];
//! let epilogue = StoreF32 { out: &mut y, width };
//! kernel.dispatch(GemmW8A16 { left: &left, count: 1, right: weights.view(), epilogue });
//! assert!((y[0] - 3.25).abs() < 0.02 && (y[1] + 3.25).abs() < 0.02 && (y[2] - 2.25).abs() < 0.02);
//! ```

use std::marker::PhantomData;

use crate::buffer::AlignedBuffer;
use crate::gemm::Epilogue;
use crate::kernel::GemmKernel;
use crate::micro_kernel::{self, DotStep, Operands, Tile};
use crate::quantize::{FEW_ROWS, MAX_I8, QuantizedRows, inverse_scale, max_abs};
use crate::simd::{DotI16, SimdF32, SimdOp};

/// Weights of one output with a common scale. Depth is padded to whole groups.
pub const QUANT_GROUP: usize = 64;
/// The k-group: integers that are multiplied in one lane.
const PAIR: usize = 2;
// No sum of a group leaves 32 bits.
const _: () = assert!(QUANT_GROUP * 128 * (1 << 15) < 1 << 31);

/// Weights of 8 bits with a scale per group: `[panel of NR outputs, pair of depth, output, place in
/// the pair]`. Zeros fill the last panel and the last group.
#[derive(Debug)]
pub struct PackedW8A16<K> {
    values: AlignedBuffer<i8>,
    /// `[panel, group, output]`
    scales: AlignedBuffer<f32>,
    bias: AlignedBuffer<f32>,
    depth: usize,
    kernel: PhantomData<K>,
}

impl<K: GemmKernel> PackedW8A16<K> {
    /// Weights for `outputs` outputs of rows that are `depth` wide, all of them zero.
    pub fn new(outputs: usize, depth: usize) -> Self {
        let columns = outputs.next_multiple_of(K::NR);
        let depth = depth.next_multiple_of(QUANT_GROUP);
        Self {
            values: AlignedBuffer::new(columns * depth),
            scales: AlignedBuffer::new(columns * depth / QUANT_GROUP),
            bias: AlignedBuffer::new(columns),
            depth,
            kernel: PhantomData,
        }
    }

    /// Quantises the weights of one output, and sets what is added to it.
    ///
    /// # Panics
    /// When there is no such output, or more weights than depth.
    pub fn set(&mut self, output: usize, weights: &[f32], bias: f32) {
        self.bias[output] = bias;
        for (group, weights) in weights.chunks(QUANT_GROUP).enumerate() {
            let max = max_abs(weights);
            let inverse = inverse_scale(max, MAX_I8);
            let scale = self.scale_place(output, group);
            self.scales[scale] = max / MAX_I8;
            for (i, weight) in weights.iter().enumerate() {
                let place = self.place(output, group * QUANT_GROUP + i);
                self.values[place] = (weight * inverse).round() as i8;
            }
        }
    }

    /// Writes the weights of one output, as they are after quantisation: a row of an embedding.
    ///
    /// # Panics
    /// When there is no such output, or less depth than `weights` is long.
    pub fn get(&self, output: usize, weights: &mut [f32]) {
        for (group, weights) in weights.chunks_mut(QUANT_GROUP).enumerate() {
            let scale = self.scales[self.scale_place(output, group)];
            for (i, weight) in weights.iter_mut().enumerate() {
                let value = self.values[self.place(output, group * QUANT_GROUP + i)];
                *weight = f32::from(value) * scale;
            }
        }
    }

    fn scale_place(&self, output: usize, group: usize) -> usize {
        let (panel, lane) = (output / K::NR, output % K::NR);
        (panel * (self.depth / QUANT_GROUP) + group) * K::NR + lane
    }

    fn place(&self, output: usize, k: usize) -> usize {
        let (panel, lane) = (output / K::NR, output % K::NR);
        ((panel * (self.depth / PAIR) + k / PAIR) * K::NR + lane) * PAIR + k % PAIR
    }

    /// All outputs.
    pub fn view(&self) -> PackedW8A16View<'_, K> {
        self.panels(0, self.bias.len() / K::NR)
    }

    /// The outputs of `count` panels from panel `first` on, or of as many as there are.
    pub fn panels(&self, first: usize, count: usize) -> PackedW8A16View<'_, K> {
        let end = (self.bias.len() / K::NR).min(first + count) * K::NR;
        let (start, groups) = (first * K::NR, self.depth / QUANT_GROUP);
        PackedW8A16View {
            values: &self.values[start * self.depth..end * self.depth],
            scales: &self.scales[start * groups..end * groups],
            bias: &self.bias[start..end],
            depth: self.depth,
            kernel: PhantomData,
        }
    }
}

/// Some outputs of [`PackedW8A16`], whole panels.
#[derive(Debug)]
pub struct PackedW8A16View<'a, K> {
    values: &'a [i8],
    scales: &'a [f32],
    bias: &'a [f32],
    depth: usize,
    kernel: PhantomData<K>,
}

impl<K> PackedW8A16View<'_, K> {
    /// How many outputs: how wide the product is.
    pub fn columns(&self) -> usize {
        self.bias.len()
    }
}

/// `left · rightᵀ + bias`, as a [`SimdOp`].
pub struct GemmW8A16<'a, K: GemmKernel, E> {
    /// Rows as deep as the weights.
    pub left: &'a QuantizedRows<i16>,
    /// How many rows count. One is computed alone, up to four together, more in whole tiles.
    pub count: usize,
    /// The weights.
    pub right: PackedW8A16View<'a, K>,
    /// What becomes of the tiles.
    pub epilogue: E,
}

impl<K: GemmKernel, E: Epilogue<K>> SimdOp<K> for GemmW8A16<'_, K, E> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        match self.count {
            0 => {}
            1 => self.multiply_row(kernel),
            2..=FEW_ROWS => {
                self.multiply::<[[K::Vector; 2]; FEW_ROWS], [[K::Sums; 2]; FEW_ROWS]>(kernel)
            }
            _ => self.multiply::<K::Tile, K::SumTile>(kernel),
        }
    }
}

/// A panel of the right operand.
struct Panel<'a, K: GemmKernel> {
    values: &'a [i8],
    /// `[group, NR]`
    scales: &'a [f32],
    bias: [K::Vector; 2],
}

impl<K: GemmKernel, E: Epilogue<K>> GemmW8A16<'_, K, E> {
    /// Panels of the right operand, both operands being large enough for `rows` rows.
    #[inline(always)]
    fn count_panels(&self, rows: usize) -> usize {
        let (depth, panels) = (self.right.depth, self.right.bias.len() / K::NR);
        let left = self.left.view(0);
        assert!(left.stride >= depth && depth.is_multiple_of(QUANT_GROUP));
        assert!(left.values.len() >= rows * left.stride);
        assert!(self.right.values.len() >= panels * K::NR * depth);
        panels
    }

    #[inline(always)]
    fn panel(&self, kernel: K, panel: usize) -> Panel<'_, K> {
        let (column, depth) = (panel * K::NR, self.right.depth);
        let groups = depth / QUANT_GROUP;
        Panel {
            values: &self.right.values[column * depth..],
            scales: &self.right.scales[column * groups..][..K::NR * groups],
            bias: pair(kernel, &self.right.bias[column..]),
        }
    }

    #[inline(always)]
    fn multiply_row(mut self, kernel: K) {
        let left = self.left.view(0);
        for panel in 0..self.count_panels(1) {
            let Panel {
                values,
                scales,
                bias,
            } = self.panel(kernel, panel);
            // SAFETY: one row and one panel of this depth, asserted in `count_panels`.
            let y = unsafe { multiply_row(kernel, scales, left.values.as_ptr(), values.as_ptr()) };
            let y = finish(kernel, y, left.scales[0], bias);
            self.epilogue.write(kernel, 0, panel * K::NR, &[y]);
        }
    }

    #[inline(always)]
    fn multiply<T: Tile<K::Vector>, U: Tile<K::Sums>>(mut self, kernel: K) {
        let rows = self.count.next_multiple_of(T::ROWS);
        let left = self.left.view(0);
        for panel in 0..self.count_panels(rows) {
            for row in (0..rows).step_by(T::ROWS) {
                let Panel {
                    values,
                    scales,
                    bias,
                } = self.panel(kernel, panel);
                // SAFETY: a tile of rows and one panel of this depth, asserted in `count_panels`.
                let mut tile = unsafe {
                    let operands = Operands {
                        a: left.values.as_ptr().add(row * left.stride),
                        a_stride: left.stride,
                        b: values.as_ptr(),
                        b_stride: PAIR * K::NR,
                        k_groups: QUANT_GROUP / PAIR,
                    };
                    multiply::<K, T, U>(kernel, scales, operands)
                };
                for (y, scale) in tile.rows_mut().iter_mut().zip(&left.scales[row..]) {
                    *y = finish(kernel, *y, *scale, bias);
                }
                self.epilogue.write(kernel, row, panel * K::NR, tile.rows());
            }
        }
    }
}

#[inline(always)]
fn pair<K: SimdF32>(kernel: K, from: &[f32]) -> [K::Vector; 2] {
    [kernel.load(from), kernel.load(&from[K::LANES..])]
}

/// `y scale + bias`
#[inline(always)]
fn finish<K: SimdF32>(
    kernel: K,
    y: [K::Vector; 2],
    scale: f32,
    bias: [K::Vector; 2],
) -> [K::Vector; 2] {
    let scale = kernel.splat(scale);
    [
        kernel.mul_add(y[0], scale, bias[0]),
        kernel.mul_add(y[1], scale, bias[1]),
    ]
}

/// Multiplies pairs of 16-bit activations by pairs of 8-bit weights.
#[derive(Clone, Copy)]
struct PairDot<K>(K);

impl<K: DotI16> DotStep for PairDot<K> {
    type Left = i16;
    type Right = i8;
    type Groups = K::Pairs;
    type Sum = K::Sums;
    const K_GROUP: usize = PAIR;
    const LANES: usize = K::LANES;

    #[inline(always)]
    unsafe fn load(self, from: *const i8) -> K::Pairs {
        // SAFETY: the caller promises the same.
        unsafe { self.0.load_pairs(from) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, from: *const i16) -> K::Pairs {
        // SAFETY: the caller promises the same.
        unsafe { self.0.broadcast_pair(from) }
    }

    #[inline(always)]
    fn dot(self, sums: K::Sums, a: K::Pairs, b: K::Pairs) -> K::Sums {
        self.0.dot_pairs(sums, a, b)
    }
}

/// A tile, group by group: `operands` are those of the first group, `scales` the panel's.
///
/// # Safety
/// For each group that there are scales for, QUANT_GROUP integers must be readable in each row of
/// the tile from `a` on, and `QUANT_GROUP * NR` bytes from `b` on.
#[inline(always)]
unsafe fn multiply<K: GemmKernel, T: Tile<K::Vector>, U: Tile<K::Sums>>(
    kernel: K,
    scales: &[f32],
    operands: Operands<i16, i8>,
) -> T {
    let mut tile = T::splat([kernel.splat(0.0); 2]);
    for (group, scales) in scales.chunks_exact(K::NR).enumerate() {
        // SAFETY: this group is one of those that the caller promises.
        let sums: U = unsafe {
            let operands = Operands {
                a: operands.a.add(group * QUANT_GROUP),
                b: operands.b.add(group * QUANT_GROUP * K::NR),
                ..operands
            };
            micro_kernel::multiply(PairDot(kernel), [kernel.zero_sums(); 2], operands)
        };
        let scales = pair(kernel, scales);
        for (y, sums) in tile.rows_mut().iter_mut().zip(sums.rows()) {
            y[0] = kernel.mul_add(kernel.sums_to_f32(sums[0]), scales[0], y[0]);
            y[1] = kernel.mul_add(kernel.sums_to_f32(sums[1]), scales[1], y[1]);
        }
    }
    tile
}

/// One row. Memory is to be the limit, not arithmetic, so several sums are under way at once: the
/// multiplier works on one while others wait for their last addition.
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
        let mut parts = [[kernel.zero_sums(); 2]; PARTS];
        for k in (0..QUANT_GROUP).step_by(PAIR * PARTS) {
            for (part, sums) in parts.iter_mut().enumerate() {
                let k = group * QUANT_GROUP + k + PAIR * part;
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
            *y = kernel.mul_add(kernel.sums_to_f32(sums), scales[half], *y);
        }
    }
    y
}
