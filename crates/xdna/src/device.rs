// SPDX-License-Identifier: MPL-2.0
//! A device: memory that host and NPU share, and programs that run on it.
//!
//! [`NpuDevice`] has three implementations: [`crate::xrt::XrtDevice`], `simulator::SimulatedNpu`,
//! and wrappers in tests that fail on purpose. Callers cannot tell which one they have.

use std::any::Any;
use std::ops::Range;
use std::time::Duration;

/// What a buffer is for. A runtime keeps the two in different memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// An instruction stream: XRT's `cacheable`, in the device heap.
    Instructions,
    /// Matrices: XRT's `host_only`, pages of this process that the NPU reads and writes in place.
    Data,
}

/// Memory that host and NPU share, mapped for as long as it lives.
///
/// The NPU's view is not coherent with the host's: each side sees what the other one wrote after a
/// sync of that range. The first byte is aligned to at least 64, so that the bytes can be read as
/// numbers.
pub trait NpuBuffer: Send + Sync {
    /// The host's view.
    fn bytes(&self) -> &[u8];

    /// The host's view, to write to.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Lets the NPU see what the host wrote to `range`, in bytes.
    ///
    /// # Errors
    ///
    /// [`NpuError::Misuse`] if `range` leaves the buffer; otherwise what the runtime reports.
    fn sync_to_device(&self, range: Range<usize>) -> Result<(), NpuError>;

    /// Lets the host see what the NPU wrote to `range`, in bytes.
    ///
    /// # Errors
    ///
    /// As [`NpuBuffer::sync_to_device`].
    fn sync_from_device(&mut self, range: Range<usize>) -> Result<(), NpuError>;

    /// The buffer as the concrete type that its device made.
    fn as_any(&self) -> &dyn Any;
}

/// One run of the overlay's kernel.
#[derive(Clone, Copy)]
pub struct Dispatch<'a> {
    /// A buffer of [`BufferKind::Instructions`].
    pub instructions: &'a dyn NpuBuffer,
    /// Length of the instruction stream in words of 32 bits. The buffer may be longer.
    pub words: usize,
    /// At most [`MAX_ARGUMENTS`] buffers of [`BufferKind::Data`], in the order of
    /// [`crate::contract::Argument`]. Address patches of the stream count them from 0, XRT's kernel
    /// takes them from its argument 3 on.
    pub data: &'a [&'a dyn NpuBuffer],
}

/// Data buffers that the kernel of an overlay takes.
pub const MAX_ARGUMENTS: usize = 5;

/// An NPU with the overlay loaded.
pub trait NpuDevice: Send {
    /// A buffer of `bytes` zeros on both sides.
    ///
    /// # Errors
    ///
    /// [`NpuError::NoMemory`] or [`NpuError::Memlock`].
    fn allocate(&mut self, kind: BufferKind, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError>;

    /// Starts `dispatches`, one after another, as one submission: a run list if there are several.
    /// The device owns the buffers until [`Pending::wait`] returns.
    ///
    /// # Errors
    ///
    /// What the runtime reports, or [`NpuError::Misuse`] for buffers that the device did not make.
    fn submit<'a>(
        &'a mut self,
        dispatches: &[Dispatch<'a>],
    ) -> Result<Box<dyn Pending + 'a>, NpuError>;

    /// What the device is, for users: `XRT 2.25, RyzenAI-npu4`.
    fn description(&self) -> String;
}

/// A running submission. Dropping it waits for the end too, or aborts the run.
pub trait Pending {
    /// Returns when all dispatches are done.
    ///
    /// # Errors
    ///
    /// [`NpuError::Timeout`] after `limit`; otherwise what the runtime reports. After an error the
    /// content of the buffers that the dispatches write is undefined.
    fn wait(self: Box<Self>, limit: Duration) -> Result<(), NpuError>;
}

/// A way to open a device. Callers keep it, to open the device again after a failure.
pub trait DeviceOpener: Send + Sync {
    /// Checks for hardware that [`DeviceOpener::open`] can try. Returns at once.
    ///
    /// # Errors
    ///
    /// Why there is no such hardware.
    fn probe(&self) -> Result<(), NpuError>;

    /// Opens the device and loads the overlay.
    ///
    /// # Errors
    ///
    /// What is missing, and how to get it.
    fn open(&self) -> Result<Box<dyn NpuDevice>, NpuError>;
}

/// Why no NPU can be used, or why it failed, in words for users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpuError {
    /// XRT or the bridge library to it cannot be loaded.
    #[error("AMD's runtime is not there: {0}")]
    NoRuntime(String),
    /// There is no NPU, or XRT does not know it.
    #[error("no NPU: {0}")]
    NoDevice(String),
    /// The device node may not be opened.
    #[error("no permission to use the NPU: {0}")]
    NoPermission(String),
    /// The limit of locked memory is too low.
    #[error("the NPU may not pin enough memory, raise the memlock limit: {0}")]
    Memlock(String),
    /// The overlay is not found, or is no xclbin.
    #[error("no overlay for the NPU: {0}")]
    NoOverlay(String),
    /// There is an NPU, but no XDNA2.
    #[error("this NPU is not of the generation that the overlay is for: {0}")]
    WrongGeneration(String),
    /// Driver or firmware do not load the overlay.
    #[error("the NPU refuses the overlay: {0}")]
    Refused(String),
    /// A buffer could not be allocated.
    #[error("no memory for the NPU: {0}")]
    NoMemory(String),
    /// The overlay cannot compute a product that is asked for.
    #[error("the model does not suit the NPU: {0}")]
    Unsuited(String),
    /// A submission was not done within its limit.
    #[error("the NPU was not done after {} ms{}", limit.as_millis(), because(reason))]
    Timeout {
        /// The limit.
        limit: Duration,
        /// What the runtime says, or nothing.
        reason: String,
    },
    /// The NPU or its runtime reports an error.
    #[error("the NPU reports an error: {0}")]
    Failed(String),
    /// The hardware context is gone: the device must be opened again.
    #[error("the NPU's context is lost: {0}")]
    ContextLost(String),
    /// A fault of the caller.
    #[error("the NPU was used wrongly: {0}")]
    Misuse(String),
}

fn because(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(": {reason}"),
    }
}
