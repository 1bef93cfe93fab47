// SPDX-License-Identifier: MPL-2.0
//! The array as the host sees it: instruction streams in, results in memory, by the overlay's
//! contract.
//!
//! The simulator interprets a stream word by word, keeps the registers that it writes, generates
//! the addresses of the shims' DMAs, and lets the cores take and give streams of bytes as the
//! overlay does. A stream that would fail on the real array fails here with a [`Fault`] that says
//! why. Time, locks within the array, routes, and the core program are not simulated.
//!
//! | module | role |
//! |---|---|
//! | [`compute`] | the arithmetic of a pass on this machine's vector units |
//! | `array` | instructions, registers, and their effects |
//! | `shim_tile` | descriptors, queues and tokens of a shim tile |
//! | `cores` | what the cores wait for, take and give |
//! | `device` | [`SimulatedNpu`]: all of it as an [`NpuDevice`](crate::NpuDevice) with its own memory |

mod array;
#[allow(unsafe_code, reason = "loads vectors through pointers")]
pub mod compute;
mod cores;
mod device;
mod shim_tile;
#[cfg(test)]
mod tests;

pub use array::{Array, Totals};
pub use device::{SimulatedNpu, Simulator};

use crate::txn::TxnError;

/// A data buffer of a dispatch, at its address in the memory that the array reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Address of the first byte.
    pub address: u64,
    /// Length in bytes.
    pub len: usize,
}

/// The memory behind the shims. The array stays within the arguments of its dispatch.
pub trait Memory {
    /// Fills `to` from `address` on.
    fn read(&self, address: u64, to: &mut [u8]);
    /// Writes `from` from `address` on.
    fn write(&mut self, address: u64, from: &[u8]);
}

/// Why a stream failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The real array would wait for ever, until the host's timeout.
    #[error("{0}")]
    Hang(String),
    /// The stream does something forbidden. The real array would do something undefined, or
    /// silently something else.
    #[error("{0}")]
    Violation(String),
}

impl From<TxnError> for Fault {
    fn from(error: TxnError) -> Self {
        Self::Violation(error.to_string())
    }
}

impl Fault {
    fn violation<T>(what: impl Into<String>) -> Result<T, Self> {
        Err(Self::Violation(what.into()))
    }
}
