// SPDX-License-Identifier: MPL-2.0
//! The instruction sets: one file each, with the types that implement [`GemmKernel`](crate::GemmKernel) for it.

#[cfg(target_arch = "x86_64")]
pub mod amx;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx2_vnni;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "x86_64")]
pub mod avx512_bf16;
#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod portable;
