// SPDX-License-Identifier: MPL-2.0
//! x86-64 with AVX-512 F, BW, DQ and VL, Intel since Skylake-SP and AMD since Zen 4: matrices in
//! f32.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use crate::kernel::GemmKernel;
use crate::simd::{DotI16, SimdF32, SimdOp};

/// Proves AVX-512 F, BW, DQ and VL, with `V` = [`bf16`](half::bf16) also AVX-512 BF16 and VNNI, and
/// with [`Amx`](super::amx::Amx) AMX besides.
#[derive(Clone, Copy, Debug)]
pub struct Avx512<V>(pub(super) PhantomData<V>);

pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

impl Avx512<f32> {
    /// The kernel, where this machine has AVX-512 F, BW, DQ and VL.
    pub fn detect() -> Option<Self> {
        has_avx512().then_some(Self(PhantomData))
    }
}

impl<V> Avx512<V> {
    /// The kernel of matrices in f32, which this one's machine has.
    pub fn f32(self) -> Avx512<f32> {
        Avx512(PhantomData)
    }
}

/// How a machine multiplies integers.
pub trait IntegerUnit: Copy + Send + Sync + 'static {
    /// `sums` plus the dot products of pairs of 16-bit integers.
    ///
    /// # Safety
    /// This machine must have what [`Avx512`] of this type stands for.
    unsafe fn dot_pairs(sums: __m512i, a: __m512i, b: __m512i) -> __m512i;
}

impl IntegerUnit for f32 {
    #[inline(always)]
    unsafe fn dot_pairs(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller promises AVX-512 F and BW.
        unsafe { _mm512_add_epi32(sums, _mm512_madd_epi16(a, b)) }
    }
}

impl<V: Copy + Send + Sync + 'static> SimdF32 for Avx512<V> {
    type Vector = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..Self::LANES];
        // SAFETY: sixteen elements, checked above.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: sixteen elements, checked above.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn fraction(self, x: __m512) -> __m512 {
        // Whole part taken off rounding down, no exceptions.
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_reduce_ps::<0x09>(x) }
    }

    #[inline(always)]
    fn scale_by_exp2(self, p: __m512, x: __m512) -> __m512 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_scalef_ps(p, x) }
    }

    #[inline(always)]
    fn reduce_sum(self, x: __m512) -> f32 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_reduce_add_ps(x) }
    }

    #[inline(always)]
    fn reduce_max(self, x: __m512) -> f32 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_reduce_max_ps(x) }
    }
}

impl<V: IntegerUnit> DotI16 for Avx512<V> {
    type Sums = __m512i;
    type Pairs = __m512i;

    #[inline(always)]
    fn zero_sums(self) -> __m512i {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i8) -> __m512i {
        // SAFETY: the caller promises 32 bytes.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn broadcast_pair(self, from: *const i16) -> __m512i {
        // SAFETY: the caller promises two integers: one 32-bit lane.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn dot_pairs(self, sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that this machine has what its type stands for.
        unsafe { V::dot_pairs(sums, a, b) }
    }

    #[inline(always)]
    fn add_sums(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn sums_to_f32(self, sums: __m512i) -> __m512 {
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    fn round_to_i16(self, x: __m512, to: &mut [i16]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: sixteen 16-bit elements, checked above; the store needs no alignment.
        unsafe {
            let whole = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), whole);
        }
    }
}

impl GemmKernel for Avx512<f32> {
    type Value = f32;
    type Operand = __m512;
    /// 24 sums, two columns and the broadcasts: 27 of 32 registers.
    type Tile = [[__m512; 2]; 12];
    type SumTile = [[__m512i; 2]; 12];
    const K_GROUP: usize = 1;
    const NAME: &'static str = "avx512";

    #[inline(always)]
    fn dispatch<O: SimdOp<Self>>(self, operation: O) -> O::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn run<O: SimdOp<Avx512<f32>>>(kernel: Avx512<f32>, operation: O) -> O::Output {
            operation.eval(kernel)
        }
        // SAFETY: `self` proves that this machine has AVX-512 F, BW, DQ and VL.
        unsafe { run(self, operation) }
    }

    #[inline(always)]
    fn value(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn narrow(self, x: __m512, to: &mut [f32]) {
        self.store(x, to);
    }

    #[inline(always)]
    fn narrow_group(self, rows: &[[__m512; 2]], half: usize, to: &mut [f32]) {
        self.store(rows[0][half], to);
    }

    #[inline(always)]
    unsafe fn load_groups(self, from: *const f32) -> __m512 {
        // SAFETY: the caller promises sixteen values.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn broadcast_group(self, from: *const f32) -> __m512 {
        // SAFETY: the caller promises one value.
        unsafe { _mm512_set1_ps(*from) }
    }

    #[inline(always)]
    fn dot(self, sum: __m512, a: __m512, b: __m512) -> __m512 {
        self.mul_add(a, b, sum)
    }
}
