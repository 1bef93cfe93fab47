// SPDX-License-Identifier: MPL-2.0
//! Multiplication by weights of 8 bits: what is read anew for every token is what a token costs.
//!
//! A row of weights (one output) has a scale of its own, and so has a row of activations, which is found when it is
//! rounded. Activations keep as many of 16 bits as the sums' 32 bits allow: beside the error of the weights theirs
//! is nothing.

use std::marker::PhantomData;

use super::buffer::Buffer;
use super::gemm::Sink;
use super::{Kernel, Operation, Tile, tile_rows};

/// The largest weight.
const MOST_WEIGHT: f32 = 127.0;
/// Depth is rounded up to this: what one turn of the innermost loop takes.
const STEP: usize = 8;

/// The right operand of `y = x Wᵀ + b`: (panel of [`Kernel::COLUMNS`] outputs, pair of depth, output, place in the
/// pair). What the last panel and the last pairs lack is zeros.
pub struct Quantized<K> {
    values: Buffer<i8>,
    /// One per output.
    scales: Buffer<f32>,
    bias: Buffer<f32>,
    depth: usize,
    kernel: PhantomData<K>,
}

impl<K: Kernel> Quantized<K> {
    /// All zeros.
    pub fn new(columns: usize, depth: usize) -> Self {
        let columns = columns.next_multiple_of(K::COLUMNS);
        let depth = padded(depth);
        Self {
            values: Buffer::new(columns * depth),
            scales: Buffer::new(columns),
            bias: Buffer::new(columns),
            depth,
            kernel: PhantomData,
        }
    }

    /// Sets the weights of one output, and what is added to it.
    pub fn set(&mut self, column: usize, weights: &[f32], bias: f32) {
        let most = weights.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        let scale = most / MOST_WEIGHT;
        self.scales[column] = scale;
        self.bias[column] = bias;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        for (k, weight) in weights.iter().enumerate() {
            let place = self.place(column, k);
            self.values[place] = (weight * inverse).round() as i8;
        }
    }

    /// The weights of one output: what an embedding is.
    pub fn get(&self, column: usize, weights: &mut [f32]) {
        for (k, weight) in weights.iter_mut().enumerate() {
            *weight = f32::from(self.values[self.place(column, k)]) * self.scales[column];
        }
    }

    fn place(&self, column: usize, k: usize) -> usize {
        let (panel, lane) = (column / K::COLUMNS, column % K::COLUMNS);
        ((panel * self.depth / 2 + k / 2) * K::COLUMNS + lane) * 2 + k % 2
    }

    pub fn all(&self) -> Outputs<'_, K> {
        self.panels(0, self.scales.len() / K::COLUMNS)
    }

    /// `count` panels from panel `first` on, or as many as there are.
    pub fn panels(&self, first: usize, count: usize) -> Outputs<'_, K> {
        let end = (self.scales.len() / K::COLUMNS).min(first + count) * K::COLUMNS;
        let columns = first * K::COLUMNS..end;
        Outputs {
            values: &self.values[columns.start * self.depth..end * self.depth],
            scales: &self.scales[columns.clone()],
            bias: &self.bias[columns],
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
        self.scales.len()
    }
}

const fn padded(depth: usize) -> usize {
    depth.next_multiple_of(STEP)
}

/// The largest activation for which no sum over `depth` leaves 32 bits.
fn most_digit(depth: usize) -> f32 {
    (i32::MAX as f32 / (MOST_WEIGHT * padded(depth) as f32))
        .floor()
        .min(i16::MAX as f32)
}

/// Rows of activations, rounded: the left operand.
pub struct Digits {
    values: Buffer<i16>,
    /// One per row; 0 in rows that hold nothing, so that these are multiplied to zeros.
    scales: Buffer<f32>,
    stride: usize,
}

