// SPDX-License-Identifier: MPL-2.0
//! What an instruction set provides to matrix products.

use std::mem::MaybeUninit;

use crate::element::Element;
use crate::micro_kernel::{self, DotStep, Operands, Tile};
use crate::simd::{DotI16, SimdOp};

/// Matrix multiplication by tiles: MR rows of the left operand times NR columns of the right one,
/// all sums held in registers.
///
/// Both operands hold [`GemmKernel::Value`]s. An instruction multiplies a k-group at once:
/// [`GemmKernel::K_GROUP`] values that are adjacent along the depth. The left operand is
/// row-major, so a row's k-groups are contiguous. The right operand is packed `[k-group, column,
/// place in the k-group]`.
pub trait GemmKernel: DotI16 {
    /// A matrix element in memory: f32 or bf16.
    type Value: Element;
    /// A register of LANES k-groups of values.
    type Operand: Copy;
    /// The sums of one tile.
    type Tile: Tile<Self::Vector>;
    /// A tile of 32-bit integers, as large.
    type SumTile: Tile<Self::Sums>;
    /// Values that one instruction multiplies and adds in a lane.
    const K_GROUP: usize;
    /// The k-alignment: depth is padded with zeros to a multiple of it, itself one of K_GROUP.
    const K_ALIGN: usize = Self::K_GROUP;
    /// Columns of a tile: two vectors.
    const NR: usize = 2 * Self::LANES;
    /// The name users see.
    const NAME: &'static str;

    /// Evaluates `operation` compiled for this instruction set.
    fn dispatch<O: SimdOp<Self>>(self, operation: O) -> O::Output;

    /// The value nearest to `x`.
    fn value(x: f32) -> Self::Value;
    /// Rounds to values and writes them, in order, to the first LANES elements of `to`.
    ///
    /// # Panics
    /// When `to` is shorter.
    fn narrow(self, x: Self::Vector, to: &mut [Self::Value]);
    /// Rounds vector number `half` of K_GROUP rows to values, stored column by column: the order of
    /// a right operand whose depth is the rows.
    ///
    /// # Panics
    /// When `to` has fewer than `LANES * K_GROUP` elements.
    fn narrow_group(self, rows: &[[Self::Vector; 2]], half: usize, to: &mut [Self::Value]);

    /// LANES adjacent k-groups.
    ///
    /// # Safety
    /// `LANES * K_GROUP` values must be readable at `from`.
    unsafe fn load_groups(self, from: *const Self::Value) -> Self::Operand;
    /// One k-group in every lane.
    ///
    /// # Safety
    /// `K_GROUP` values must be readable at `from`.
    unsafe fn broadcast_group(self, from: *const Self::Value) -> Self::Operand;
    /// `sum`, to each lane of which the dot product of that lane's k-groups in `a` and `b` is
    /// added.
    fn dot(self, sum: Self::Vector, a: Self::Operand, b: Self::Operand) -> Self::Vector;

    /// Prepares this thread for [`GemmKernel::multiply`]. Pairs of it and [`GemmKernel::end`] may
    /// be nested.
    #[inline(always)]
    fn begin(self) {}

    /// Ends what [`GemmKernel::begin`] began.
    #[inline(always)]
    fn end(self) {}

    /// The micro-kernel: `tile = bias + a b`, over whole [`GemmKernel::K_ALIGN`]s of depth.
    ///
    /// # Safety
    /// For each row r of the tile `k_groups * K_GROUP` values must be readable from
    /// `a + r a_stride`, and for each k-group g `NR * K_GROUP` values from `b + g b_stride`. This
    /// thread must be between [`GemmKernel::begin`] and [`GemmKernel::end`].
    #[inline(always)]
    unsafe fn multiply(
        self,
        tile: &mut MaybeUninit<Self::Tile>,
        bias: Option<[Self::Vector; 2]>,
        operands: Operands<Self::Value, Self::Value>,
    ) {
        let start = bias.unwrap_or([self.splat(0.0); 2]);
        // SAFETY: the caller promises the same.
        tile.write(unsafe { micro_kernel::multiply(ValueDot(self), start, operands) });
    }
}

/// Dot products of four unsigned by four signed bytes, summed in 32 bits: exact, so equal on all
/// machines.
///
/// They multiply 8-bit activations by 8-bit weights ([`w8a8`](crate::w8a8)). The k-group of bytes
/// is a quad.
pub trait DotI8: GemmKernel {
    /// A register of LANES quads.
    type Quads: Copy;
    /// The k-alignment of bytes: depth is padded with zeros to a multiple of it, itself one of
    /// [`QUAD`].
    const K_ALIGN_I8: usize = QUAD;

