// SPDX-License-Identifier: MPL-2.0
//! AVX-512 BF16 and VNNI, Intel since Cooper Lake and AMD since Zen 4: bf16 and 8-bit products. AMX
//! builds on it.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use half::bf16;

use super::avx512::{Avx512, IntegerUnit, has_avx512};
use crate::kernel::{DotI8, GemmKernel, QUAD, QuadDot, ValueDot};
use crate::micro_kernel::{self, Operands, Tile};
use crate::simd::{SimdF32, SimdOp};

pub(super) fn has_bf16() -> bool {
    has_avx512() && is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni")
}

impl Avx512<bf16> {
    /// The kernel, where this machine has AVX-512 F, BW, DQ, VL, BF16 and VNNI.
    pub fn detect() -> Option<Self> {
        has_bf16().then_some(Self(PhantomData))
    }
}

impl IntegerUnit for bf16 {
    #[inline(always)]
    unsafe fn dot_pairs(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller promises AVX-512 VNNI.
        unsafe { dpwssd(sums, a, b) }
    }
}

/// `vpdpwssd`, in assembly: LLVM splits the intrinsic into a multiplication and an addition, which
/// saves latency that nothing here waits for and costs an instruction.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dpwssd(mut sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: the instruction reads and writes nothing but these registers.
    unsafe {
        asm!(
            "vpdpwssd {sums}, {a}, {b}",
            sums = inout(zmm_reg) sums,
            a = in(zmm_reg) a,
            b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// How a machine with AVX-512 BF16 and VNNI multiplies matrices.
pub trait MatrixUnit: IntegerUnit + Sized {
    /// [`GemmKernel::Tile`]
    type Tile: Tile<__m512>;
    /// [`GemmKernel::SumTile`]
    type SumTile: Tile<__m512i>;
    /// [`GemmKernel::K_ALIGN`]
    const K_ALIGN: usize;
    /// [`DotI8::K_ALIGN_I8`]
    const K_ALIGN_I8: usize;
    /// [`GemmKernel::NAME`]
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
        operands: Operands<bf16, bf16>,
    ) {
        let start = bias.unwrap_or([kernel.splat(0.0); 2]);
        // SAFETY: the caller promises the same.
        tile.write(unsafe { micro_kernel::multiply(ValueDot(kernel), start, operands) });
    }

    /// [`DotI8::multiply_quads`]
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn multiply_quads(
        kernel: Avx512<Self>,
        tile: &mut MaybeUninit<Self::SumTile>,
        offsets: [__m512i; 2],
        operands: Operands<u8, i8>,
    ) {
        // SAFETY: the caller promises the same.
        tile.write(unsafe { micro_kernel::multiply(QuadDot(kernel), offsets, operands) });
    }
}

impl MatrixUnit for bf16 {
    /// 24 sums, two columns and the broadcasts: 27 of 32 registers.
    type Tile = [[__m512; 2]; 12];
    type SumTile = [[__m512i; 2]; 12];
    const K_ALIGN: usize = 2;
    const K_ALIGN_I8: usize = QUAD;
    const NAME: &'static str = "avx512-bf16";
}

impl<P: MatrixUnit> GemmKernel for Avx512<P> {
    type Value = bf16;
    type Operand = __m512bh;
    type Tile = P::Tile;
    type SumTile = P::SumTile;
    /// `vdpbf16ps` adds the products of two neighbours.
    const K_GROUP: usize = 2;
    const K_ALIGN: usize = P::K_ALIGN;
    const NAME: &'static str = P::NAME;

    #[inline(always)]
    fn dispatch<O: SimdOp<Self>>(self, operation: O) -> O::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")]
        fn run<P: MatrixUnit, O: SimdOp<Avx512<P>>>(kernel: Avx512<P>, operation: O) -> O::Output {
            operation.eval(kernel)
        }
        // SAFETY: `self` proves that this machine has AVX-512 with BF16 and VNNI.
        unsafe { run(self, operation) }
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
        // SAFETY: 32 16-bit elements, checked above; the store needs no alignment. Each 32-bit lane
        // gets the even row's value in its low half and the odd row's in its high half.
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
        // SAFETY: `self` proves that this machine has AVX-512 with BF16 and VNNI.
        unsafe { _mm512_dpbf16_ps(sum, a, b) }
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
        operands: Operands<bf16, bf16>,
    ) {
        // SAFETY: the caller promises the same.
        unsafe { P::multiply(self, tile, bias, operands) }
    }
}

impl<P: MatrixUnit> DotI8 for Avx512<P> {
    type Quads = __m512i;
    const K_ALIGN_I8: usize = P::K_ALIGN_I8;

    #[inline(always)]
    unsafe fn multiply_quads(
        self,
        tile: &mut MaybeUninit<P::SumTile>,
        offsets: [__m512i; 2],
        operands: Operands<u8, i8>,
    ) {
        // SAFETY: the caller promises the same.
        unsafe { P::multiply_quads(self, tile, offsets, operands) }
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
        // SAFETY: `self` proves that this machine has AVX-512 with BF16 and VNNI.
        unsafe { _mm512_dpbusd_epi32(sums, a, b) }
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
    fn round_to_u8(self, x: __m512, to: &mut [u8]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: sixteen bytes, checked above; the store needs no alignment.
        unsafe {
            let whole = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(x));
            _mm_storeu_si128(to.as_mut_ptr().cast(), whole);
        }
    }
}
