// SPDX-License-Identifier: MPL-2.0
//! Which instruction sets this machine has, and the choice among them at run time.

use std::fmt;

#[cfg(target_arch = "aarch64")]
use crate::arch::neon::Neon;
use crate::arch::portable::Portable;
#[cfg(target_arch = "x86_64")]
use crate::arch::{
    amx::Amx,
    avx2::{Avx2, Fma},
    avx2_vnni::Vnni,
    avx512::Avx512,
};
use crate::encoder_kernel::EncoderKernel;
use crate::kernel::GemmKernel;

/// The environment variable that overrides [`Isa::choose`], for tests and comparisons: the name of
/// an [`Isa`].
pub const ISA_VARIABLE: &str = "WHISPERNPU_ISA";

/// The instruction sets that have a kernel, from the one that runs everywhere to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// [`Portable`]: any machine.
    Portable,
    /// NEON: 64-bit Arm.
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX2, FMA and AVX-VNNI.
    Avx2Vnni,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same, and AVX-512 BF16 and VNNI.
    Avx512Bf16,
    /// The same, and AMX TILE, BF16 and INT8.
    Amx,
}

/// An instruction set was asked for that this machine does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ISA_VARIABLE}={wanted}: this machine has {}", Isa::available().map(Isa::name).collect::<Vec<_>>().join(", "))]
pub struct UnknownIsa {
    wanted: String,
}

impl Isa {
    const ALL: [Self; 7] = [
        Self::Portable,
        Self::Neon,
        Self::Avx2,
        Self::Avx2Vnni,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// The name users see, which [`ISA_VARIABLE`] takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx2Vnni => "avx2-vnni",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
        }
    }

    /// The instruction sets that this machine has, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The fastest instruction set that this machine has, or the one that [`ISA_VARIABLE`] names.
    ///
    /// # Errors
    /// When the variable names nothing that this machine has.
    pub fn choose() -> Result<Self, UnknownIsa> {
        match std::env::var(ISA_VARIABLE) {
            Ok(wanted) if !wanted.is_empty() => Self::named(&wanted),
            _ => Ok(Self::available().last().unwrap_or(Self::Portable)),
        }
    }

    fn named(wanted: &str) -> Result<Self, UnknownIsa> {
        Self::available()
            .find(|isa| isa.name() == wanted)
            .ok_or_else(|| UnknownIsa {
                wanted: wanted.into(),
            })
    }

    /// The instruction set for products of few rows, which would leave AMX's registers half empty.
    pub fn for_few_rows(self) -> Self {
        match self {
            Self::Amx => Self::Avx512Bf16,
            isa => isa,
        }
    }

    fn is_available(self) -> bool {
        self.detect().is_ok()
    }

    /// This instruction set's kernel.
    ///
    /// # Errors
    /// When this machine does not have the instructions.
    pub fn detect(self) -> Result<Detected, UnknownIsa> {
        let kernel = match self {
            Self::Portable => Some(Kernel::Portable(Portable)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::<Fma>::detect().map(Kernel::Avx2),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Vnni => Avx2::<Vnni>::detect().map(Kernel::Avx2Vnni),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::<f32>::detect().map(Kernel::Avx512),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Avx512::<half::bf16>::detect().map(Kernel::Avx512Bf16),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Avx512::<Amx>::detect().map(Kernel::Amx),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::detect().map(Kernel::Neon),
            #[allow(unreachable_patterns)]
            _ => None,
        };
        let kernel = kernel.ok_or_else(|| UnknownIsa {
            wanted: self.name().into(),
        })?;
        Ok(Detected(kernel))
    }
}

/// The kernel of an instruction set that this machine has.
#[derive(Clone, Copy, Debug)]
pub struct Detected(Kernel);

#[derive(Clone, Copy, Debug)]
enum Kernel {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2<Fma>),
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni(Avx2<Vnni>),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512<f32>),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512<half::bf16>),
    #[cfg(target_arch = "x86_64")]
    Amx(Avx512<Amx>),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// Work that is generic over the kernel: what [`Detected::dispatch`] runs.
pub trait ForKernel {
    /// What the work returns.
    type Output;
    /// Does the work with `kernel`.
    fn run<K: EncoderKernel>(self, kernel: K) -> Self::Output;
}

/// Work that is generic over the kernel and whose matrices are f32 on every machine: what
/// [`Detected::dispatch_f32`] runs.
pub trait ForF32Kernel {
    /// What the work returns.
    type Output;
    /// Does the work with `kernel`.
    fn run<K: GemmKernel<Value = f32>>(self, kernel: K) -> Self::Output;
}

impl Detected {
    /// Runs `work` with this machine's kernel for f32: small networks whose every digit counts.
    pub fn dispatch_f32<W: ForF32Kernel>(self, work: W) -> W::Output {
        match self.0 {
            Kernel::Portable(kernel) => work.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(kernel) => work.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2Vnni(kernel) => work.run(kernel.f32()),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) => work.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Bf16(kernel) => work.run(kernel.f32()),
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx(kernel) => work.run(kernel.f32()),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon(kernel) => work.run(kernel),
        }
    }

    /// Runs `work` with this kernel: from here on the instruction set is a type.
    pub fn dispatch<W: ForKernel>(self, work: W) -> W::Output {
        match self.0 {
            Kernel::Portable(kernel) => work.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(kernel) => work.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2Vnni(kernel) => work.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) => work.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Bf16(kernel) => work.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx(kernel) => work.run(kernel),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon(kernel) => work.run(kernel),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isa_is_found_by_its_name() {
        assert_eq!(Isa::named("portable"), Ok(Isa::Portable));
        for isa in Isa::available() {
            assert_eq!(Isa::named(isa.name()), Ok(isa));
        }
    }

    #[test]
    fn isa_of_unknown_name_is_refused_with_a_list() {
        let error = Isa::named("mmx").unwrap_err().to_string();
        assert!(
            error.contains("mmx") && error.contains("portable"),
            "{error}"
        );
    }
}
