// SPDX-License-Identifier: MPL-2.0
//! What the 32 cores compute in a pass, bit for bit, on this machine's vector units.
//!
//! A block of eight values times a block of eight is an integer (at most 18 bits) times a power of two: exact in f32
//! in any order. So one core's sum is `bias + block 0 + block 1 + …` in f32, one rounding each, in the order of depth.
//! The blocks' values are exact in bf16, so any [`GemmKernel`] multiplies them, and all give the same bits.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::arithmetic::{self, Rounding};
use super::bfp16;
use super::contract::{
    BLOCK_BYTES, COLUMNS, Epilogue, LEFT_BYTES, PASS_ROWS, PRODUCT_BYTES, RIGHT_BYTES,
    RIGHT_VALUES, ROWS, SUB, TILE,
};
use super::weights::Place;
use whisper_kernels::{ForKernel, GemmKernel, Isa, SimdOp, UnknownIsa};

/// One pass of the array: each core a tile of C.
pub struct Pass<'a> {
    pub k_tiles: usize,
    pub epilogue: Epilogue,
    /// For each core row what its A stream brought: tiles of 64 × 64 bf16, row-major, one after another in depth.
    pub left: &'a [Vec<u8>; ROWS],
    /// For each column what its B stream brought, tile after tile in depth; empty where the column does nothing.
    pub right: &'a [Vec<u8>; COLUMNS],
    /// For each column 256 rows of 64 bf16, row-major; left alone where the column does nothing.
    pub products: &'a mut [Vec<u8>; COLUMNS],
}

/// The cores' arithmetic for one kernel and rounding mode.
pub trait Cores: Send {
    fn compute(&mut self, pass: &mut Pass);
}

/// For the fastest instruction set that this machine has, or the one that the environment names.
pub fn cores<R: Rounding>() -> Result<Box<dyn Cores>, UnknownIsa> {
    on::<R>(Isa::choose()?)
}

/// For `isa`, which must be [available](Isa::available).
pub fn on<R: Rounding>(isa: Isa) -> Result<Box<dyn Cores>, UnknownIsa> {
    Ok(isa.detect()?.dispatch(Make::<R>(PhantomData)))
}

struct Make<R>(PhantomData<R>);

impl<R: Rounding> ForKernel for Make<R> {
    type Output = Box<dyn Cores>;

    fn run<K: GemmKernel>(self, kernel: K) -> Self::Output {
        Box::new(Emulated::<K, R> {
            kernel,
            left: Default::default(),
            right: Default::default(),
            rounding: PhantomData,
        })
    }
}

/// Operands of the pass in the kernel's order; kept for their memory.
struct Emulated<K: GemmKernel, R> {
    kernel: K,
    /// (64, depth) for each core row.
    left: [Vec<K::Value>; ROWS],
    right: [Right<K>; COLUMNS],
    rounding: PhantomData<R>,
}

/// A column of B in panels as [`whisper_kernels::pack::PackedBView::contiguous`] has them.
struct Right<K: GemmKernel> {
    values: Vec<K::Value>,
    bias: [f32; TILE],
}

// Not derived: that would ask for `K`'s own default.
impl<K: GemmKernel> Default for Right<K> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            bias: [0.0; TILE],
        }
    }
}

