// SPDX-License-Identifier: MPL-2.0
//! The results of the 32 cores in a pass, bit for bit, on this machine's vector units.
//!
//! The dot product of two blocks of eight values is an integer of at most 18 bits times a power of
//! two, exact in f32 in any order. So one core's sum is `0 + block 0 + block 1 + …` in f32, with one
//! rounding each, in the order of depth. Values of blocks are exact in bf16, so every [`GemmKernel`]
//! can multiply them, and all give the same bits.

use half::bf16;
use rayon::prelude::*;

use crate::bfp16;
use crate::contract::{
    A_TILE_BYTES, B_TILE_BYTES, BLOCK_BYTES, C_TILE_BYTES, COLUMNS, Output, ROWS, SUB, TILE,
    TILE_ROWS,
};
use crate::pack::position;
use whisper_kernels::{ForKernel, GemmKernel, Isa, SimdOp, UnknownIsa};

/// One pass of the array: each core computes a tile of C.
pub struct Pass<'a> {
    /// Tiles in depth.
    pub k_tiles: usize,
    /// What becomes of the sums.
    pub output: Output,
    /// The A stream of each core row: tiles in the order of depth.
    pub a: &'a [Vec<u8>; ROWS],
    /// The B stream of each array column, in the order of depth.
    pub b: &'a [Vec<u8>; COLUMNS],
    /// The C stream of each array column: 512 rows of 64 words.
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
pub fn cores() -> Result<Box<dyn CoreArithmetic>, UnknownIsa> {
    on(Isa::choose()?)
}

/// The arithmetic on `isa`.
///
/// # Errors
///
/// If `isa` is not [available](Isa::available).
pub fn on(isa: Isa) -> Result<Box<dyn CoreArithmetic>, UnknownIsa> {
    Ok(isa.detect()?.dispatch(Make))
}

struct Make;

impl ForKernel for Make {
    type Output = Box<dyn CoreArithmetic>;

    fn run<K: GemmKernel>(self, kernel: K) -> Self::Output {
        Box::new(VectorArithmetic::<K> {
            kernel,
            a: Default::default(),
            b: Default::default(),
        })
    }
}

/// The arithmetic on one kernel, and the operands of a pass in the kernel's order, which are kept
/// to reuse their memory.
struct VectorArithmetic<K: GemmKernel> {
    kernel: K,
    /// (128, depth) for each core row.
    a: [Vec<K::Value>; ROWS],
    /// Panels as [`whisper_kernels::pack::PackedBView::contiguous`] has them, for each column.
    b: [Vec<K::Value>; COLUMNS],
}

impl<K: GemmKernel> CoreArithmetic for VectorArithmetic<K> {
    fn compute(&mut self, pass: &mut Pass) {
        let Self { kernel, a, b } = self;
        let (kernel, depth) = (*kernel, pass.k_tiles * TILE);
        a.par_iter_mut().zip(pass.a).for_each(|(to, from)| {
            to.resize(TILE_ROWS * depth, K::Value::default());
            kernel.dispatch(DecodeA { from, depth, to });
        });
        b.par_iter_mut().zip(pass.b).for_each(|(to, from)| {
            to.resize(TILE * depth, K::Value::default());
            kernel.dispatch(DecodeB { from, depth, to });
        });
        let output = pass.output;
        let tiles = pass.c.par_iter_mut().zip(&*b);
        tiles
            .flat_map(|(out, b)| {
                out.resize(ROWS * C_TILE_BYTES, 0);
                let rows = out.par_chunks_mut(C_TILE_BYTES).zip(&*a);
                rows.map(move |(out, a)| (out, a, b))
            })
            .for_each(|(out, a, b)| {
                let mut sums = vec![0.0; TILE_ROWS * TILE];
                let sums_out = &mut sums;
                kernel.dispatch(CoreTile {
                    a,
                    b,
                    depth,
                    sums: sums_out,
                });
                match output {
                    Output::F32 => words(&sums, out),
                    Output::Bf16 => words(&halved(&sums), out),
                }
            });
    }
}

fn words(values: &[f32], out: &mut [u8]) {
    for (out, x) in out.chunks_exact_mut(4).zip(values) {
        out.copy_from_slice(&x.to_le_bytes());
    }
}

