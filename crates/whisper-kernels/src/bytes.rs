// SPDX-License-Identifier: MPL-2.0
//! Rows of 8 bits times weights of 8 bits: twice as many products in an instruction as bf16 has.
//!
//! Every row of the left operand and every output of the right one has a scale of its own, found anew for each row
//! (dynamic quantisation, as CTranslate2 and ONNX Runtime do it). The left operand is unsigned, as the instruction
//! wants it: 128 is added to each number, and 128 times the sum of its weights taken from each output.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::buffer::{self, Buffer, CACHE_LINE};
use super::gemm::Epilogue;
use super::linear::{Linear, ValueRows};
use super::{GemmKernel, SimdOp, Tile, mr};

/// The largest weight, and how far a rounded number is at most from [`ZERO`].
pub(super) const MOST: f32 = 127.0;
/// What stands for 0 in a row.
pub(super) const ZERO: f32 = 128.0;
/// Numbers that are multiplied in one lane.
pub(super) const QUAD: usize = 4;
/// The deepest product of which no sum leaves 32 bits.
const DEEPEST: usize = (i32::MAX / (255 * 128)) as usize;

/// Products of unsigned and signed bytes, four to a lane, summed in 32 bits: exact, so the same on all machines.
pub trait Bytes: GemmKernel {
    /// A register of LANES quads.
    type Quads: Copy;
    /// What the depth is filled up to with zeros, a multiple of [`QUAD`].
    const BYTE_DEPTH: usize = QUAD;

    /// # Safety
    /// 4 LANES bytes must be readable at `from`.
    unsafe fn load_quads(self, from: *const i8) -> Self::Quads;
    /// # Safety
    /// Four bytes must be readable at `from`.
    unsafe fn broadcast_quad(self, from: *const u8) -> Self::Quads;
    /// Adds to each lane of `sums` the inner product of that lane's quads, unsigned ones in `a`.
    fn dot_quads(self, sums: Self::Sums, a: Self::Quads, b: Self::Quads) -> Self::Sums;
    /// The first LANES sums; panics when there are fewer.
    fn load_sums(self, from: &[i32]) -> Self::Sums;
    /// The first LANES values as f32; panics when there are fewer.
    fn widen(self, from: &[Self::Value]) -> Self::Vector;
    /// Rounds numbers that an unsigned byte holds, to the first LANES of `to`; panics when there are fewer.
    fn round_bytes(self, x: Self::Vector, to: &mut [u8]);

    /// `tile = offsets + a b` over `quads` quads of depth, whole [`Bytes::BYTE_DEPTH`]s.
    ///
    /// `a` is the left operand's first row, its rows `a_stride` bytes apart; `b` a panel of the right one.
    ///
    /// # Safety
    /// For each row of the tile `4 quads` bytes must be readable, and `4 quads COLUMNS` at `b`. [`GemmKernel::begin`] must
    /// have come before.
    #[inline(always)]
    unsafe fn multiply_quads(
        self,
        tile: &mut MaybeUninit<Self::SumTile>,
        offsets: [Self::Sums; 2],
        quads: usize,
        a: (*const u8, usize),
        b: *const i8,
    ) {
        // SAFETY: the caller promises the same.
        tile.write(unsafe { product(self, offsets, quads, a, b) });
    }
}

/// The right operand of `y = x Wᵀ + b` in bytes: (panel of [`GemmKernel::NR`] outputs, quad of depth, output, place
/// in the quad). What the last panel and the last quad lack is zeros.
pub struct ByteWeights<K> {
    pub(super) values: Buffer<i8>,
    /// One per output.
    pub(super) scales: Buffer<f32>,
    bias: Buffer<f32>,
    /// What the sums of each output begin with: takes off what [`ZERO`] adds.
    pub(super) offsets: Buffer<i32>,
    pub(super) depth: usize,
    kernel: PhantomData<K>,
}

impl<K: Bytes> ByteWeights<K> {
    /// `count` outputs that are zero whatever they are multiplied by.
    pub(super) fn zeros(count: usize, depth: usize) -> Self {
        assert!(depth <= DEEPEST);
        let columns = count.next_multiple_of(K::NR);
        let depth = depth.next_multiple_of(K::BYTE_DEPTH);
        Self {
            values: Buffer::new(columns * depth),
            scales: Buffer::new(columns),
            bias: Buffer::new(columns),
            offsets: Buffer::new(columns),
            depth,
            kernel: PhantomData,
        }
    }