impl Digits {
    /// Room for `rows` rows, and as many more as whole tiles have, of up to `depth` numbers.
    pub fn new<K: Kernel>(rows: usize, depth: usize) -> Self {
        let rows = rows.next_multiple_of(tile_rows::<K>());
        Self {
            values: Buffer::new(rows * padded(depth)),
            scales: Buffer::new(rows),
            stride: padded(depth),
        }
    }
}

/// Rounds `rows`, each `depth` wide, to [`Digits`]; what is left of the last tile counts for nothing. The depth must be
/// a multiple of the kernel's LANES, or the rows end with the memory.
pub struct Round<'a> {
    pub rows: &'a [f32],
    pub depth: usize,
    pub out: &'a mut Digits,
}

impl<K: Kernel> Operation<K> for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let Digits {
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
fn round<K: Kernel>(kernel: K, x: &[f32], out: &mut [i16]) -> f32 {
    let whole = x.len() / K::LANES * K::LANES;
    let mut most = kernel.splat(0.0);
    for x in x[..whole].chunks_exact(K::LANES) {
        let x = kernel.load(x);
        most = kernel.max(most, kernel.max(x, kernel.sub(kernel.splat(0.0), x)));
    }
    let tail = x[whole..].iter().map(|x| x.abs());
    let most = tail.fold(kernel.largest(most), f32::max);
    let digits = most_digit(x.len());
    let inverse = if most > 0.0 { digits / most } else { 0.0 };
    let factor = kernel.splat(inverse);
    for i in (0..whole).step_by(K::LANES) {
        kernel.round(kernel.mul(kernel.load(&x[i..]), factor), &mut out[i..]);
    }
    for i in whole..x.len() {
        out[i] = (x[i] * inverse).round_ties_even() as i16;
    }
    out[x.len()..padded(x.len())].fill(0);
    most / digits
}

/// `left · rightᵀ + bias`, as an [`Operation`].
pub struct Product<'a, K: Kernel, S> {
    pub left: &'a Digits,
    /// How many rows count. As in [`super::gemm::Rows`], one is computed alone, more in whole tiles.
    pub count: usize,
    pub right: Outputs<'a, K>,
    pub sink: S,
}

impl<K: Kernel, S: Sink<K>> Operation<K> for Product<'_, K, S> {
    type Output = ();

    #[inline(always)]
    fn run(mut self, kernel: K) {
        let depth = self.right.depth;
        let panels = self.right.scales.len() / K::COLUMNS;
        let rows = match self.count {
            1 => 1,
            count => count.next_multiple_of(tile_rows::<K>()),
        };
        let (left, stride) = (&self.left.values, self.left.stride);
        assert!(stride >= depth && depth.is_multiple_of(STEP));
        assert!(left.len() >= rows * stride);
        assert!(self.right.values.len() >= panels * K::COLUMNS * depth);
        for panel in 0..panels {
            let column = panel * K::COLUMNS;
            let finish = Finish::new(kernel, &self.right, column);
            // SAFETY: the panel lies within the operand, asserted above.
            let right = unsafe { self.right.values.as_ptr().add(column * depth) };
            if rows == 1 {
                // SAFETY: one row and one panel of this depth, asserted above.
                let sums = unsafe { multiply_row(kernel, depth, left.as_ptr(), right) };
                let y = finish.apply(kernel, sums, self.left.scales[0]);
                self.sink.write(kernel, 0, column, &[y]);
                continue;
            }
            for row in (0..rows).step_by(tile_rows::<K>()) {
                // SAFETY: a tile of rows and one panel of this depth, asserted above.
                let sums = unsafe {
                    let left = (left.as_ptr().add(row * stride), stride);
                    multiply::<K>(kernel, depth, left, right)
                };
                let mut tile = K::Tile::splat([kernel.splat(0.0); 2]);
                let scales = &self.left.scales[row..][..tile_rows::<K>()];
                for ((y, sums), scale) in tile.rows_mut().iter_mut().zip(sums.rows()).zip(scales) {
                    *y = finish.apply(kernel, *sums, *scale);
                }
                self.sink.write(kernel, row, column, tile.rows());
            }
        }
    }
}