impl<K: GemmKernel, R: Rounding> Cores for Emulated<K, R> {
    fn compute(&mut self, pass: &mut Pass) {
        let Self {
            kernel,
            left,
            right,
            ..
        } = self;
        let (kernel, depth) = (*kernel, pass.k_tiles * TILE);
        left.par_iter_mut().zip(pass.left).for_each(|(to, from)| {
            to.resize(TILE * depth, K::Value::default());
            kernel.dispatch(RoundLeft::<K, R> {
                from,
                depth,
                to,
                rounding: PhantomData,
            });
        });
        right.par_iter_mut().zip(pass.right).for_each(|(to, from)| {
            to.values.resize(TILE * depth, K::Value::default());
            if !from.is_empty() {
                kernel.dispatch(DecodeRight { from, depth, to });
            }
        });
        let tiles = pass.products.par_iter_mut().zip(pass.right).zip(&*right);
        tiles
            .filter(|((_, from), _)| !from.is_empty())
            .flat_map(|((out, _), right)| {
                out.resize(PASS_ROWS * TILE * 2, 0);
                let rows = out.par_chunks_mut(PRODUCT_BYTES).zip(&*left);
                rows.map(move |(out, left)| (out, left, right))
            })
            .for_each(|(out, left, right)| {
                kernel.dispatch(CoreTile::<K, R> {
                    left,
                    right,
                    depth,
                    epilogue: pass.epilogue,
                    out,
                    rounding: PhantomData,
                });
            });
    }
}

/// A's tiles to rows of bfp16's values: what the cores do with A on its way to the multiplier.
struct RoundLeft<'a, K: GemmKernel, R> {
    from: &'a [u8],
    depth: usize,
    to: &'a mut [K::Value],
    rounding: PhantomData<R>,
}

impl<K: GemmKernel, R: Rounding> SimdOp<K> for RoundLeft<'_, K, R> {
    type Output = ();

    #[inline(always)]
    fn eval(self, _: K) {
        for (tile, from) in self.from.chunks_exact(LEFT_BYTES).enumerate() {
            let rows = self.to.chunks_exact_mut(self.depth);
            for (to, from) in rows.zip(from.chunks_exact(TILE * 2)) {
                let to = to[tile * TILE..][..TILE].chunks_exact_mut(SUB);
                for (to, from) in to.zip(from.chunks_exact(SUB * 2)) {
                    let mut values = [0.0; SUB];
                    for (x, from) in values.iter_mut().zip(from.chunks_exact(2)) {
                        *x =
                            f32::from_bits(u32::from(u16::from_le_bytes([from[0], from[1]])) << 16);
                    }
                    for (to, x) in to.iter_mut().zip(bfp16::round::<R>(&values)) {
                        *to = K::value(x);
                    }
                }
            }
        }
    }
}

struct DecodeRight<'a, K: GemmKernel> {
    from: &'a [u8],
    depth: usize,
    to: &'a mut Right<K>,
}

impl<K: GemmKernel> SimdOp<K> for DecodeRight<'_, K> {
    type Output = ();

    #[inline(always)]
    fn eval(self, _: K) {
        for (tile, from) in self.from.chunks_exact(RIGHT_BYTES).enumerate() {
            let (values, bias) = from.split_at(RIGHT_VALUES);
            if tile == 0 {
                for (to, from) in self.to.bias.iter_mut().zip(bias.as_chunks().0) {
                    *to = f32::from_le_bytes(*from);
                }
            }
            let blocks: &[[u8; BLOCK_BYTES]] = values.as_chunks().0;
            for (i, block) in blocks.iter().enumerate() {
                let place = Place::of(i);
                let (panel, lane) = (place.column / K::NR, place.column % K::NR);
                let k = tile * TILE + place.k;
                let first = panel * self.depth * K::NR + k * K::NR + lane * K::K_GROUP;
                let groups = self.to.values[first..].chunks_mut(K::NR * K::K_GROUP);
                let values = bfp16::decode(block);
                for (to, values) in groups.zip(values.chunks_exact(K::K_GROUP)) {
                    for (to, x) in to.iter_mut().zip(values) {
                        *to = K::value(*x);
                    }
                }
            }
        }
    }
}

/// One core's tile of C.
struct CoreTile<'a, K: GemmKernel, R> {
    left: &'a [K::Value],
    right: &'a Right<K>,
    depth: usize,
    epilogue: Epilogue,
    /// 64 rows of 64 bf16.
    out: &'a mut [u8],
    rounding: PhantomData<R>,
}

/// Rows whose sums stay in registers together.
const TOGETHER: usize = 4;

