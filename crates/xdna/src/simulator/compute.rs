// SPDX-License-Identifier: MPL-2.0
//! The results of the 32 cores in a pass, bit for bit, on this machine's vector units.
//!
//! The dot product of two blocks of eight values is an integer of at most 18 bits times a power of
//! two, exact in f32 in any order. So one core's sum is `bias + block 0 + block 1 + …` in f32, with
//! one rounding each, in the order of depth. Values of blocks are exact in bf16, so every
//! [`GemmKernel`] can multiply them, and all give the same bits.

use std::marker::PhantomData;

use rayon::prelude::*;

use crate::arithmetic::{self, Rounding};
use crate::bfp16;
use crate::contract::{
    A_TILE_BYTES, B_TILE_BYTES, B_VALUE_BYTES, BLOCK_BYTES, C_TILE_BYTES, COLUMNS, Epilogue,
    PASS_ROWS, ROWS, SUB, TILE,
};
use crate::weights::BlockPosition;
use whisper_kernels::{ForKernel, GemmKernel, Isa, SimdOp, UnknownIsa};

/// One pass of the array: each core computes a tile of C.
pub struct Pass<'a> {
    /// Tiles in depth.
    pub k_tiles: usize,
    /// What happens to each sum.
    pub epilogue: Epilogue,
    /// The A stream of each core row: tiles of 64 × 64 bf16, row-major, in the order of depth.
    pub a: &'a [Vec<u8>; ROWS],
    /// The B stream of each array column, in the order of depth. Empty where the column is idle.
    pub b: &'a [Vec<u8>; COLUMNS],
    /// The C stream of each array column: 256 rows of 64 bf16. Untouched where the column is idle.
    pub c: &'a mut [Vec<u8>; COLUMNS],
}

/// The arithmetic of all cores.
pub trait CoreArithmetic: Send {
    /// Computes `pass.c`.
    fn compute(&mut self, pass: &mut Pass);
}

/// The arithmetic on the fastest instruction set that this machine has, or the one that the
/// environment names.
///
/// # Errors
///
/// If the environment names an unknown instruction set.
pub fn cores<R: Rounding>() -> Result<Box<dyn CoreArithmetic>, UnknownIsa> {
    on::<R>(Isa::choose()?)
}

/// The arithmetic on `isa`.
///
/// # Errors
///
/// If `isa` is not [available](Isa::available).
pub fn on<R: Rounding>(isa: Isa) -> Result<Box<dyn CoreArithmetic>, UnknownIsa> {
    Ok(isa.detect()?.dispatch(Make::<R>(PhantomData)))
}

struct Make<R>(PhantomData<R>);

impl<R: Rounding> ForKernel for Make<R> {
    type Output = Box<dyn CoreArithmetic>;

    fn run<K: GemmKernel>(self, kernel: K) -> Self::Output {
        Box::new(VectorArithmetic::<K, R> {
            kernel,
            a: Default::default(),
            b: Default::default(),
            rounding: PhantomData,
        })
    }
}

/// The arithmetic on one kernel, and the operands of a pass in the kernel's order, which are kept
/// to reuse their memory.
struct VectorArithmetic<K: GemmKernel, R> {
    kernel: K,
    /// (64, depth) for each core row.
    a: [Vec<K::Value>; ROWS],
    b: [PackedB<K>; COLUMNS],
    rounding: PhantomData<R>,
}

/// An array column of B in panels as [`whisper_kernels::pack::PackedBView::contiguous`] has them.
struct PackedB<K: GemmKernel> {
    values: Vec<K::Value>,
    bias: [f32; TILE],
}

// Not derived: that would ask for `K`'s own default.
impl<K: GemmKernel> Default for PackedB<K> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            bias: [0.0; TILE],
        }
    }
}

impl<K: GemmKernel, R: Rounding> CoreArithmetic for VectorArithmetic<K, R> {
    fn compute(&mut self, pass: &mut Pass) {
        let Self { kernel, a, b, .. } = self;
        let (kernel, depth) = (*kernel, pass.k_tiles * TILE);
        a.par_iter_mut().zip(pass.a).for_each(|(to, from)| {
            to.resize(TILE * depth, K::Value::default());
            kernel.dispatch(RoundA::<K, R> {
                from,
                depth,
                to,
                rounding: PhantomData,
            });
        });
        b.par_iter_mut().zip(pass.b).for_each(|(to, from)| {
            to.values.resize(TILE * depth, K::Value::default());
            if !from.is_empty() {
                kernel.dispatch(DecodeB { from, depth, to });
            }
        });
        let tiles = pass.c.par_iter_mut().zip(pass.b).zip(&*b);
        tiles
            .filter(|((_, from), _)| !from.is_empty())
            .flat_map(|((out, _), b)| {
                out.resize(PASS_ROWS * TILE * 2, 0);
                let rows = out.par_chunks_mut(C_TILE_BYTES).zip(&*a);
                rows.map(move |(out, a)| (out, a, b))
            })
            .for_each(|(out, a, b)| {
                kernel.dispatch(CoreTile::<K, R> {
                    a,
                    b,
                    depth,
                    epilogue: pass.epilogue,
                    out,
                    rounding: PhantomData,
                });
            });
    }
}

