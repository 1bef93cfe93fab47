// SPDX-License-Identifier: MPL-2.0
//! The array as the host sees it: instruction streams in, results in memory, by the overlay's contract.
//!
//! The model interprets a stream word by word, keeps the registers that it writes, generates the addresses of the
//! shims' DMAs, and lets the cores take and give streams of bytes as the overlay does. What would go wrong on the real
//! array goes wrong here, and says so: see [`Fault`]. It knows nothing of time, of locks within the array, of routes,
//! or of how a core's program does what the contract says.
//!
//! | room | what it does |
//! |---|---|
//! | `array` | instructions, registers, and what follows from them |
//! | `dma` | descriptors, queues and tokens of a shim tile |
//! | `cores` | what the cores wait for, take and give |
//! | `device` | all this as an [`super::device::NpuDevice`], with memory of its own |

mod array;
mod cores;
mod device;
mod dma;
#[cfg(test)]
mod tests;

pub use array::{Array, Totals};
pub use device::Emulation;

/// A data buffer of a dispatch, at its address in the memory that the array reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    pub address: u64,
    /// Bytes.
    pub len: usize,
}

/// The memory behind the shims. The array reads and writes within the arguments of its dispatch only.
pub trait Memory {
    fn read(&self, address: u64, to: &mut [u8]);
    fn write(&mut self, address: u64, from: &[u8]);
}

/// Why a stream did not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// On the real array nothing would ever happen again: the host's timeout ends it.
    #[error("{0}")]
    Hang(String),
    /// What no stream may do; the real array does something undefined, or silently something else.
    #[error("{0}")]
    Violation(String),
}

impl Fault {
    fn violation<T>(what: impl Into<String>) -> Result<T, Self> {
        Err(Self::Violation(what.into()))
    }
}
