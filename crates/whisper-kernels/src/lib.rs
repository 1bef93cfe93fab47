// SPDX-License-Identifier: MPL-2.0
//! The arithmetic of encoder and decoder on the CPU, each loop written once for all instruction sets.
//!
//! [`SimdF32`] is plain f32 vector arithmetic; [`GemmKernel`] adds the inner product that matrix multiplication
//! consists of, in whatever number format the instruction set multiplies fastest.
//!
//! | room | what it does |
//! |---|---|
//! | `isa` | which instruction set, chosen at run time |
//! | `portable`, `avx2` (with `vnni`), `avx512` (with `products`, `amx`), `neon` | what each instruction set offers |
//! | `pack`, `gemm`, `epilogue` | weights in the kernel's order; the multiplication; what becomes of its tiles |
//! | `bytes`, `linear` | rows and weights of 8 bits: twice the products; either format as a layer |
//! | `quantized` | weights of 8 bits and finer rows: half of the memory to read |
//! | `attention`, `decoder_attention` | attention of a whole window; of few queries that may be watched |
//! | `norm`, `math` | the other operations |
//! | `buffer` | memory that starts at a cache line |

pub mod attention;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod buffer;
pub mod bytes;
pub mod decoder_attention;
pub mod epilogue;
pub mod gemm;
mod isa;
pub mod linear;
pub mod math;
#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod norm;
pub mod pack;
pub mod portable;
pub mod quantized;

use std::mem::MaybeUninit;

pub use isa::{Isa, UnknownIsa, VARIABLE};

/// f32 arithmetic on vectors of [`SimdF32::LANES`] elements.
///
/// A value of an implementing type is the proof that this machine has the instructions: such a value comes
/// only from the type's `detect`. The methods are always inlined; they become single instructions inside
/// [`GemmKernel::dispatch`].
pub trait SimdF32: Copy + Send + Sync + 'static {
    type Vector: Copy;
    const LANES: usize;

    fn splat(self, x: f32) -> Self::Vector;
    /// The first [`SimdF32::LANES`] elements; panics when there are fewer.
    fn load(self, from: &[f32]) -> Self::Vector;
    /// To the first [`SimdF32::LANES`] elements; panics when there are fewer.
    fn store(self, x: Self::Vector, to: &mut [f32]);
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a b + c`
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `x - ⌊x⌋` for x in [-126, 128); 0 or 1 for whole numbers.
    fn fraction(self, x: Self::Vector) -> Self::Vector;
    /// `p 2^⌊x⌋` for the same x, with the same notion of ⌊x⌋ as [`SimdF32::fraction`].
    fn scale_by_exp2(self, p: Self::Vector, x: Self::Vector) -> Self::Vector;
    /// Sum of all lanes.
    fn sum(self, x: Self::Vector) -> f32;
    /// Largest of all lanes.
    fn largest(self, x: Self::Vector) -> f32;
}

/// Products of 8-bit weights and 16-bit activations, summed in 32 bits: exact, so the same on all machines.
pub trait DotI16: SimdF32 {
    /// LANES sums.
    type Sums: Copy;
    /// A register of LANES pairs of 16-bit integers.
    type Pairs: Copy;

    fn no_sums(self) -> Self::Sums;
    /// Widens 2 LANES bytes.
    ///
    /// # Safety
    /// 2 LANES bytes must be readable at `from`.
    unsafe fn load_pairs(self, from: *const i8) -> Self::Pairs;
    /// # Safety
    /// Two integers must be readable at `from`.
    unsafe fn broadcast_pair(self, from: *const i16) -> Self::Pairs;
    /// Adds to each lane of `sums` the inner product of that lane's pairs in `a` and `b`.
    fn dot_pairs(self, sums: Self::Sums, a: Self::Pairs, b: Self::Pairs) -> Self::Sums;
    fn add_sums(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    fn floats(self, sums: Self::Sums) -> Self::Vector;
    /// Rounds numbers that 16 bits hold to whole ones, to the first LANES of `to`; panics when there are fewer.
    fn round(self, x: Self::Vector, to: &mut [i16]);
}

/// Matrix multiplication by tiles: [`Tile::ROWS`] rows of the left operand times two vectors of columns of the
/// right one, all sums held in registers.
///
/// Both operands hold [`GemmKernel::Value`]s. The instruction set multiplies groups of [`GemmKernel::K_GROUP`] values
/// that are adjacent along the depth (the axis that is summed over): the left operand is row-major, so that a
/// group is contiguous; the right operand keeps, for each step of K_GROUP in depth, its columns side by side with
/// each column's group together.
pub trait GemmKernel: DotI16 {
    /// A matrix element in memory.
    type Value: Copy + Default + Into<f32> + Send + Sync + 'static;
    /// A register of LANES groups of values.
    type Operand: Copy;
    /// The sums of one tile.
    type Tile: Tile<Self::Vector>;
    /// A tile of integers, as large.
    type SumTile: Tile<Self::Sums>;
    /// The linear layers of the encoder.
    type Linear: linear::Linear<Self>;
    /// The encoder's attention.
    type Attention: attention::Block<Self>;
    const K_GROUP: usize;
    /// What the right operand's depth is filled up to with zeros, a multiple of K_GROUP.
    const K_ALIGN: usize = Self::K_GROUP;
    /// Columns of a tile: two vectors.
    const NR: usize = 2 * Self::LANES;
    /// The name users see.
    const NAME: &'static str;

    /// Runs `operation` compiled for this instruction set.
    fn dispatch<O: SimdOp<Self>>(self, operation: O) -> O::Output;

    fn value(x: f32) -> Self::Value;
    /// Rounds to values, stored in order; panics when `to` has fewer than LANES elements.
    fn narrow(self, x: Self::Vector, to: &mut [Self::Value]);
    /// Rounds K_GROUP rows to values, stored column by column; panics when `to` has fewer than LANES * K_GROUP.
    fn narrow_group(self, rows: &[[Self::Vector; 2]], half: usize, to: &mut [Self::Value]);

    /// # Safety
    /// LANES * K_GROUP values must be readable at `from`.
    unsafe fn load_groups(self, from: *const Self::Value) -> Self::Operand;
    /// # Safety
    /// K_GROUP values must be readable at `from`.
    unsafe fn broadcast_group(self, from: *const Self::Value) -> Self::Operand;
    /// Adds to each lane of `sum` the inner product of that lane's groups in `a` and `b`.
    fn dot(self, sum: Self::Vector, a: Self::Operand, b: Self::Operand) -> Self::Vector;

    /// Comes before any [`GemmKernel::multiply`], in the same thread. Pairs of it and [`GemmKernel::end`] may be nested.
    #[inline(always)]
    fn begin(self) {}

    /// Comes after the last one.
    #[inline(always)]
    fn end(self) {}

    /// `tile = bias + a b` over `steps` groups of depth, whole [`GemmKernel::K_ALIGN`]s: the innermost loop of everything.
    ///
    /// `a` is the left operand's first row, its rows `a_stride` values apart. `b` is the right operand's first
    /// group in this tile's first column; consecutive groups of depth are `b_stride` values apart.
    ///
    /// # Safety
    /// For each row r of the tile `steps * K_GROUP` values must be readable from `a + r a_stride`, and for each step
    /// s `NR * K_GROUP` values from `b + s b_stride`. [`GemmKernel::begin`] must have come before.
    #[inline(always)]
    unsafe fn multiply(
        self,
        tile: &mut MaybeUninit<Self::Tile>,
        bias: Option<[Self::Vector; 2]>,
        steps: usize,
        a: (*const Self::Value, usize),
        b: (*const Self::Value, usize),
    ) {
        // SAFETY: the caller promises the same.
        tile.write(unsafe { product(self, bias, steps, a, b) });
    }
}

/// Work that is the same whatever the kernel: what [`Isa::dispatch`] calls.
pub trait ForKernel {
    type Output;
    fn run<K: GemmKernel>(self, kernel: K) -> Self::Output;
}

/// A loop nest that [`GemmKernel::dispatch`] compiles per instruction set. `run` must be `#[inline(always)]`.
pub trait SimdOp<K> {
    type Output;
    fn run(self, kernel: K) -> Self::Output;
}

