// SPDX-License-Identifier: MPL-2.0
//! AVX-VNNI, which Intel's client processors have since Alder Lake, instead of AVX-512: 8-bit
//! products.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::avx2::{Avx2, IntegerUnit, has_avx2, narrow_integers};
use crate::kernel::DotI8;
use crate::simd::{SimdF32, SimdOp};

/// What AVX-VNNI adds to AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub struct Vnni;

impl Avx2<Vnni> {
    /// The kernel, where this machine has AVX2, FMA and AVX-VNNI.
    pub fn detect() -> Option<Self> {
        (has_avx2() && is_x86_feature_detected!("avxvnni")).then_some(Self(PhantomData))
    }
}

impl IntegerUnit for Vnni {
    const NAME: &'static str = "avx2-vnni";

    #[inline(always)]
    fn dispatch<O: SimdOp<Avx2<Self>>>(kernel: Avx2<Self>, operation: O) -> O::Output {
        #[target_feature(enable = "avx2,fma,avxvnni")]
        fn run<O: SimdOp<Avx2<Vnni>>>(kernel: Avx2<Vnni>, operation: O) -> O::Output {
            operation.eval(kernel)
        }
        // SAFETY: `kernel` proves that this machine has AVX2, FMA and AVX-VNNI.
        unsafe { run(kernel, operation) }
    }

    #[inline(always)]
    unsafe fn dot_pairs(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller promises AVX-VNNI.
        unsafe { dpwssd(sums, a, b) }
    }
}

/// `vpdpwssd`, in assembly: LLVM splits the intrinsic into a multiplication and an addition.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn dpwssd(mut sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the instruction reads and writes nothing but these registers.
    unsafe {
        asm!(
            "{{vex}} vpdpwssd {sums}, {a}, {b}",
            sums = inout(ymm_reg) sums,
            a = in(ymm_reg) a,
            b = in(ymm_reg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

impl DotI8 for Avx2<Vnni> {
    type Quads = __m256i;

    #[inline(always)]
    unsafe fn load_quads(self, from: *const i8) -> __m256i {
        // SAFETY: the caller promises 32 bytes.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast_quad(self, from: *const u8) -> __m256i {
        // SAFETY: the caller promises four bytes: one 32-bit lane.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn dot_quads(self, sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that this machine has AVX2, FMA and AVX-VNNI.
        unsafe { _mm256_dpbusd_avx_epi32(sums, a, b) }
    }

    #[inline(always)]
    fn load_sums(self, from: &[i32]) -> __m256i {
        let from = &from[..Self::LANES];
        // SAFETY: eight elements, checked above.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn widen(self, from: &[f32]) -> __m256 {
        self.load(from)
    }

    #[inline(always)]
    fn round_to_u8(self, x: __m256, to: &mut [u8]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: eight bytes, checked above; the store needs no alignment.
        unsafe {
            let halves = narrow_integers(_mm256_cvtps_epi32(x));
            _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packus_epi16(halves, halves));
        }
    }
}
