// SPDX-License-Identifier: MPL-2.0
//! Matrix products on AMD XDNA2 NPUs.
//!
//! One program for the array, the *overlay*, stays loaded and computes
//! `C[M, N] = A[M, K] · B[K, N]` for any shape that its [contract] allows: A and B in block floating
//! point ([bfp16]), sums in f32. The host packs the weights once and activations for each product,
//! writes a stream of instructions for each shape, and submits it with three buffers.
//!
//! # Roles
//!
//! | module | role |
//! |---|---|
//! | [`device`] | traits for a device, its buffers and submissions, and for opening one; [`NpuError`] |
//! | [`matmul`] | the usual way to multiply: weights that stay on a device, cached streams, submissions |
//! | [`contract`] | the overlay in numbers: tiles, passes, parameters, limits |
//! | [`bfp16`] | block floating point |
//! | [`pack`] | the order in which the array takes A and B |
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
//! use xdna::contract::{MatMul, Output};
//! use xdna::stream::instructions;
//! use xdna::txn::{Instruction, Reader};
//!
//! let matmul = MatMul::new(512, 512, 1024, Output::F32)?;
//! let stream = instructions(&matmul);
//! let stream: Vec<Instruction> = Reader::new(&stream)?.collect::<Result<_, _>>()?;
//!
//! // At its end the stream waits for the eight columns of the array to hand over their part of C.
//! let waits = |instruction: &&Instruction| matches!(instruction, Instruction::Wait(_));
//! assert_eq!(stream.iter().rev().take_while(waits).count(), 8);
//!
//! // Rows come in passes of 512; the error names the limit.
//! assert!(MatMul::new(300, 512, 1024, Output::F32).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `simulator`, [`matmul`] has an example that multiplies without an NPU.

pub mod bfp16;
pub mod contract;
pub mod device;
pub mod dma;
pub mod matmul;
pub mod pack;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod stream;
pub mod txn;
#[allow(unsafe_code, reason = "calls the C ABI of the bridge to XRT")]
pub mod xrt;

pub use device::{DeviceOpener, NpuDevice, NpuError};
