// SPDX-License-Identifier: MPL-2.0
//! [`NpuDevice`] on AMD's runtime, XRT.
//!
//! XRT is C++, and most machines do not have it. `kernels/xrt` wraps it in a shared object with a C
//! ABI, the *bridge*, which is loaded at run time.
//!
//! | module | role |
//! |---|---|
//! | `search` | where the NPU, the bridge and the overlay are |
//! | `overlay` | what a file of an overlay says of itself |
//! | `bridge` | loads the bridge and resolves its functions |
//! | `handle` | owns the handles of the bridge: all its calls are here |
//! | `buffer` | [`NpuBuffer`] in XRT's memory |
//! | `explain` | failures in words for users |

mod bridge;
mod buffer;
mod explain;
mod handle;
mod overlay;
mod search;

use std::time::Duration;

pub use self::overlay::identify as identify_overlay;
pub use self::search::{SearchPaths, own_file};

use self::bridge::{Bridge, Failure, RawBatch, RawContext, RawDevice, RawKernel, RawXclbin};
use self::buffer::{Arena, XrtBuffer};
use self::explain::{Step, explain};
use self::handle::{Handle, device_count, xrt_version};
use super::device::{BufferKind, Dispatch, MAX_ARGUMENTS, NpuBuffer, NpuDevice, NpuError, Pending};

/// How long the drop of an unawaited submission may take.
const DROP_LIMIT: Duration = Duration::from_secs(2);

/// An NPU with the overlay loaded, in one hardware context that is never switched.
///
/// After a failed submission the state of the context is unknown: the device refuses everything and
/// has to be opened again.
pub struct XrtDevice {
    // Fields are dropped in this order.
    arena: Arena,
    kernel: Handle<RawKernel>,
    context: Handle<RawContext>,
    device: Handle<RawDevice>,
    name: String,
    /// The failure after which nothing can be submitted.
    broken: Option<NpuError>,
}

impl XrtDevice {
    /// Searches for NPU, runtime and overlay, and loads the overlay.
    ///
    /// # Errors
    ///
    /// What is missing, and what to do.
    pub fn open(paths: &SearchPaths) -> Result<Self, NpuError> {
        let hardware = paths.hardware()?;
        let bridge = paths.load_bridge()?;
        let overlay = paths.overlay()?;
        raise_memlock();
        let (device, name) = open_device(bridge, &hardware)?;
        let version = xrt_version(bridge).map_err(|failure| explain(Step::Open, failure))?;
        let named = |failure: Failure| Failure {
            text: format!("{}: {}", overlay.display(), failure.text),
            ..failure
        };
        let xclbin = Handle::<RawXclbin>::open(bridge, &overlay)
            .map_err(|failure| explain(Step::Overlay, named(failure)))?;
        let kernel_name = xclbin
            .kernel()
            .map_err(|failure| explain(Step::Overlay, named(failure)))?;
        xclbin
            .register(&device)
            .map_err(|failure| explain(Step::Register, named(failure)))?;
        let context = Handle::<RawContext>::open(&device, &xclbin)
            .map_err(|failure| explain(Step::Context, failure))?;
        let kernel = Handle::<RawKernel>::open(&context, &kernel_name)
            .map_err(|failure| explain(Step::Context, failure))?;
        Ok(Self {
            arena: Arena::default(),
            kernel,
            context,
            device,
            name: format!("XRT {}.{}, {name}", version.0, version.1),
            broken: None,
        })
    }

    fn start(&mut self, dispatches: &[Dispatch]) -> Result<Handle<RawBatch>, NpuError> {
        let failed = |failure| explain(Step::Start, failure);
        let batch = Handle::<RawBatch>::new_in(&self.context).map_err(failed)?;
        for dispatch in dispatches {
            let words = u32::try_from(dispatch.words)
                .ok()
                .filter(|&words| words as usize * 4 <= dispatch.instructions.bytes().len());
            let words = words.ok_or_else(|| misuse("more instructions than their buffer holds"))?;
            if dispatch.data.len() > MAX_ARGUMENTS {
                return Err(misuse("more buffers than the kernel takes"));
            }
            let instructions = XrtBuffer::downcast(dispatch.instructions)?.handle();
            let data = dispatch
                .data
                .iter()
                .map(|buffer| Ok(XrtBuffer::downcast(*buffer)?.handle()))
                .collect::<Result<Vec<_>, NpuError>>()?;
            batch
                .add(&self.kernel, instructions, words, &data)
                .map_err(failed)?;
        }
        batch.start().map_err(failed)?;
        Ok(batch)
    }
}

/// Raises the soft limit of locked memory to the hard one: the driver locks the NPU's buffers.
fn raise_memlock() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls take the address of a local. Where they fail, the limit stays: the driver
    // refuses a buffer then, and the reason names the limit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit);
        }
    }
}

/// The XRT device at the address of `hardware`, and its name.
fn open_device(
    bridge: &'static Bridge,
    hardware: &search::Hardware,
) -> Result<(Handle<RawDevice>, String), NpuError> {
    let failed = |failure| explain(Step::Open, failure);
    for index in 0..device_count(bridge).map_err(failed)? {
        let device = Handle::<RawDevice>::open(bridge, index).map_err(failed)?;
        if device.address().map_err(failed)? == hardware.address {
            let name = device.name().map_err(failed)?;
            return Ok((device, name));
        }
    }
    Err(NpuError::NoDevice(format!(
        "XRT does not know the one at {}: is its NPU plug-in installed (Debian: libxrt-npu2)?",
        hardware.address
    )))
}

impl NpuDevice for XrtDevice {
    fn allocate(&mut self, kind: BufferKind, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError> {
        let buffer = match kind {
            BufferKind::Instructions => self.arena.allocate(&self.device, &self.kernel, bytes)?,
            BufferKind::Data => XrtBuffer::data(&self.device, &self.kernel, bytes)?,
        };
        Ok(Box::new(buffer))
    }

    fn submit<'a>(
        &'a mut self,
        dispatches: &[Dispatch<'a>],
    ) -> Result<Box<dyn Pending + 'a>, NpuError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if dispatches.is_empty() {
            return Err(misuse("nothing to submit"));
        }
        let batch = self
            .start(dispatches)
            .inspect_err(|error| self.broken = Some(error.clone()))?;
        Ok(Box::new(Running {
            batch,
            done: false,
            broken: &mut self.broken,
        }))
    }

    fn description(&self) -> String {
        self.name.clone()
    }
}

/// A batch that the NPU executes.
struct Running<'a> {
    batch: Handle<RawBatch>,
    done: bool,
    broken: &'a mut Option<NpuError>,
}

impl Running<'_> {
    fn finish(&mut self, limit: Duration) -> Result<(), NpuError> {
        self.done = true;
        self.batch.wait(limit).map_err(|failure| {
            let error = explain(Step::Wait(limit), failure);
            *self.broken = Some(error.clone());
            error
        })
    }
}

impl Pending for Running<'_> {
    fn wait(mut self: Box<Self>, limit: Duration) -> Result<(), NpuError> {
        self.finish(limit)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.done {
            // A drop cannot report an error. The device remembers it.
            let _ = self.finish(DROP_LIMIT);
        }
    }
}

fn misuse(text: &str) -> NpuError {
    NpuError::Misuse(text.into())
}
