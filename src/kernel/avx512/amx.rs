// SPDX-License-Identifier: MPL-2.0
//! AMX: products of whole matrices of 16 rows in one instruction, on eight registers of a kilobyte (Intel 64 and IA-32
//! Architectures Software Developer's Manual, volume 1, chapter 18).
//!
//! A tile of ours is two by two of these registers, so that each operand that is loaded is multiplied twice and four
//! sums are under way at once. The right operand is in memory as AMX wants it already: pairs of depth, columns side by
//! side.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

use half::bf16;

use super::products::{Products, has_bf16};
use super::{Avx512, Generation};
use crate::kernel::Lanes;
use crate::kernel::attention::ValueBlock;
use crate::kernel::pack::Packed;

/// What AMX with bf16 adds to AVX-512 with bf16.
#[derive(Clone, Copy, Debug)]
pub struct Amx;

impl Avx512<Amx> {
    pub fn detect() -> Option<Self> {
        static AVAILABLE: LazyLock<bool> =
            LazyLock::new(|| has_bf16() && has_amx() && may_use_tiles());
        AVAILABLE.then_some(Self(PhantomData))
    }
}

/// CPUID leaf 7: AMX-BF16 and AMX-TILE. (The standard library's detection of them is not stable.)
fn has_amx() -> bool {
    let features = __cpuid_count(7, 0).edx;
    features & (1 << 22) != 0 && features & (1 << 24) != 0
}

/// Asks the kernel for the tile registers, once for all threads of the process (Linux, `Documentation/arch/x86/xstate.rst`). It
/// refuses where a thread's signal stack would be too small for them.
#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two integers and touches no memory of ours.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}

/// Rows of a register, and what each holds.
const ROWS: usize = 16;
const ROW_BYTES: usize = 64;

/// What LDTILECFG reads.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight registers full.
static SHAPES: Shapes = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut register = 0;
    while register < 8 {
        (row_bytes[register], rows[register]) = (ROW_BYTES as u16, ROWS as u8);
        register += 1;
    }
    Shapes {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes,
        rows,
    }
};

thread_local! {
    /// How many more times [`Products::begin`] was called in this thread than `end`. Shapes take as long to load as a small
    /// product takes to compute, so what has many such products loads them for all.
    static BEGUN: Cell<usize> = const { Cell::new(0) };
}

impl Generation for Amx {
    #[inline(always)]
    unsafe fn dot_pairs(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: a machine with AMX has what this needs, and the caller promises AMX.
        unsafe { bf16::dot_pairs(sums, a, b) }
    }
}

impl Products for Amx {
    type Tile = [[__m512; 2]; 2 * ROWS];
    type SumTile = [[__m512i; 2]; 2 * ROWS];
    type Linear = Packed<Avx512<Self>>;
    type Attention = ValueBlock<Avx512<Self>>;
    const DEPTH: usize = ROW_BYTES / size_of::<bf16>();
    const NAME: &'static str = "amx";

    #[inline(always)]
    fn begin(_: Avx512<Self>) {
        let begun = BEGUN.get();
        BEGUN.set(begun + 1);
        if begun == 0 {
            // SAFETY: the kernel exists, so this machine has AMX and lends us its registers. They belong to this thread, and
            // hold nothing.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) }
        }
    }

    #[inline(always)]
    fn end(_: Avx512<Self>) {
        BEGUN.set(BEGUN.get() - 1);
        if BEGUN.get() == 0 {
            // SAFETY: as above. What is released need not be saved when the thread is interrupted.
            unsafe { asm!("tilerelease", options(nostack, nomem)) }
        }
    }

    #[inline(always)]
    unsafe fn multiply(
        kernel: Avx512<Self>,
        tile: &mut MaybeUninit<Self::Tile>,
        bias: Option<[__m512; 2]>,
        steps: usize,
        (a, a_stride): (*const bf16, usize),
        (b, b_stride): (*const bf16, usize),
    ) {
        const TILE_STRIDE: usize = 2 * ROW_BYTES;
        let registers = steps / ROWS;
        debug_assert!(steps.is_multiple_of(ROWS));
        let bytes = size_of::<bf16>();
        // The sums do not begin with the bias: loading what was just stored would take longer than a short product.
        // SAFETY: loads are within what the caller promises of the operands, stores fill the tile; the registers are
        // configured between `begin` and `end`.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "test {registers}, {registers}",
                "jz 3f",
                "2:",
                "tileloadd tmm4, [{upper} + {a_stride}]",
                "tileloadd tmm6, [{b} + {b_stride}]",
                "tileloadd tmm5, [{lower} + {a_stride}]",
                "tileloadd tmm7, [{b} + {b_stride} + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {upper}, 64",
                "add {lower}, 64",
                "add {b}, {b_step}",
                "dec {registers}",
                "jnz 2b",
                "3:",
                "tilestored [{tile} + {tile_stride}], tmm0",
                "tilestored [{tile} + {tile_stride} + 64], tmm1",
                "tilestored [{tile} + {tile_stride} + 2048], tmm2",
                "tilestored [{tile} + {tile_stride} + 2112], tmm3",
                tile = in(reg) tile.as_mut_ptr(),
                tile_stride = in(reg) TILE_STRIDE,
                upper = inout(reg) a => _,
                lower = inout(reg) a.add(ROWS * a_stride) => _,
                a_stride = in(reg) a_stride * bytes,
                b = inout(reg) b => _,
                b_stride = in(reg) b_stride * bytes,
                b_step = in(reg) b_stride * bytes * ROWS,
                registers = inout(reg) registers => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
        let Some(bias) = bias else { return };
        // SAFETY: just written.
        for sums in unsafe { tile.assume_init_mut() } {
            *sums = [kernel.add(sums[0], bias[0]), kernel.add(sums[1], bias[1])];
        }
    }
}
