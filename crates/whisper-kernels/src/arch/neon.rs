// SPDX-License-Identifier: MPL-2.0
//! 64-bit Arm with NEON: matrices in f32.

use std::arch::aarch64::*;

use crate::kernel::GemmKernel;
use crate::simd::{DotI16, SimdF32, SimdOp};

/// Proves NEON.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// The kernel, where this machine has NEON.
    pub fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

impl SimdF32 for Neon {
    type Vector = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> float32x4_t {
        let from = &from[..Self::LANES];
        // SAFETY: four elements, checked above.
        unsafe { vld1q_f32(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: float32x4_t, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: four elements, checked above.
        unsafe { vst1q_f32(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vdivq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    fn fraction(self, x: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vsubq_f32(x, vrndmq_f32(x)) }
    }

    #[inline(always)]
    fn scale_by_exp2(self, p: float32x4_t, x: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe {
            let floor = vcvtmq_s32_f32(x);
            let exponent = vaddq_s32(floor, vdupq_n_s32(127));
            vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        }
    }

    #[inline(always)]
    fn reduce_sum(self, x: float32x4_t) -> f32 {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vaddvq_f32(x) }
    }

    #[inline(always)]
    fn reduce_max(self, x: float32x4_t) -> f32 {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vmaxvq_f32(x) }
    }
}

impl DotI16 for Neon {
    type Sums = int32x4_t;
    type Pairs = int16x8_t;

    #[inline(always)]
    fn zero_sums(self) -> int32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i8) -> int16x8_t {
        // SAFETY: the caller promises eight bytes.
        unsafe { vmovl_s8(vld1_s8(from)) }
    }

    #[inline(always)]
    unsafe fn broadcast_pair(self, from: *const i16) -> int16x8_t {
        // SAFETY: the caller promises two integers: one 32-bit lane.
        unsafe { vreinterpretq_s16_s32(vdupq_n_s32(from.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    fn dot_pairs(self, sums: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe {
            let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
            vaddq_s32(sums, vpaddq_s32(low, vmull_high_s16(a, b)))
        }
    }

    #[inline(always)]
    fn add_sums(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vaddq_s32(a, b) }
    }

    #[inline(always)]
    fn sums_to_f32(self, sums: int32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { vcvtq_f32_s32(sums) }
    }

    #[inline(always)]
    fn round_to_i16(self, x: float32x4_t, to: &mut [i16]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: four 16-bit elements, checked above.
        unsafe { vst1_s16(to.as_mut_ptr(), vqmovn_s32(vcvtnq_s32_f32(x))) }
    }
}

impl GemmKernel for Neon {
    type Value = f32;
    type Operand = float32x4_t;
    /// 24 sums, two columns and the broadcasts: 27 of 32 registers.
    type Tile = [[float32x4_t; 2]; 12];
    type SumTile = [[int32x4_t; 2]; 12];
    const K_GROUP: usize = 1;
    const NAME: &'static str = "neon";

    #[inline(always)]
    fn dispatch<O: SimdOp<Self>>(self, operation: O) -> O::Output {
        #[target_feature(enable = "neon")]
        fn run<O: SimdOp<Neon>>(kernel: Neon, operation: O) -> O::Output {
            operation.eval(kernel)
        }
        // SAFETY: `self` proves that this machine has NEON.
        unsafe { run(self, operation) }
    }

    #[inline(always)]
    fn value(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn narrow(self, x: float32x4_t, to: &mut [f32]) {
        self.store(x, to);
    }

    #[inline(always)]
    fn narrow_group(self, rows: &[[float32x4_t; 2]], half: usize, to: &mut [f32]) {
        self.store(rows[0][half], to);
    }

    #[inline(always)]
    unsafe fn load_groups(self, from: *const f32) -> float32x4_t {
        // SAFETY: the caller promises four values.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn broadcast_group(self, from: *const f32) -> float32x4_t {
        // SAFETY: the caller promises one value.
        unsafe { vdupq_n_f32(*from) }
    }

    #[inline(always)]
    fn dot(self, sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.mul_add(a, b, sum)
    }
}
