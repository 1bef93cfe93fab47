// SPDX-License-Identifier: MPL-2.0
//! Bytes on AVX-VNNI, which Intel's client processors since Alder Lake have, and no AVX-512.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::{Avx2, Products, has_avx2, narrow_integers, on_avx2};
use crate::attention::ByteBlock;
use crate::bytes::{ByteWeights, Bytes};
use crate::{SimdF32, SimdOp};

/// What AVX-VNNI adds to AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub struct Vnni;

impl Avx2<Vnni> {
    pub fn detect() -> Option<Self> {
        (has_avx2() && is_x86_feature_detected!("avxvnni")).then_some(Self(PhantomData))
    }
}

impl Products for Vnni {
    type Linear = ByteWeights<Avx2<Self>>;
    type Attention = ByteBlock<Avx2<Self>>;
    const NAME: &'static str = "avx2-vnni";

    #[inline(always)]
    fn dispatch<O: SimdOp<Avx2<Self>>>(kernel: Avx2<Self>, operation: O) -> O::Output {
        #[target_feature(enable = "avx2,fma,avxvnni")]
        fn run<O: SimdOp<Avx2<Vnni>>>(kernel: Avx2<Vnni>, operation: O) -> O::Output {
            operation.run(kernel)
        }
        on_avx2!(run(kernel, operation))
    }

    #[inline(always)]
    unsafe fn dot_pairs(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller promises AVX-VNNI.
        unsafe { dpwssd(sums, a, b) }
    }
}

/// `vpdpwssd` as it stands: of the intrinsic LLVM makes a multiplication and an addition again, as of AVX-512's.
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

impl Bytes for Avx2<Vnni> {
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
        on_avx2!(_mm256_dpbusd_avx_epi32(sums, a, b))
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
    fn round_bytes(self, x: __m256, to: &mut [u8]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: eight bytes, checked above; the store needs no alignment.
        unsafe {
            let halves = narrow_integers(_mm256_cvtps_epi32(x));
            _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packus_epi16(halves, halves));
        }
    }
}
