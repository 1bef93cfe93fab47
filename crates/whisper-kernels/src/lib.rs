// SPDX-License-Identifier: MPL-2.0
//! Arithmetic of transformer networks on the CPU: matrix products, attention, quantisation.

pub mod arch;
pub mod buffer;
pub mod decoder_attention;
pub mod element;
pub mod encoder_attention;
mod encoder_kernel;
pub mod epilogue;
pub mod gemm;
mod isa;
mod kernel;
pub mod layer_norm;
pub mod linear;
pub mod micro_kernel;
pub mod pack;
pub mod quantize;
mod simd;
pub mod vecmath;
pub mod w8a16;
pub mod w8a8;

pub use arch::portable::Portable;
pub use encoder_kernel::EncoderKernel;
pub use isa::{Detected, ForKernel, ISA_VARIABLE, Isa, UnknownIsa};
pub use kernel::{DotI8, GemmKernel, MAX_MR, MAX_NR, QUAD, QuadDot, ValueDot, mr};
pub use simd::{DotI16, SimdF32, SimdOp};

#[cfg(test)]
mod tests;
