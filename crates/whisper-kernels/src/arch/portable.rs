// SPDX-License-Identifier: MPL-2.0
//! Any machine: arrays that the compiler turns into the vectors of the target.

use std::array::from_fn;

use crate::kernel::{DotI8, GemmKernel};
use crate::simd::{DotI16, SimdF32, SimdOp};

const LANES: usize = 4;

/// The kernel that every machine has.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

/// 1.5 · 2²³: adding and subtracting it rounds to a whole number, left in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// ⌊x⌋ + ROUND: rounds half a unit lower. Whole numbers may go to the one below.
#[inline(always)]
fn floor_in_low_bits(x: f32) -> f32 {
    (x - 0.5) + ROUND
}

impl SimdF32 for Portable {
    type Vector = [f32; LANES];
    const LANES: usize = LANES;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        from_fn(|i| from[i])
    }

    #[inline(always)]
    fn store(self, x: Self::Vector, to: &mut [f32]) {
        to[..LANES].copy_from_slice(&x);
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        from_fn(|i| a[i] / b[i])
    }

    // Not `f32::mul_add`, which is a library call where there is no such instruction.
    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn fraction(self, x: Self::Vector) -> Self::Vector {
        from_fn(|i| x[i] - (floor_in_low_bits(x[i]) - ROUND))
    }

    #[inline(always)]
    fn scale_by_exp2(self, p: Self::Vector, x: Self::Vector) -> Self::Vector {
        from_fn(|i| {
            let exponent = floor_in_low_bits(x[i])
                .to_bits()
                .wrapping_sub(ROUND.to_bits())
                .wrapping_add(127);
            p[i] * f32::from_bits(exponent << 23)
        })
    }

    #[inline(always)]
    fn reduce_sum(self, x: Self::Vector) -> f32 {
        (x[0] + x[1]) + (x[2] + x[3])
    }

    #[inline(always)]
    fn reduce_max(self, x: Self::Vector) -> f32 {
        x[0].max(x[1]).max(x[2].max(x[3]))
    }
}

impl DotI16 for Portable {
    type Sums = [i32; LANES];
    type Pairs = [[i16; 2]; LANES];

    #[inline(always)]
    fn zero_sums(self) -> Self::Sums {
        [0; LANES]
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i8) -> Self::Pairs {
        // SAFETY: the caller promises 2 LANES bytes; an array of them needs no more alignment than
        // one.
        let bytes = unsafe { from.cast::<[[i8; 2]; LANES]>().read() };
        bytes.map(|pair| pair.map(i16::from))
    }

    #[inline(always)]
    unsafe fn broadcast_pair(self, from: *const i16) -> Self::Pairs {
        // SAFETY: the caller promises two integers; an array of them needs no more alignment than
        // one.
        [unsafe { from.cast::<[i16; 2]>().read() }; LANES]
    }

    #[inline(always)]
    fn dot_pairs(self, sums: Self::Sums, a: Self::Pairs, b: Self::Pairs) -> Self::Sums {
        let product = |i: usize, j: usize| i32::from(a[i][j]) * i32::from(b[i][j]);
        from_fn(|i| sums[i] + product(i, 0) + product(i, 1))
    }

    #[inline(always)]
    fn add_sums(self, a: Self::Sums, b: Self::Sums) -> Self::Sums {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sums_to_f32(self, sums: Self::Sums) -> Self::Vector {
        sums.map(|sum| sum as f32)
    }

    #[inline(always)]
    fn round_to_i16(self, x: Self::Vector, to: &mut [i16]) {
        to[..LANES].copy_from_slice(&x.map(|x| ((x + ROUND) - ROUND) as i16));
    }
}

impl GemmKernel for Portable {
    type Value = f32;
    type Operand = [f32; LANES];
    type Tile = [[[f32; LANES]; 2]; 4];
    type SumTile = [[[i32; LANES]; 2]; 4];
    const K_GROUP: usize = 1;
    const NAME: &'static str = "portable";

    #[inline(always)]
    fn dispatch<O: SimdOp<Self>>(self, operation: O) -> O::Output {
        operation.eval(self)
    }

    #[inline(always)]
    fn value(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn narrow(self, x: Self::Vector, to: &mut [f32]) {
        self.store(x, to);
    }

    #[inline(always)]
    fn narrow_group(self, rows: &[[Self::Vector; 2]], half: usize, to: &mut [f32]) {
        self.store(rows[0][half], to);
    }

    #[inline(always)]
    unsafe fn load_groups(self, from: *const f32) -> Self::Operand {
        // SAFETY: the caller promises LANES values; an array of them needs no more alignment than
        // one.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn broadcast_group(self, from: *const f32) -> Self::Operand {
        // SAFETY: the caller promises one value.
        [unsafe { from.read() }; LANES]
    }

    #[inline(always)]
    fn dot(self, sum: Self::Vector, a: Self::Operand, b: Self::Operand) -> Self::Vector {
        self.mul_add(a, b, sum)
    }
}

/// The portable twin of the instructions, for tests. Products use f32 here, which is no slower.
impl DotI8 for Portable {
    type Quads = [[i16; 4]; LANES];

    #[inline(always)]
    unsafe fn load_quads(self, from: *const i8) -> Self::Quads {
        // SAFETY: the caller promises 4 LANES bytes; an array of them needs no more alignment than
        // one.
        let bytes = unsafe { from.cast::<[[i8; 4]; LANES]>().read() };
        bytes.map(|quad| quad.map(i16::from))
    }

    #[inline(always)]
    unsafe fn broadcast_quad(self, from: *const u8) -> Self::Quads {
        // SAFETY: the caller promises four bytes; an array of them needs no more alignment than
        // one.
        let quad = unsafe { from.cast::<[u8; 4]>().read() };
        [quad.map(i16::from); LANES]
    }

    #[inline(always)]
    fn dot_quads(self, sums: Self::Sums, a: Self::Quads, b: Self::Quads) -> Self::Sums {
        let product = |i: usize| {
            let pairs = a[i].iter().zip(b[i]);
            pairs
                .map(|(a, b)| i32::from(*a) * i32::from(b))
                .sum::<i32>()
        };
        from_fn(|i| sums[i] + product(i))
    }

    #[inline(always)]
    fn load_sums(self, from: &[i32]) -> Self::Sums {
        from_fn(|i| from[i])
    }

    #[inline(always)]
    fn widen(self, from: &[f32]) -> Self::Vector {
        self.load(from)
    }

    #[inline(always)]
    fn round_to_u8(self, x: Self::Vector, to: &mut [u8]) {
        to[..LANES].copy_from_slice(&x.map(|x| ((x + ROUND) - ROUND) as u8));
    }
}
