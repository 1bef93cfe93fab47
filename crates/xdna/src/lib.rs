// SPDX-License-Identifier: MPL-2.0
//! Matrix products on AMD XDNA2 NPUs.
//!
//! One program for the array, the *overlay*, stays loaded and computes
//! `C[M, N] = epilogue(A[M, K] · B[K, N] + bias)` for any shape that its [contract] allows:
//! activations in bf16, weights in block floating point ([bfp16]), sums in f32. The host packs the
//! weights once, writes a stream of instructions for each shape, and submits it with three buffers.
//!
//! # Roles
//!
//! | module | role |
//! |---|---|
//! | [`device`] | traits for a device, its buffers and submissions, and for opening one; [`NpuError`] |
//! | [`matmul`] | the usual way to multiply: weights that stay on a device, cached streams, submissions |
//! | [`rows`] | matrices of bf16 in device buffers, from and to f32 |
//! | [`contract`] | the overlay in numbers: tiles, passes, parameters, limits |
//! | [`arithmetic`], [`bfp16`] | the overlay's arithmetic, defined to the bit |
//! | [`weights`] | the order in which the array takes B |
//! | [`stream`] | the instruction stream of a product |
//! | [`txn`], [`dma`] | the format of instruction streams, and the DMA registers that they write |
//! | [`xrt`] | a device that AMD's runtime drives |
//! | `simulator` (feature) | a device in pure Rust that executes streams and finds their faults |
//!
//! # Example
//!
//! The stream of a product, written and read back:
//!
//! ```
//! use xdna::contract::{Epilogue, MatMul};
//! use xdna::stream::instructions;
//! use xdna::txn::{Instruction, Reader};
//!
//! let matmul = MatMul::new(256, 512, 1024, Epilogue::Gelu)?;
//! let stream = instructions(&matmul);
//! let stream: Vec<Instruction> = Reader::new(&stream)?.collect::<Result<_, _>>()?;
//!
//! // At its end the stream waits for the eight columns of the array to hand over their part of C.
//! let waits = |instruction: &&Instruction| matches!(instruction, Instruction::Wait(_));
//! assert_eq!(stream.iter().rev().take_while(waits).count(), 8);
//!
//! // Rows come in passes of 256; the error names the limit.
//! assert!(MatMul::new(300, 512, 1024, Epilogue::Gelu).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `simulator`, [`matmul`] has an example that multiplies without an NPU.

pub mod arithmetic;
pub mod bfp16;
pub mod contract;
pub mod device;
pub mod dma;
pub mod matmul;
pub mod rows;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod stream;
pub mod txn;
pub mod weights;
#[allow(unsafe_code, reason = "calls the C ABI of the bridge to XRT")]
pub mod xrt;

pub use device::{DeviceOpener, NpuDevice, NpuError};