impl<K: GemmKernel, R: Rounding> SimdOp<K> for CoreTile<'_, K, R> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let mut sums = [[0.0; TILE]; TOGETHER];
        let outs = self.out.chunks_exact_mut(TOGETHER * TILE * 2);
        for (left, out) in self.left.chunks_exact(TOGETHER * self.depth).zip(outs) {
            for column in (0..TILE).step_by(K::NR) {
                self.right
                    .multiply(kernel, left, self.depth, column, &mut sums);
            }
            if self.epilogue == Epilogue::Gelu {
                for x in sums.as_flattened_mut() {
                    *x = arithmetic::gelu::<R>(*x);
                }
            }
            for (out, x) in out.chunks_exact_mut(2).zip(sums.as_flattened()) {
                out.copy_from_slice(&R::to_bf16(*x).to_bits().to_le_bytes());
            }
        }
    }
}

impl<K: GemmKernel> Right<K> {
    /// Columns `column..column + COLUMNS` of [`TOGETHER`] rows.
    #[inline(always)]
    fn multiply(
        &self,
        kernel: K,
        left: &[K::Value],
        depth: usize,
        column: usize,
        sums: &mut [[f32; TILE]; TOGETHER],
    ) {
        let right = &self.values[column * depth..][..K::NR * depth];
        assert!(left.len() == TOGETHER * depth && depth.is_multiple_of(SUB));
        let bias = &self.bias[column..][..K::NR];
        let bias = [kernel.load(bias), kernel.load(&bias[K::LANES..])];
        let mut tile = [bias; TOGETHER];
        for k in (0..depth).step_by(SUB) {
            let mut block = [[kernel.splat(0.0); 2]; TOGETHER];
            for k in (k..k + SUB).step_by(K::K_GROUP) {
                // SAFETY: `right` has K::NR values for each of `depth`, and k + K_GROUP <= depth.
                let columns = unsafe {
                    let from = right.as_ptr().add(k * K::NR);
                    [
                        kernel.load_groups(from),
                        kernel.load_groups(from.add(K::LANES * K::K_GROUP)),
                    ]
                };
                for (row, block) in block.iter_mut().enumerate() {
                    // SAFETY: `left` has TOGETHER rows of `depth` values, and k + K_GROUP <= depth.
                    let left =
                        unsafe { kernel.broadcast_group(left.as_ptr().add(row * depth + k)) };
                    block[0] = kernel.dot(block[0], left, columns[0]);
                    block[1] = kernel.dot(block[1], left, columns[1]);
                }
            }
            for (sums, block) in tile.iter_mut().zip(block) {
                *sums = [kernel.add(sums[0], block[0]), kernel.add(sums[1], block[1])];
            }
        }
        for (sums, tile) in sums.iter_mut().zip(tile) {
            let sums = &mut sums[column..][..K::NR];
            kernel.store(tile[0], sums);
            kernel.store(tile[1], &mut sums[K::LANES..]);
        }
    }
}

/// One element of C by the definition alone, in integers: what the vectors are tested against. `left` is the row's
/// blocks as the cores round them, `right` the column's.
#[cfg(test)]
pub fn element<R: Rounding>(
    left: &[[u8; BLOCK_BYTES]],
    right: &[[u8; BLOCK_BYTES]],
    bias: f32,
    epilogue: Epilogue,
) -> half::bf16 {
    let mut sum = bias;
    for (left, right) in left.iter().zip(right) {
        let pairs = left[1..].iter().zip(&right[1..]);
        let dot: i32 = pairs
            .map(|(a, b)| i32::from(*a as i8) * i32::from(*b as i8))
            .sum();
        let exponent = i64::from(left[0]) + i64::from(right[0]) - 2 * (127 + 6);
        // Two to the power of the exponent: a normal number of f64 for all bytes.
        let unit = f64::from_bits(((1023 + exponent) as u64) << 52);
        sum += (f64::from(dot) * unit) as f32;
    }
    R::to_bf16(match epilogue {
        Epilogue::None => sum,
        Epilogue::Gelu => arithmetic::gelu::<R>(sum),
    })
}
