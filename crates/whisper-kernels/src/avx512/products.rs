// SPDX-License-Identifier: MPL-2.0
//! bf16 and bytes on AVX-512 BF16 and VNNI, and on AMX where the machine has that too.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use half::bf16;

use super::{Avx512, Generation, has_avx512, on_avx512};
use crate::attention::{Block, ByteBlock};
use crate::bytes::{self, ByteWeights, Bytes, QUAD};
use crate::linear::Linear;
use crate::{GemmKernel, SimdF32, SimdOp, Tile, product};

pub(super) fn has_bf16() -> bool {
    has_avx512() && is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni")
}

impl Avx512<bf16> {
    pub fn detect() -> Option<Self> {
        has_bf16().then_some(Self(PhantomData))
    }
}

/// How machines with AVX-512 BF16 and VNNI multiply matrices.
pub trait Products: Generation + Sized {
    type Tile: Tile<__m512>;
    type SumTile: Tile<__m512i>;
    type Linear: Linear<Avx512<Self>>;
    type Attention: Block<Avx512<Self>>;
    /// [`GemmKernel::K_ALIGN`]
    const K_ALIGN: usize;
    /// [`Bytes::BYTE_DEPTH`]
    const BYTE_DEPTH: usize;
    const NAME: &'static str;

    /// [`GemmKernel::begin`]
    #[inline(always)]
    fn begin(_: Avx512<Self>) {}

    /// [`GemmKernel::end`]
    #[inline(always)]
    fn end(_: Avx512<Self>) {}

    /// [`GemmKernel::multiply`]
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn multiply(
        kernel: Avx512<Self>,
        tile: &mut MaybeUninit<Self::Tile>,
        bias: Option<[__m512; 2]>,
        steps: usize,
        a: (*const bf16, usize),
        b: (*const bf16, usize),
    ) {
        // SAFETY: the caller promises the same.
        tile.write(unsafe { product(kernel, bias, steps, a, b) });
    }

    /// [`Bytes::multiply_quads`]
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn multiply_quads(
        kernel: Avx512<Self>,
        tile: &mut MaybeUninit<Self::SumTile>,
        offsets: [__m512i; 2],
        quads: usize,
        a: (*const u8, usize),
        b: *const i8,
    ) {
        // SAFETY: the caller promises the same.
        tile.write(unsafe { bytes::product(kernel, offsets, quads, a, b) });
    }
}

impl Products for bf16 {
    /// 24 sums, two columns and the broadcasts: 27 of 32 registers.
    type Tile = [[__m512; 2]; 12];
    type SumTile = [[__m512i; 2]; 12];
    type Linear = ByteWeights<Avx512<Self>>;
    type Attention = ByteBlock<Avx512<Self>>;
    const K_ALIGN: usize = 2;
    const BYTE_DEPTH: usize = QUAD;
    const NAME: &'static str = "avx512-bf16";
}

impl<P: Products> GemmKernel for Avx512<P> {
    type Value = bf16;
    type Operand = __m512bh;
    type Tile = P::Tile;
    type SumTile = P::SumTile;
    type Linear = P::Linear;
    type Attention = P::Attention;
    /// `vdpbf16ps` adds the products of two neighbours.
    const K_GROUP: usize = 2;
    const K_ALIGN: usize = P::K_ALIGN;
    const NAME: &'static str = P::NAME;

    #[inline(always)]
    fn dispatch<O: SimdOp<Self>>(self, operation: O) -> O::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")]
        fn run<P: Products, O: SimdOp<Avx512<P>>>(kernel: Avx512<P>, operation: O) -> O::Output {
            operation.run(kernel)
        }
        on_avx512!(run(self, operation))
    }

    #[inline(always)]
    fn value(x: f32) -> bf16 {
        bf16::from_f32(x)
    }

    #[inline(always)]
    fn narrow(self, x: __m512, to: &mut [bf16]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: sixteen 16-bit elements, checked above; the store needs no alignment.
        unsafe {
            to.as_mut_ptr()
                .cast::<__m256bh>()
                .write_unaligned(_mm512_cvtneps_pbh(x))
        }
    }

    #[inline(always)]
    fn narrow_group(self, rows: &[[__m512; 2]], half: usize, to: &mut [bf16]) {
        let (even, odd) = (rows[0][half], rows[1][half]);
        let to = &mut to[..2 * Self::LANES];
        // SAFETY: 32 16-bit elements, checked above; the store needs no alignment. Each 32-bit lane gets the
        // even row's value in its low half and the odd row's in its high half.
        unsafe {
            let even = _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(
                _mm512_cvtneps_pbh(even),
            ));
            let odd = _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(
                _mm512_cvtneps_pbh(odd),
            ));
            let pairs = _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
            to.as_mut_ptr().cast::<__m512i>().write_unaligned(pairs);
        }
    }

    #[inline(always)]
    unsafe fn load_groups(self, from: *const bf16) -> __m512bh {
        // SAFETY: the caller promises 32 values.
        unsafe { from.cast::<__m512bh>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn broadcast_group(self, from: *const bf16) -> __m512bh {
        // SAFETY: the caller promises two values: one 32-bit lane.
        unsafe {
            let pair = from.cast::<i32>().read_unaligned();
            std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair))
        }
    }

    #[inline(always)]
    fn dot(self, sum: __m512, a: __m512bh, b: __m512bh) -> __m512 {
        on_avx512!(_mm512_dpbf16_ps(sum, a, b))
    }

    #[inline(always)]
    fn begin(self) {
        P::begin(self);
    }

    #[inline(always)]
    fn end(self) {
        P::end(self);
    }

    #[inline(always)]
    unsafe fn multiply(
        self,
        tile: &mut MaybeUninit<P::Tile>,
        bias: Option<[__m512; 2]>,
        steps: usize,
        a: (*const bf16, usize),
        b: (*const bf16, usize),
    ) {
        // SAFETY: the caller promises the same.
        unsafe { P::multiply(self, tile, bias, steps, a, b) }
    }
}

impl<P: Products> Bytes for Avx512<P> {
    type Quads = __m512i;
    const BYTE_DEPTH: usize = P::BYTE_DEPTH;

    #[inline(always)]
    unsafe fn multiply_quads(
        self,
        tile: &mut MaybeUninit<P::SumTile>,
        offsets: [__m512i; 2],
        quads: usize,
        a: (*const u8, usize),
        b: *const i8,
    ) {
        // SAFETY: the caller promises the same.
        unsafe { P::multiply_quads(self, tile, offsets, quads, a, b) }
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const i8) -> __m512i {
        // SAFETY: the caller promises 64 bytes.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast_quad(self, from: *const u8) -> __m512i {
        // SAFETY: the caller promises four bytes: one 32-bit lane.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn dot_quads(self, sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        on_avx512!(_mm512_dpbusd_epi32(sums, a, b))
    }

    #[inline(always)]
    fn load_sums(self, from: &[i32]) -> __m512i {
        let from = &from[..Self::LANES];
        // SAFETY: sixteen elements, checked above.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn widen(self, from: &[bf16]) -> __m512 {
        let from = &from[..Self::LANES];
        // SAFETY: sixteen 16-bit elements, checked above; bf16 is the high half of an f32.
        unsafe {
            let halves = _mm256_loadu_si256(from.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))
        }
    }

    #[inline(always)]
    fn round_bytes(self, x: __m512, to: &mut [u8]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: sixteen bytes, checked above; the store needs no alignment.
        unsafe {
            let whole = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(x));
            _mm_storeu_si128(to.as_mut_ptr().cast(), whole);
        }
    }
}
