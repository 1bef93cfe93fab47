// SPDX-License-Identifier: MPL-2.0
//! x86-64 with AVX2 and FMA, Intel since Haswell and AMD since Excavator: matrices in f32.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use crate::kernel::GemmKernel;
use crate::simd::{DotI16, SimdF32, SimdOp};

/// Proves AVX2 and FMA, with `P` = [`Vnni`](super::avx2_vnni::Vnni) also AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Avx2<P>(pub(super) PhantomData<P>);

/// AVX2 and FMA alone.
#[derive(Clone, Copy, Debug)]
pub struct Fma;

pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

impl Avx2<Fma> {
    /// The kernel, where this machine has AVX2 and FMA.
    pub fn detect() -> Option<Self> {
        has_avx2().then_some(Self(PhantomData))
    }
}

impl<P> Avx2<P> {
    /// The kernel of AVX2 and FMA alone, which this one's machine has.
    pub fn f32(self) -> Avx2<Fma> {
        Avx2(PhantomData)
    }
}

/// How a machine multiplies integers.
pub trait IntegerUnit: Copy + Send + Sync + 'static {
    /// [`GemmKernel::NAME`]
    const NAME: &'static str;

    /// [`GemmKernel::dispatch`]
    fn dispatch<O: SimdOp<Avx2<Self>>>(kernel: Avx2<Self>, operation: O) -> O::Output;

    /// `sums` plus the dot products of pairs of 16-bit integers.
    ///
    /// # Safety
    /// This machine must have what [`Avx2`] of this type stands for.
    unsafe fn dot_pairs(sums: __m256i, a: __m256i, b: __m256i) -> __m256i;
}

impl IntegerUnit for Fma {
    const NAME: &'static str = "avx2";

    #[inline(always)]
    fn dispatch<O: SimdOp<Avx2<Self>>>(kernel: Avx2<Self>, operation: O) -> O::Output {
        #[target_feature(enable = "avx2,fma")]
        fn run<O: SimdOp<Avx2<Fma>>>(kernel: Avx2<Fma>, operation: O) -> O::Output {
            operation.eval(kernel)
        }
        // SAFETY: `kernel` proves that this machine has AVX2 and FMA.
        unsafe { run(kernel, operation) }
    }

    #[inline(always)]
    unsafe fn dot_pairs(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller promises AVX2.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)) }
    }
}

/// Eight integers of 32 bits, saturated to 16.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn narrow_integers(x: __m256i) -> __m128i {
    _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1))
}

impl<P: Copy + Send + Sync + 'static> SimdF32 for Avx2<P> {
    type Vector = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..Self::LANES];
        // SAFETY: eight elements, checked above.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: __m256, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: eight elements, checked above.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn fraction(self, x: __m256) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_sub_ps(x, _mm256_floor_ps(x)) }
    }

    #[inline(always)]
    fn scale_by_exp2(self, p: __m256, x: __m256) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe {
            let floor = _mm256_floor_ps(x);
            let exponent = _mm256_add_epi32(_mm256_cvttps_epi32(floor), _mm256_set1_epi32(127));
            _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)))
        }
    }

    #[inline(always)]
    fn reduce_sum(self, x: __m256) -> f32 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn reduce_max(self, x: __m256) -> f32 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe {
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }
}

impl<P: IntegerUnit> DotI16 for Avx2<P> {
    type Sums = __m256i;
    type Pairs = __m256i;

    #[inline(always)]
    fn zero_sums(self) -> __m256i {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i8) -> __m256i {
        // SAFETY: the caller promises sixteen bytes.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn broadcast_pair(self, from: *const i16) -> __m256i {
        // SAFETY: the caller promises two integers: one 32-bit lane.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn dot_pairs(self, sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that this machine has what its type stands for.
        unsafe { P::dot_pairs(sums, a, b) }
    }

    #[inline(always)]
    fn add_sums(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn sums_to_f32(self, sums: __m256i) -> __m256 {
        // SAFETY: `self` proves that this machine has AVX2 and FMA.
        unsafe { _mm256_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    fn round_to_i16(self, x: __m256, to: &mut [i16]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: eight 16-bit elements, checked above; the store needs no alignment.
        unsafe {
            let whole = _mm256_cvtps_epi32(x);
            _mm_storeu_si128(to.as_mut_ptr().cast(), narrow_integers(whole));
        }
    }
}

impl<P: IntegerUnit> GemmKernel for Avx2<P> {
    type Value = f32;
    type Operand = __m256;
    /// Twelve sums, two columns and one broadcast: 15 of 16 registers.
    type Tile = [[__m256; 2]; 6];
    type SumTile = [[__m256i; 2]; 6];
    const K_GROUP: usize = 1;
    const NAME: &'static str = P::NAME;

    #[inline(always)]
    fn dispatch<O: SimdOp<Self>>(self, operation: O) -> O::Output {
        P::dispatch(self, operation)
    }

    #[inline(always)]
    fn value(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn narrow(self, x: __m256, to: &mut [f32]) {
        self.store(x, to);
    }

    #[inline(always)]
    fn narrow_group(self, rows: &[[__m256; 2]], half: usize, to: &mut [f32]) {
        self.store(rows[0][half], to);
    }

    #[inline(always)]
    unsafe fn load_groups(self, from: *const f32) -> __m256 {
        // SAFETY: the caller promises eight values.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn broadcast_group(self, from: *const f32) -> __m256 {
        // SAFETY: the caller promises one value.
        unsafe { _mm256_set1_ps(*from) }
    }

    #[inline(always)]
    fn dot(self, sum: __m256, a: __m256, b: __m256) -> __m256 {
        self.mul_add(a, b, sum)
    }
}