    fn set(&mut self, column: usize, weights: &[f32], scale: f32) {
        let most = weights.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        let inverse = inverse(most);
        let mut sum = 0;
        for (k, weight) in weights.iter().enumerate() {
            let (value, place) = (
                (weight * inverse).round_ties_even() as i8,
                self.place(column, k),
            );
            self.values[place] = value;
            sum += i32::from(value);
        }
        self.scales[column] = most / MOST * scale;
        self.offsets[column] = offset(sum);
    }

    /// Where the weight of output `column` for the number `k` of a row is.
    #[inline(always)]
    pub(super) fn place(&self, column: usize, k: usize) -> usize {
        let (panel, lane) = (column / K::NR, column % K::NR);
        let quad = (panel * (self.depth / QUAD) + k / QUAD) * K::NR + lane;
        quad * QUAD + k % QUAD
    }
}

impl<K: Bytes> Linear<K> for ByteWeights<K> {
    /// A row ends with its scale, see [`stride`].
    type Element = u8;

    fn new(weight: &[f32], bias: &[f32], depth: usize, scale: f32) -> Self {
        let mut weights = Self::zeros(weight.len() / depth, depth);
        for (to, from) in weights.bias.iter_mut().zip(bias) {
            *to = from * scale;
        }
        for (column, row) in weight.chunks_exact(depth).enumerate() {
            weights.set(column, row, scale);
        }
        weights
    }

    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn room(rows: usize, depth: usize) -> usize {
        rows * stride(depth)
    }

    fn prepare<'a>(kernel: K, rows: ValueRows<'a, K>, room: &'a mut [u8]) -> &'a [u8] {
        let to = &mut *room;
        kernel.dispatch(Round { rows, to });
        room
    }

    fn multiply(&self, kernel: K, left: &[u8], count: usize, sink: impl Epilogue<K>) {
        kernel.dispatch(Product {
            left,
            stride: stride(self.depth),
            count,
            right: self,
            sink,
        });
    }
}

/// From one row to the next: whole cache lines of numbers, and one that holds the row's scale.
pub(super) fn stride(depth: usize) -> usize {
    depth.next_multiple_of(CACHE_LINE) + CACHE_LINE
}

/// What brings numbers up to `most` to [`MOST`].
pub(super) fn inverse(most: f32) -> f32 {
    if most > 0.0 { MOST / most } else { 0.0 }
}

/// What takes off what [`ZERO`] adds, for weights of this sum.
pub(super) fn offset(sum: i32) -> i32 {
    -(ZERO as i32) * sum
}

/// A number of a row as a weight.
#[inline(always)]
pub(super) fn signed(byte: u8) -> i8 {
    (byte ^ ZERO as u8) as i8
}

/// |x|
#[inline(always)]
pub(super) fn size<K: GemmKernel>(kernel: K, x: K::Vector) -> K::Vector {
    kernel.max(x, kernel.sub(kernel.splat(0.0), x))
}

/// Rounds rows, each to the range of its largest number.
struct Round<'a, K: GemmKernel> {
    rows: ValueRows<'a, K>,
    to: &'a mut [u8],
}

impl<K: Bytes> SimdOp<K> for Round<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let ValueRows {
            values,
            depth,
            count,
        } = self.rows;
        let rows = values.chunks(buffer::stride::<K::Value>(depth)).take(count);
        let out = self.to.chunks_exact_mut(stride(depth));
        for (x, out) in rows.zip(out) {
            let (out, scale) = out.split_at_mut(depth.next_multiple_of(CACHE_LINE));
            let most = round_row(kernel, &x[..depth], out);
            scale[..size_of::<f32>()].copy_from_slice(&(most / MOST).to_ne_bytes());
        }
    }
}

/// Rounds one row; gives the largest size of its numbers.
#[inline(always)]
fn round_row<K: Bytes>(kernel: K, x: &[K::Value], out: &mut [u8]) -> f32 {
    let whole = x.len() / K::LANES * K::LANES;
    let mut most = kernel.splat(0.0);
    for x in x[..whole].chunks_exact(K::LANES) {
        most = kernel.max(most, size(kernel, kernel.widen(x)));
    }
    let tail = x[whole..].iter().map(|x| (*x).into().abs());
    let most = tail.fold(kernel.largest(most), f32::max);
    let inverse = inverse(most);
    let (factor, zero) = (kernel.splat(inverse), kernel.splat(ZERO));
    for i in (0..whole).step_by(K::LANES) {
        let x = kernel.mul_add(kernel.widen(&x[i..]), factor, zero);
        kernel.round_bytes(x, &mut out[i..]);
    }
    for i in whole..x.len() {
        out[i] = (x[i].into() * inverse + ZERO).round_ties_even() as u8;
    }
    most
}

