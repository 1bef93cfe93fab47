// SPDX-License-Identifier: MPL-2.0
//! AMX, Intel's server processors since Sapphire Rapids: an instruction multiplies whole matrices
//! of 16 rows, on eight registers of a kilobyte (Intel 64 and IA-32 Architectures Software
//! Developer's Manual, volume 1, chapter 18).
//!
//! A tile of this crate is two by two of these registers: each operand that is loaded is multiplied
//! twice, and four sums are under way at once. The packed right operand is as AMX wants it: pairs
//! of values or quads of bytes, columns side by side.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

use half::bf16;

use super::avx512::{Avx512, IntegerUnit};
use super::avx512_bf16::{MatrixUnit, has_bf16};
use crate::micro_kernel::Operands;
use crate::simd::SimdF32;

/// What AMX with bf16 and bytes adds to AVX-512 with bf16.
#[derive(Clone, Copy, Debug)]
pub struct Amx;

impl Avx512<Amx> {
    /// The kernel, where this machine has what `Avx512<bf16>` needs and AMX with TILE, BF16 and
    /// INT8, and the operating system lends it.
    pub fn detect() -> Option<Self> {
        static AVAILABLE: LazyLock<bool> =
            LazyLock::new(|| has_bf16() && has_amx() && may_use_tiles());
        AVAILABLE.then_some(Self(PhantomData))
    }
}

/// CPUID leaf 7: AMX-BF16, AMX-TILE and AMX-INT8. (The standard library's detection is not stable.)
fn has_amx() -> bool {
    let features = __cpuid_count(7, 0).edx;
    let wanted = 1 << 22 | 1 << 24 | 1 << 25;
    features & wanted == wanted
}

/// Asks the operating system for the tile registers, once for all threads of the process (Linux,
/// `Documentation/arch/x86/xstate.rst`). It refuses where a thread's signal stack is too small.
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

/// Rows of a register.
const ROWS: usize = 16;
/// Bytes of a row.
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
    /// How many more times [`MatrixUnit::begin`] was called in this thread than `end`. Loading the
    /// shapes takes as long as a small product, so many products share one load.
    static BEGUN: Cell<usize> = const { Cell::new(0) };
}

/// Writes to `$tile`, two by two registers, the products of `$steps` registers of depth. `$a` and
/// `$b` say where the operands begin and how many bytes their rows are apart.
///
/// # Safety
/// Both operands must be readable so far, `$tile` must hold four registers, and this thread must be
/// between `begin` and `end`, which configure the registers.
macro_rules! products {
    ($instruction:literal, $tile:expr, $steps:expr, $a:expr, $b:expr) => {{
        let ((a, a_stride), (b, b_stride)): ((*const u8, usize), (*const u8, usize)) = ($a, $b);
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {steps}, {steps}",
            "jz 3f",
            "2:",
            "tileloadd tmm4, [{upper} + {a_stride}]",
            "tileloadd tmm6, [{b} + {b_stride}]",
            "tileloadd tmm5, [{lower} + {a_stride}]",
            "tileloadd tmm7, [{b} + {b_stride} + 64]",
            concat!($instruction, " tmm0, tmm4, tmm6"),
            concat!($instruction, " tmm2, tmm5, tmm6"),
            concat!($instruction, " tmm1, tmm4, tmm7"),
            concat!($instruction, " tmm3, tmm5, tmm7"),
            "add {upper}, 64",
            "add {lower}, 64",
            "add {b}, {b_step}",
            "dec {steps}",
            "jnz 2b",
            "3:",
            "tilestored [{tile} + {tile_stride}], tmm0",
            "tilestored [{tile} + {tile_stride} + 64], tmm1",
            "tilestored [{tile} + {tile_stride} + 2048], tmm2",
            "tilestored [{tile} + {tile_stride} + 2112], tmm3",
            tile = in(reg) $tile,
            tile_stride = in(reg) 2 * ROW_BYTES,
            upper = inout(reg) a => _,
            lower = inout(reg) a.add(ROWS * a_stride) => _,
            a_stride = in(reg) a_stride,
            b = inout(reg) b => _,
            b_stride = in(reg) b_stride,
            b_step = in(reg) b_stride * ROWS,
            steps = inout(reg) $steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    }};
}

impl IntegerUnit for Amx {
    #[inline(always)]
    unsafe fn dot_pairs(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: a machine with AMX has what this needs, and the caller promises AMX.
        unsafe { bf16::dot_pairs(sums, a, b) }
    }
}

impl MatrixUnit for Amx {
    type Tile = [[__m512; 2]; 2 * ROWS];
    type SumTile = [[__m512i; 2]; 2 * ROWS];
    const K_ALIGN: usize = ROW_BYTES / size_of::<bf16>();
    const K_ALIGN_I8: usize = ROW_BYTES;
    const NAME: &'static str = "amx";

    #[inline(always)]
    fn begin(_: Avx512<Self>) {
        let begun = BEGUN.get();
        BEGUN.set(begun + 1);
        if begun == 0 {
            // SAFETY: the kernel proves that this machine has AMX and lends its registers. They
            // belong to this thread, and hold nothing.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) }
        }
    }

    #[inline(always)]
    fn end(_: Avx512<Self>) {
        BEGUN.set(BEGUN.get() - 1);
        if BEGUN.get() == 0 {
            // SAFETY: as in `begin`. The operating system need not save what is released.
            unsafe { asm!("tilerelease", options(nostack, nomem)) }
        }
    }

    #[inline(always)]
    unsafe fn multiply(
        kernel: Avx512<Self>,
        tile: &mut MaybeUninit<Self::Tile>,
        bias: Option<[__m512; 2]>,
        operands: Operands<bf16, bf16>,
    ) {
        debug_assert!(operands.k_groups.is_multiple_of(ROWS));
        // The sums do not begin with the bias: loading what was just stored would take longer than
        // a short product. SAFETY: the caller promises the operands, whole steps of ROWS groups,
        // and `begin`; a tile is four registers.
        unsafe {
            let bytes = size_of::<bf16>();
            let a = (operands.a.cast(), operands.a_stride * bytes);
            let b = (operands.b.cast(), operands.b_stride * bytes);
            products!(
                "tdpbf16ps",
                tile.as_mut_ptr(),
                operands.k_groups / ROWS,
                a,
                b
            );
        }
        let Some(bias) = bias else { return };
        // SAFETY: the four stores above wrote all of it.
        for sums in unsafe { tile.assume_init_mut() } {
            *sums = [kernel.add(sums[0], bias[0]), kernel.add(sums[1], bias[1])];
        }
    }

    #[inline(always)]
    unsafe fn multiply_quads(
        _: Avx512<Self>,
        tile: &mut MaybeUninit<Self::SumTile>,
        offsets: [__m512i; 2],
        operands: Operands<u8, i8>,
    ) {
        debug_assert!(operands.k_groups.is_multiple_of(ROWS));
        // SAFETY: the caller promises the operands, whole steps of ROWS quads, and `begin`; a tile
        // is four registers, all written.
        let sums = unsafe {
            let a = (operands.a, operands.a_stride);
            let b = (operands.b.cast(), 2 * ROW_BYTES);
            products!("tdpbusd", tile.as_mut_ptr(), operands.k_groups / ROWS, a, b);
            tile.assume_init_mut()
        };
        for sums in sums {
            // SAFETY: this machine has AVX-512.
            *sums = unsafe { [0, 1].map(|half| _mm512_add_epi32(sums[half], offsets[half])) };
        }
    }
}