    /// LANES adjacent quads.
    ///
    /// # Safety
    /// 4 LANES bytes must be readable at `from`.
    unsafe fn load_quads(self, from: *const i8) -> Self::Quads;
    /// One quad in every lane.
    ///
    /// # Safety
    /// Four bytes must be readable at `from`.
    unsafe fn broadcast_quad(self, from: *const u8) -> Self::Quads;
    /// `sums`, to each lane of which the dot product of that lane's quads is added. Those in `a`
    /// are unsigned.
    fn dot_quads(self, sums: Self::Sums, a: Self::Quads, b: Self::Quads) -> Self::Sums;
    /// The first LANES sums of `from`.
    ///
    /// # Panics
    /// When `from` is shorter.
    fn load_sums(self, from: &[i32]) -> Self::Sums;
    /// The first LANES values of `from` as f32.
    ///
    /// # Panics
    /// When `from` is shorter.
    fn widen(self, from: &[Self::Value]) -> Self::Vector;
    /// Rounds numbers that an unsigned byte holds to the nearest integers, ties to even, and
    /// writes them to the first LANES elements of `to`.
    ///
    /// # Panics
    /// When `to` is shorter.
    fn round_to_u8(self, x: Self::Vector, to: &mut [u8]);

    /// The micro-kernel of bytes: `tile = offsets + a b`, over whole [`DotI8::K_ALIGN_I8`]s of
    /// depth.
    ///
    /// # Safety
    /// For each row r of the tile `4 k_groups` bytes must be readable from `a + r a_stride`, and
    /// `4 NR k_groups` bytes at `b`, whose k-groups must be adjacent (`b_stride = 4 NR`). This
    /// thread must be between [`GemmKernel::begin`] and [`GemmKernel::end`].
    #[inline(always)]
    unsafe fn multiply_quads(
        self,
        tile: &mut MaybeUninit<Self::SumTile>,
        offsets: [Self::Sums; 2],
        operands: Operands<u8, i8>,
    ) {
        // SAFETY: the caller promises the same.
        tile.write(unsafe { micro_kernel::multiply(QuadDot(self), offsets, operands) });
    }
}

/// The k-group of bytes: as many are multiplied in one lane.
pub const QUAD: usize = 4;

/// What no kernel's MR exceeds.
pub const MAX_MR: usize = 32;
/// What no kernel's NR exceeds.
pub const MAX_NR: usize = 32;

/// MR: rows of a tile of `K`.
pub const fn mr<K: GemmKernel>() -> usize {
    <K::Tile as Tile<K::Vector>>::ROWS
}

/// Multiplies [`GemmKernel::Value`]s.
#[derive(Clone, Copy, Debug)]
pub struct ValueDot<K>(pub K);

impl<K: GemmKernel> DotStep for ValueDot<K> {
    type Left = K::Value;
    type Right = K::Value;
    type Groups = K::Operand;
    type Sum = K::Vector;
    const K_GROUP: usize = K::K_GROUP;
    const LANES: usize = K::LANES;

    #[inline(always)]
    unsafe fn load(self, from: *const K::Value) -> K::Operand {
        // SAFETY: the caller promises the same.
        unsafe { self.0.load_groups(from) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, from: *const K::Value) -> K::Operand {
        // SAFETY: the caller promises the same.
        unsafe { self.0.broadcast_group(from) }
    }

    #[inline(always)]
    fn dot(self, sum: K::Vector, a: K::Operand, b: K::Operand) -> K::Vector {
        self.0.dot(sum, a, b)
    }
}

/// Multiplies unsigned by signed bytes.
#[derive(Clone, Copy, Debug)]
pub struct QuadDot<K>(pub K);

impl<K: DotI8> DotStep for QuadDot<K> {
    type Left = u8;
    type Right = i8;
    type Groups = K::Quads;
    type Sum = K::Sums;
    const K_GROUP: usize = QUAD;
    const LANES: usize = K::LANES;

    #[inline(always)]
    unsafe fn load(self, from: *const i8) -> K::Quads {
        // SAFETY: the caller promises the same.
        unsafe { self.0.load_quads(from) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, from: *const u8) -> K::Quads {
        // SAFETY: the caller promises the same.
        unsafe { self.0.broadcast_quad(from) }
    }

    #[inline(always)]
    fn dot(self, sums: K::Sums, a: K::Quads, b: K::Quads) -> K::Sums {
        self.0.dot_quads(sums, a, b)
    }
}
