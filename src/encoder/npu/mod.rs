// SPDX-License-Identifier: MPL-2.0
//! The encoder with its matrix products on an AMD XDNA2 NPU.
//!
//! One resident overlay multiplies matrices of any shape that `contract` allows; the host writes its instruction
//! streams. Everything else of the encoder is on the CPU's kernels ([`crate::kernel`]).
//!
//! | room | what it does |
//! |---|---|
//! | `device` | the trait: buffers, submissions, and why there are none |
//! | `contract` | the overlay in numbers |
//! | `xrt` | the device that AMD's runtime drives |

pub mod arithmetic;
pub mod bfp16;
pub mod contract;
pub mod device;
pub mod emulation;
pub mod model;
pub mod shim;
pub mod streams;
pub mod txn;
pub mod weights;
pub mod xrt;