struct Product<'a, K: Bytes, S> {
    left: &'a [u8],
    stride: usize,
    /// Rows, computed in whole tiles.
    count: usize,
    right: &'a ByteWeights<K>,
    sink: S,
}

impl<K: Bytes, S: Epilogue<K>> SimdOp<K> for Product<'_, K, S> {
    type Output = ();

    #[inline(always)]
    fn run(mut self, kernel: K) {
        let rows = self.count.next_multiple_of(mr::<K>());
        let (right, depth) = (self.right, self.right.depth);
        assert!(self.left.len() >= rows * self.stride && self.stride > depth);
        assert!(right.values.len() >= right.bias.len() * depth);
        kernel.begin();
        for column in (0..right.bias.len()).step_by(K::NR) {
            let output = Output::load(kernel, right, column);
            for row in (0..rows).step_by(mr::<K>()) {
                let left = &self.left[row * self.stride..][..mr::<K>() * self.stride];
                let mut sums = MaybeUninit::uninit();
                // SAFETY: the left operand has a tile of rows longer than the depth, and the panel lies within the
                // right one: both asserted above. The sums are written to the whole tile.
                let sums = unsafe {
                    let (a, b) = (left.as_ptr(), right.values.as_ptr().add(column * depth));
                    let (offsets, quads) = (output.offsets, depth / QUAD);
                    kernel.multiply_quads(&mut sums, offsets, quads, (a, self.stride), b);
                    sums.assume_init_ref()
                };
                let tile = output.finish(kernel, sums, left, self.stride);
                self.sink.write(kernel, row, column, tile.rows());
            }
        }
        kernel.end();
    }
}

/// What becomes of the sums of a panel.
struct Output<K: Bytes> {
    offsets: [K::Sums; 2],
    scales: [K::Vector; 2],
    bias: [K::Vector; 2],
}

impl<K: Bytes> Output<K> {
    #[inline(always)]
    fn load(kernel: K, weights: &ByteWeights<K>, first: usize) -> Self {
        let second = first + K::LANES;
        let floats = |from: &[f32]| [kernel.load(&from[first..]), kernel.load(&from[second..])];
        let sums = |from: &[i32]| {
            [
                kernel.load_sums(&from[first..]),
                kernel.load_sums(&from[second..]),
            ]
        };
        Self {
            offsets: sums(&weights.offsets),
            scales: floats(&weights.scales),
            bias: floats(&weights.bias),
        }
    }

    /// The sums of a tile as numbers; `left` has its rows.
    #[inline(always)]
    fn finish(&self, kernel: K, sums: &K::SumTile, left: &[u8], stride: usize) -> K::Tile {
        let mut tile = K::Tile::splat([kernel.splat(0.0); 2]);
        // A counted loop, which is unrolled: else neither tile stays in registers.
        for (row, y) in tile.rows_mut().iter_mut().enumerate() {
            let sums = sums.rows()[row];
            let scale = kernel.splat(scale(&left[row * stride..][..stride]));
            for half in 0..2 {
                let product = kernel.mul(kernel.floats(sums[half]), self.scales[half]);
                y[half] = kernel.mul_add(product, scale, self.bias[half]);
            }
        }
        tile
    }
}

/// The scale that a row ends with.
#[inline(always)]
pub(super) fn scale(row: &[u8]) -> f32 {
    let bytes = row[row.len() - CACHE_LINE..].first_chunk();
    bytes.map_or(0.0, |bytes| f32::from_ne_bytes(*bytes))
}

/// What [`Bytes::multiply_quads`] writes, computed in vectors.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn product<K: Bytes>(
    kernel: K,
    offsets: [K::Sums; 2],
    quads: usize,
    (a, a_stride): (*const u8, usize),
    b: *const i8,
) -> K::SumTile {
    let mut tile = K::SumTile::splat(offsets);
    for quad in 0..quads {
        // SAFETY: within what the caller promises for this quad.
        let columns = unsafe {
            let b = b.add(quad * QUAD * K::NR);
            [
                kernel.load_quads(b),
                kernel.load_quads(b.add(QUAD * K::LANES)),
            ]
        };
        for (row, sums) in tile.rows_mut().iter_mut().enumerate() {
            // SAFETY: within what the caller promises for this row.
            let left = unsafe { kernel.broadcast_quad(a.add(row * a_stride + quad * QUAD)) };
            sums[0] = kernel.dot_quads(sums[0], left, columns[0]);
            sums[1] = kernel.dot_quads(sums[1], left, columns[1]);
        }
    }
    tile
}
