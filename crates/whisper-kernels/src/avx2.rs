// SPDX-License-Identifier: MPL-2.0
//! x86-64 with AVX2 and FMA: matrices in f32, or partly in bytes where the machine multiplies those.

mod vnni;

use std::arch::x86_64::*;
use std::marker::PhantomData;

pub use self::vnni::Vnni;
use super::attention::{Block, ValueBlock};
use super::linear::Linear;
use super::pack::PackedB;
use super::{DotI16, GemmKernel, SimdF32, SimdOp};

/// Exists only where AVX2 and FMA do, for [`Vnni`] also AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Avx2<P>(PhantomData<P>);

/// Nothing beside AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub struct Fma;

fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

impl Avx2<Fma> {
    pub fn detect() -> Option<Self> {
        has_avx2().then_some(Self(PhantomData))
    }
}

/// Evaluates intrinsics that touch no memory.
macro_rules! on_avx2 {
    ($intrinsics:expr) => {
        // SAFETY: `self` exists, so this machine has the instructions that its type stands for.
        unsafe { $intrinsics }
    };
}
use on_avx2;

/// What machines multiply integers with, and what they do with these.
pub trait Products: Copy + Send + Sync + 'static {
    /// [`GemmKernel::Linear`]
    type Linear: Linear<Avx2<Self>>;
    /// [`GemmKernel::Attention`]
    type Attention: Block<Avx2<Self>>;
    const NAME: &'static str;

    /// [`GemmKernel::dispatch`]
    fn dispatch<O: SimdOp<Avx2<Self>>>(kernel: Avx2<Self>, operation: O) -> O::Output;

    /// `sums` and the inner products of pairs of 16-bit integers.
    ///
    /// # Safety
    /// This machine must have what [`Avx2`] of this type stands for.
    unsafe fn dot_pairs(sums: __m256i, a: __m256i, b: __m256i) -> __m256i;
}

impl Products for Fma {
    type Linear = PackedB<Avx2<Self>>;
    type Attention = ValueBlock<Avx2<Self>>;
    const NAME: &'static str = "avx2";

    #[inline(always)]
    fn dispatch<O: SimdOp<Avx2<Self>>>(kernel: Avx2<Self>, operation: O) -> O::Output {
        #[target_feature(enable = "avx2,fma")]
        fn run<O: SimdOp<Avx2<Fma>>>(kernel: Avx2<Fma>, operation: O) -> O::Output {
            operation.run(kernel)
        }
        on_avx2!(run(kernel, operation))
    }

    #[inline(always)]
    unsafe fn dot_pairs(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller promises AVX2.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)) }
    }
}

/// Eight integers that 16 bits hold.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow_integers(x: __m256i) -> __m128i {
    _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1))
}

impl<P: Copy + Send + Sync + 'static> SimdF32 for Avx2<P> {
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

impl<P: Products> DotI16 for Avx2<P> {
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
        on_avx2!(P::dot_pairs(sums, a, b))
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
            _mm_storeu_si128(to.as_mut_ptr().cast(), narrow_integers(whole));
        }
    }
}

impl<P: Products> GemmKernel for Avx2<P> {
    type Value = f32;
    type Operand = __m256;
    /// Twelve sums, two columns and one broadcast: 15 of 16 registers.
    type Tile = [[__m256; 2]; 6];
    type SumTile = [[__m256i; 2]; 6];
    type Linear = P::Linear;
    type Attention = P::Attention;
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