/// Rounds tiles of A to values of bfp16, as the cores do on the way to the multiplier.
struct RoundA<'a, K: GemmKernel, R> {
    from: &'a [u8],
    depth: usize,
    to: &'a mut [K::Value],
    rounding: PhantomData<R>,
}

impl<K: GemmKernel, R: Rounding> SimdOp<K> for RoundA<'_, K, R> {
    type Output = ();

    #[inline(always)]
    fn eval(self, _: K) {
        for (tile, from) in self.from.chunks_exact(A_TILE_BYTES).enumerate() {
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

/// Decodes tiles of B to the kernel's panels.
struct DecodeB<'a, K: GemmKernel> {
    from: &'a [u8],
    depth: usize,
    to: &'a mut PackedB<K>,
}

impl<K: GemmKernel> SimdOp<K> for DecodeB<'_, K> {
    type Output = ();

    #[inline(always)]
    fn eval(self, _: K) {
        for (tile, from) in self.from.chunks_exact(B_TILE_BYTES).enumerate() {
            let (values, bias) = from.split_at(B_VALUE_BYTES);
            if tile == 0 {
                for (to, from) in self.to.bias.iter_mut().zip(bias.as_chunks().0) {
                    *to = f32::from_le_bytes(*from);
                }
            }
            let blocks: &[[u8; BLOCK_BYTES]] = values.as_chunks().0;
            for (i, block) in blocks.iter().enumerate() {
                let position = BlockPosition::of(i);
                let (panel, lane) = (position.column / K::NR, position.column % K::NR);
                let k = tile * TILE + position.k;
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

/// Computes one core's tile of C.
struct CoreTile<'a, K: GemmKernel, R> {
    a: &'a [K::Value],
    b: &'a PackedB<K>,
    depth: usize,
    epilogue: Epilogue,
    /// 64 rows of 64 bf16.
    out: &'a mut [u8],
    rounding: PhantomData<R>,
}

/// Rows whose sums stay in registers at the same time.
const MR: usize = 4;

impl<K: GemmKernel, R: Rounding> SimdOp<K> for CoreTile<'_, K, R> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let mut sums = [[0.0; TILE]; MR];
        let outs = self.out.chunks_exact_mut(MR * TILE * 2);
        for (a, out) in self.a.chunks_exact(MR * self.depth).zip(outs) {
            for column in (0..TILE).step_by(K::NR) {
                self.b.multiply(kernel, a, self.depth, column, &mut sums);
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

impl<K: GemmKernel> PackedB<K> {
    /// Computes columns `column..column + K::NR` of [`MR`] rows.
    #[inline(always)]
    fn multiply(
        &self,
        kernel: K,
        a: &[K::Value],
        depth: usize,
        column: usize,
        sums: &mut [[f32; TILE]; MR],
    ) {
        let b = &self.values[column * depth..][..K::NR * depth];
        assert!(a.len() == MR * depth && depth.is_multiple_of(SUB));
        let bias = &self.bias[column..][..K::NR];
        let bias = [kernel.load(bias), kernel.load(&bias[K::LANES..])];
        let mut tile = [bias; MR];
        for k in (0..depth).step_by(SUB) {
            let mut block = [[kernel.splat(0.0); 2]; MR];
            for k in (k..k + SUB).step_by(K::K_GROUP) {
                // SAFETY: `b` has K::NR values for each of `depth`, and k + K_GROUP <= depth.
                let columns = unsafe {
                    let from = b.as_ptr().add(k * K::NR);
                    [
                        kernel.load_groups(from),
                        kernel.load_groups(from.add(K::LANES * K::K_GROUP)),
                    ]
                };
                for (row, block) in block.iter_mut().enumerate() {
                    // SAFETY: `a` has MR rows of `depth` values, and k + K_GROUP <= depth.
                    let a = unsafe { kernel.broadcast_group(a.as_ptr().add(row * depth + k)) };
                    block[0] = kernel.dot(block[0], a, columns[0]);
                    block[1] = kernel.dot(block[1], a, columns[1]);
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

/// One element of C by the definition alone, in integers, to test the vectors against. `a` has the
/// row's blocks as the cores round them, `b` the column's.
#[cfg(test)]
pub fn element<R: Rounding>(
    a: &[[u8; BLOCK_BYTES]],
    b: &[[u8; BLOCK_BYTES]],
    bias: f32,
    epilogue: Epilogue,
) -> half::bf16 {
    let mut sum = bias;
    for (a, b) in a.iter().zip(b) {
        let pairs = a[1..].iter().zip(&b[1..]);
        let dot: i32 = pairs
            .map(|(a, b)| i32::from(*a as i8) * i32::from(*b as i8))
            .sum();
        let exponent = i64::from(a[0]) + i64::from(b[0]) - 2 * (127 + 6);
        // Two to the power of the exponent: a normal number of f64 for all bytes.
        let unit = f64::from_bits(((1023 + exponent) as u64) << 52);
        sum += (f64::from(dot) * unit) as f32;
    }
    R::to_bf16(match epilogue {
        Epilogue::None => sum,
        Epilogue::Gelu => arithmetic::gelu::<R>(sum),
    })
}