/// Where a tile has word `word` of its sub-tiles, row-major in rows of sub-tiles, once the memory
/// tile has sent it as rows.
const fn in_rows(word: usize) -> usize {
    let (sub, within) = (word / (SUB * SUB), word % (SUB * SUB));
    let (row, column) = (sub / (TILE / SUB), sub % (TILE / SUB));
    (row * SUB + within / SUB) * TILE + column * SUB + within % SUB
}

/// A tile whose core has put the sums as bf16 to the front of its sub-tiles. The rest stays.
fn halved(sums: &[f32]) -> Vec<f32> {
    let mut out = sums.to_vec();
    let rounded = |word: usize| u32::from(bf16::from_f32(sums[in_rows(word)]).to_bits());
    for word in 0..sums.len() / 2 {
        let pair = rounded(2 * word) | rounded(2 * word + 1) << 16;
        out[in_rows(word)] = f32::from_bits(pair);
    }
    out
}

/// Decodes tiles of A to rows.
struct DecodeA<'a, K: GemmKernel> {
    from: &'a [u8],
    depth: usize,
    to: &'a mut [K::Value],
}

impl<K: GemmKernel> SimdOp<K> for DecodeA<'_, K> {
    type Output = ();

    #[inline(always)]
    fn eval(self, _: K) {
        for (tile, from) in self.from.chunks_exact(A_TILE_BYTES).enumerate() {
            let blocks: &[[u8; BLOCK_BYTES]] = from.as_chunks().0;
            for (i, block) in blocks.iter().enumerate() {
                let (row, block_of_row) = position(i);
                let at = row * self.depth + tile * TILE + block_of_row * SUB;
                for (to, x) in self.to[at..][..SUB].iter_mut().zip(bfp16::decode(block)) {
                    *to = K::value(x);
                }
            }
        }
    }
}

/// Decodes tiles of B to the kernel's panels.
struct DecodeB<'a, K: GemmKernel> {
    from: &'a [u8],
    depth: usize,
    to: &'a mut [K::Value],
}

impl<K: GemmKernel> SimdOp<K> for DecodeB<'_, K> {
    type Output = ();

    #[inline(always)]
    fn eval(self, _: K) {
        for (tile, from) in self.from.chunks_exact(B_TILE_BYTES).enumerate() {
            let blocks: &[[u8; BLOCK_BYTES]] = from.as_chunks().0;
            for (i, block) in blocks.iter().enumerate() {
                let (column, block_of_row) = position(i);
                let (panel, lane) = (column / K::NR, column % K::NR);
                let k = tile * TILE + block_of_row * SUB;
                let first = panel * self.depth * K::NR + k * K::NR + lane * K::K_GROUP;
                let groups = self.to[first..].chunks_mut(K::NR * K::K_GROUP);
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

/// Computes one core's tile of sums.
struct CoreTile<'a, K: GemmKernel> {
    a: &'a [K::Value],
    b: &'a [K::Value],
    depth: usize,
    /// 128 rows of 64.
    sums: &'a mut [f32],
}

/// Rows whose sums stay in registers at the same time.
const MR: usize = 4;

impl<K: GemmKernel> SimdOp<K> for CoreTile<'_, K> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let sums = self.sums.chunks_exact_mut(MR * TILE);
        for (a, sums) in self.a.chunks_exact(MR * self.depth).zip(sums) {
            for column in (0..TILE).step_by(K::NR) {
                let b = &self.b[column * self.depth..][..K::NR * self.depth];
                multiply(kernel, a, b, &mut sums[column..]);
            }
        }
    }
}

/// Computes K::NR columns, those of `b`, of [`MR`] rows.
#[inline(always)]
fn multiply<K: GemmKernel>(kernel: K, a: &[K::Value], b: &[K::Value], sums: &mut [f32]) {
    let depth = a.len() / MR;
    assert!(b.len() == K::NR * depth && depth.is_multiple_of(SUB));
    let mut tile = [[kernel.splat(0.0); 2]; MR];
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
    for (sums, tile) in sums.chunks_mut(TILE).zip(tile) {
        kernel.store(tile[0], sums);
        kernel.store(tile[1], &mut sums[K::LANES..]);
    }
}

/// One sum by the definition alone, in integers, to test the vectors against: `a` has the row's
/// blocks, `b` the column's.
#[cfg(test)]
pub fn element(a: &[[u8; BLOCK_BYTES]], b: &[[u8; BLOCK_BYTES]]) -> f32 {
    let mut sum = 0.0;
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
    sum
}
