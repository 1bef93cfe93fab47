// SPDX-License-Identifier: MPL-2.0
//! The instruction sets, one file each: what implements [`GemmKernel`](crate::GemmKernel) for it.
//!
//! Each type is a proof that the machine has the instructions: its `detect` checks, and there is no
//! other way to make a value. The files for one architecture are compiled on that alone.

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
