// SPDX-License-Identifier: MPL-2.0
//! x86-64 with AVX2 and FMA, in f32.

use std::arch::x86_64::*;

use super::attention::ValueBlock;
use super::pack::Packed;
use super::{Integers, Kernel, Lanes, Operation};

/// Exists only where AVX2 and FMA do.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// Evaluates intrinsics that touch no memory.
macro_rules! on_avx2 {
    ($intrinsics:expr) => {
        // SAFETY: `self` exists, so this machine has AVX2 and FMA.
        unsafe { $intrinsics }
    };
}

impl Lanes for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        on_avx2!(_mm256_set1_ps(x))
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
        on_avx2!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        on_avx2!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        on_avx2!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        on_avx2!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        on_avx2!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn fraction(self, x: __m256) -> __m256 {
        on_avx2!(_mm256_sub_ps(x, _mm256_floor_ps(x)))
    }

    #[inline(always)]
    fn scale_by_exp2(self, p: __m256, x: __m256) -> __m256 {
        on_avx2!({
            let floor = _mm256_floor_ps(x);
            let exponent = _mm256_add_epi32(_mm256_cvttps_epi32(floor), _mm256_set1_epi32(127));
            _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)))
        })
    }

    #[inline(always)]
    fn sum(self, x: __m256) -> f32 {
        on_avx2!({
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        })
    }

    #[inline(always)]
    fn largest(self, x: __m256) -> f32 {
        on_avx2!({
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        })
    }
}

impl Integers for Avx2 {
    type Sums = __m256i;
    type Pairs = __m256i;

    #[inline(always)]
    fn no_sums(self) -> __m256i {
        on_avx2!(_mm256_setzero_si256())
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
        on_avx2!(_mm256_add_epi32(sums, _mm256_madd_epi16(a, b)))
    }

    #[inline(always)]
    fn add_sums(self, a: __m256i, b: __m256i) -> __m256i {
        on_avx2!(_mm256_add_epi32(a, b))
    }

    #[inline(always)]
    fn floats(self, sums: __m256i) -> __m256 {
        on_avx2!(_mm256_cvtepi32_ps(sums))
    }

    #[inline(always)]
    fn round(self, x: __m256, to: &mut [i16]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: eight 16-bit elements, checked above; the store needs no alignment.
        unsafe {
            let whole = _mm256_cvtps_epi32(x);
            let halves = (
                _mm256_castsi256_si128(whole),
                _mm256_extracti128_si256(whole, 1),
            );
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packs_epi32(halves.0, halves.1));
        }
    }
}

impl Kernel for Avx2 {
    type Value = f32;
    type Operand = __m256;
    /// Twelve sums, two columns and one broadcast: 15 of 16 registers.
    type Tile = [[__m256; 2]; 6];
    type SumTile = [[__m256i; 2]; 6];
    type Linear = Packed<Self>;
    type Attention = ValueBlock<Self>;
    const GROUP: usize = 1;
    const NAME: &'static str = "avx2";

    #[inline(always)]
    fn vectorize<O: Operation<Self>>(self, operation: O) -> O::Output {
        #[target_feature(enable = "avx2,fma")]
        fn run<O: Operation<Avx2>>(kernel: Avx2, operation: O) -> O::Output {
            operation.run(kernel)
        }
        on_avx2!(run(self, operation))
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