/// The sums of a tile: rows of two vectors.
pub trait Tile<V>: Copy {
    const ROWS: usize;
    fn splat(x: [V; 2]) -> Self;
    fn rows(&self) -> &[[V; 2]];
    fn rows_mut(&mut self) -> &mut [[V; 2]];
}

impl<V: Copy, const ROWS: usize> Tile<V> for [[V; 2]; ROWS] {
    const ROWS: usize = ROWS;

    #[inline(always)]
    fn splat(x: [V; 2]) -> Self {
        [x; ROWS]
    }

    #[inline(always)]
    fn rows(&self) -> &[[V; 2]] {
        self
    }

    #[inline(always)]
    fn rows_mut(&mut self) -> &mut [[V; 2]] {
        self
    }
}

/// What no kernel's tile exceeds.
pub const MAX_MR: usize = 32;
pub const MAX_NR: usize = 32;

/// Rows of a tile of `K`.
pub const fn mr<K: GemmKernel>() -> usize {
    <K::Tile as Tile<K::Vector>>::ROWS
}

/// What [`GemmKernel::multiply`] writes, computed in vectors.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn product<K: GemmKernel>(
    kernel: K,
    bias: Option<[K::Vector; 2]>,
    steps: usize,
    (a, a_stride): (*const K::Value, usize),
    (b, b_stride): (*const K::Value, usize),
) -> K::Tile {
    let mut tile = K::Tile::splat(bias.unwrap_or([kernel.splat(0.0); 2]));
    for step in 0..steps {
        // SAFETY: within what the caller promises for this step and these columns.
        let columns = unsafe {
            let b = b.add(step * b_stride);
            [
                kernel.load_groups(b),
                kernel.load_groups(b.add(K::LANES * K::K_GROUP)),
            ]
        };
        for (row, sums) in tile.rows_mut().iter_mut().enumerate() {
            // SAFETY: within what the caller promises for this row.
            let left = unsafe { kernel.broadcast_group(a.add(row * a_stride + step * K::K_GROUP)) };
            sums[0] = kernel.dot(sums[0], left, columns[0]);
            sums[1] = kernel.dot(sums[1], left, columns[1]);
        }
    }
    tile
}

#[cfg(test)]
mod tests;
