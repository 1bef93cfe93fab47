// SPDX-License-Identifier: MPL-2.0
//! Which instruction sets this machine has, and which of them to use.

use std::fmt;

use super::portable::Portable;
use super::{ForKernel, GemmKernel};
#[cfg(target_arch = "x86_64")]
use super::{
    avx2::{Avx2, Fma, Vnni},
    avx512::{Amx, Avx512},
};

/// Overrides the choice: one of the names of [`Isa`]. For tests and comparisons.
pub const VARIABLE: &str = "WHISPERNPU_ISA";

/// The instruction sets there are kernels for, from the one that runs everywhere to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    Portable,
    Neon,
    Avx2,
    Avx2Vnni,
    Avx512,
    Avx512Bf16,
    Amx,
}

/// [`VARIABLE`] names nothing that runs here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}={wanted}: this machine has {}", Isa::available().map(Isa::name).collect::<Vec<_>>().join(", "))]
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

    /// What this machine has, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The fastest one that this machine has, or the one named by [`VARIABLE`].
    pub fn choose() -> Result<Self, UnknownIsa> {
        match std::env::var(VARIABLE) {
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

    /// What suits products of few rows, which would leave AMX's registers half empty.
    pub fn for_few_rows(self) -> Self {
        match self {
            Self::Amx => Self::Avx512Bf16,
            isa => isa,
        }
    }

    fn is_available(self) -> bool {
        self.dispatch(Nothing).is_ok()
    }

    /// Runs `work` with this instruction set's kernel, where this machine has it.
    pub fn dispatch<W: ForKernel>(self, work: W) -> Result<W::Output, UnknownIsa> {
        match self {
            Self::Portable => Some(work.run(Portable)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::<Fma>::detect().map(|kernel| work.run(kernel)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Vnni => Avx2::<Vnni>::detect().map(|kernel| work.run(kernel)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::<f32>::detect().map(|kernel| work.run(kernel)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Avx512::<half::bf16>::detect().map(|kernel| work.run(kernel)),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Avx512::<Amx>::detect().map(|kernel| work.run(kernel)),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => super::neon::Neon::detect().map(|kernel| work.run(kernel)),
            #[allow(unreachable_patterns)]
            _ => None,
        }
        .ok_or_else(|| UnknownIsa {
            wanted: self.name().into(),
        })
    }
}

struct Nothing;

impl ForKernel for Nothing {
    type Output = ();

    fn run<K: GemmKernel>(self, _: K) {}
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
    fn an_instruction_set_is_found_by_its_name_where_the_machine_has_it() {
        assert_eq!(Isa::named("portable"), Ok(Isa::Portable));
        for isa in Isa::available() {
            assert_eq!(Isa::named(isa.name()), Ok(isa));
        }
    }

    #[test]
    fn a_name_that_runs_nowhere_is_refused_with_those_that_do() {
        let error = Isa::named("mmx").unwrap_err().to_string();
        assert!(
            error.contains("mmx") && error.contains("portable"),
            "{error}"
        );
    }
}
