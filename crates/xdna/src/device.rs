// SPDX-License-Identifier: MPL-2.0
//! What the encoder needs of an NPU: memory that both sides see, and programs that run on it.
//!
//! Whatever does the work is behind [`NpuDevice`]: AMD's runtime, the device model in pure Rust, or a wrapper that
//! fails on purpose. Nothing here knows which.

use std::any::Any;
use std::ops::Range;
use std::time::Duration;

/// What a buffer is for; a runtime keeps the two in different memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An instruction stream: XRT's `cacheable`, in the device heap.
    Instructions,
    /// Matrices: XRT's `host_only`, pages of this process that the NPU reads and writes where they are.
    Data,
}

/// Memory that host and NPU share, mapped for as long as it lives.
///
/// The NPU's view is not coherent with the host's: what one side has written the other sees after a sync of that
/// range, and not before. The first byte is at a multiple of 64 at least, so that the bytes can be read as numbers.
pub trait NpuBuffer: Send + Sync {
    /// The host's view.
    fn bytes(&self) -> &[u8];
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Lets the NPU see what the host wrote to `range`, in bytes.
    fn sync_to_device(&self, range: Range<usize>) -> Result<(), NpuError>;

    /// Lets the host see what the NPU wrote to `range`, in bytes.
    fn sync_from_device(&mut self, range: Range<usize>) -> Result<(), NpuError>;

    /// For the device that made the buffer, to find its own type again.
    fn as_any(&self) -> &dyn Any;
}

/// One run of the overlay's kernel.
#[derive(Clone, Copy)]
pub struct Dispatch<'a> {
    /// Of [`Kind::Instructions`].
    pub instructions: &'a dyn NpuBuffer,
    /// Instruction words of 32 bits that count; the buffer may be longer.
    pub words: usize,
    /// At most [`MOST_ARGUMENTS`], of [`Kind::Data`], in the order of [`super::contract::Argument`]: what the stream's
    /// address patches count from 0, and XRT's kernel takes from argument 3 on.
    pub data: &'a [&'a dyn NpuBuffer],
}

/// Data buffers that the kernel of an overlay has arguments for.
pub const MOST_ARGUMENTS: usize = 5;

/// An NPU with the overlay loaded.
pub trait NpuDevice: Send {
    /// `bytes` of zeros on both sides.
    fn allocate(&mut self, kind: Kind, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError>;

    /// Starts `dispatches`, one after another, as one submission: a run list where there is more than one. The buffers
    /// are the device's until [`Pending::wait`] returns.
    fn submit<'a>(
        &'a mut self,
        dispatches: &[Dispatch<'a>],
    ) -> Result<Box<dyn Pending + 'a>, NpuError>;

    /// What it is, for users: `XRT 2.25, RyzenAI-npu4`.
    fn description(&self) -> String;
}

/// A submission that runs. Dropping it waits for the end too, or aborts the run.
pub trait Pending {
    /// Returns when all dispatches are done, or with [`NpuError::Timeout`] after `limit`. After an error nothing is
    /// known of the buffers that the dispatches write.
    fn wait(self: Box<Self>, limit: Duration) -> Result<(), NpuError>;
}

/// Why there is no NPU to use, or why it did not do its work: in words for users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpuError {
    #[error("AMD's runtime is not there: {0}")]
    NoRuntime(String),
    #[error("no NPU: {0}")]
    NoDevice(String),
    #[error("no permission to use the NPU: {0}")]
    NoPermission(String),
    #[error("the NPU may not pin enough memory, raise the memlock limit: {0}")]
    Memlock(String),
    #[error("no overlay for the NPU: {0}")]
    NoOverlay(String),
    #[error("this NPU is not of the generation that the overlay is for: {0}")]
    WrongGeneration(String),
    #[error("the NPU refuses the overlay: {0}")]
    Refused(String),
    #[error("no memory for the NPU: {0}")]
    NoMemory(String),
    #[error("the model does not suit the NPU: {0}")]
    Unsuited(String),
    #[error("the NPU was not done after {} ms{}", limit.as_millis(), because(reason))]
    Timeout { limit: Duration, reason: String },
    #[error("the NPU reports an error: {0}")]
    Failed(String),
    #[error("the NPU's context is lost: {0}")]
    ContextLost(String),
    #[error("the NPU was used wrongly: {0}")]
    Misuse(String),
}

fn because(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(": {reason}"),
    }
}