/// What makes numbers of the sums of one panel.
struct Finish<V> {
    scales: [V; 2],
    bias: [V; 2],
}

impl<V: Copy> Finish<V> {
    #[inline(always)]
    fn new<K: Kernel<Vector = V>>(kernel: K, right: &Outputs<K>, column: usize) -> Self {
        let load = |from: &[f32]| {
            [
                kernel.load(&from[column..]),
                kernel.load(&from[column + K::LANES..]),
            ]
        };
        Self {
            scales: load(right.scales),
            bias: load(right.bias),
        }
    }

    #[inline(always)]
    fn apply<K: Kernel<Vector = V>>(
        self: &Self,
        kernel: K,
        sums: [K::Sums; 2],
        scale: f32,
    ) -> [V; 2] {
        let scale = kernel.splat(scale);
        let half = |i: usize| {
            let scale = kernel.mul(self.scales[i], scale);
            kernel.mul_add(kernel.floats(sums[i]), scale, self.bias[i])
        };
        [half(0), half(1)]
    }
}

/// The sums of a tile: `a` is the left operand's first row, its rows `a_stride` apart; `b` is the panel.
///
/// # Safety
/// `depth` integers must be readable in each row of a tile from `a` on, and `depth * COLUMNS` bytes at `b`.
#[inline(always)]
unsafe fn multiply<K: Kernel>(
    kernel: K,
    depth: usize,
    (a, a_stride): (*const i16, usize),
    b: *const i8,
) -> K::SumTile {
    let mut tile = K::SumTile::splat([kernel.no_sums(); 2]);
    for step in 0..depth / 2 {
        // SAFETY: within what the caller promises for this step.
        let columns = unsafe {
            let b = b.add(step * 2 * K::COLUMNS);
            [kernel.load_pairs(b), kernel.load_pairs(b.add(K::COLUMNS))]
        };
        for (row, sums) in tile.rows_mut().iter_mut().enumerate() {
            // SAFETY: within what the caller promises for this row.
            let left = unsafe { kernel.broadcast_pair(a.add(row * a_stride + step * 2)) };
            sums[0] = kernel.dot_pairs(sums[0], left, columns[0]);
            sums[1] = kernel.dot_pairs(sums[1], left, columns[1]);
        }
    }
    tile
}

/// The sums of one row. Memory, not arithmetic, is to be the limit, so there are several sums for the multiplier to
/// work on while others wait for their last addition.
///
/// # Safety
/// `depth` integers must be readable at `a`, and `depth * COLUMNS` bytes at `b`.
#[inline(always)]
unsafe fn multiply_row<K: Kernel>(
    kernel: K,
    depth: usize,
    a: *const i16,
    b: *const i8,
) -> [K::Sums; 2] {
    const PARTS: usize = STEP / 2;
    let mut parts = [[kernel.no_sums(); 2]; PARTS];
    for step in (0..depth).step_by(STEP) {
        for (part, sums) in parts.iter_mut().enumerate() {
            let k = step + 2 * part;
            // SAFETY: within what the caller promises for this step.
            unsafe {
                let (left, b) = (kernel.broadcast_pair(a.add(k)), b.add(k * K::COLUMNS));
                sums[0] = kernel.dot_pairs(sums[0], left, kernel.load_pairs(b));
                sums[1] = kernel.dot_pairs(sums[1], left, kernel.load_pairs(b.add(K::COLUMNS)));
            }
        }
    }
    let add = |i: usize| {
        let even = kernel.add_sums(parts[0][i], parts[1][i]);
        kernel.add_sums(even, kernel.add_sums(parts[2][i], parts[3][i]))
    };
    [add(0), add(1)]
}
