// SPDX-License-Identifier: MPL-2.0
//! [`NpuDevice`] on AMD's runtime, XRT.
//!
//! XRT is C++, and is not on most machines. `kernels/xrt` wraps it in a shared object with a C ABI, which `shim` loads
//! at run time; `handle` owns what the shim hands out; `places` knows where shim, overlay and NPU are; `reason`
//! says in plain words why something failed.

mod buffer;
mod handle;
mod places;
mod reason;
mod shim;

use std::time::Duration;

pub use self::places::SearchPaths;

use self::buffer::{Arena, XrtBuffer};
use self::handle::{Handle, device_count, xrt_version};
use self::reason::{Step, explain};
use self::shim::{Failure, RawBatch, RawContext, RawDevice, RawKernel, RawXclbin, Shim};
use super::device::{Dispatch, Kind, MOST_ARGUMENTS, NpuBuffer, NpuDevice, NpuError, Pending};

/// How long dropping a submission that nobody waited for may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// An NPU with the overlay loaded, in one hardware context that is never switched.
///
/// Once a submission went wrong its context is in an unknown state: the device then refuses everything, and is to be
/// opened anew.
pub struct XrtDevice {
    // In the order in which they are to be dropped.
    arena: Arena,
    kernel: Handle<RawKernel>,
    context: Handle<RawContext>,
    device: Handle<RawDevice>,
    name: String,
    /// Why nothing can be submitted any more.
    broken: Option<NpuError>,
}

impl XrtDevice {
    /// Looks for NPU, runtime and overlay, and loads the overlay. The error says what is missing and what to do.
    pub fn open(places: &SearchPaths) -> Result<Self, NpuError> {
        let hardware = places.hardware()?;
        let shim = places.load_shim()?;
        let overlay = places.overlay()?;
        let (device, name) = open_device(shim, &hardware)?;
        let version = xrt_version(shim).map_err(|failure| explain(Step::Open, failure))?;
        let named = |failure: Failure| Failure {
            text: format!("{}: {}", overlay.display(), failure.text),
            ..failure
        };
        let xclbin = Handle::<RawXclbin>::open(shim, &overlay)
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
            if dispatch.data.len() > MOST_ARGUMENTS {
                return Err(misuse("more buffers than the kernel takes"));
            }
            let instructions = XrtBuffer::of(dispatch.instructions)?.handle();
            let data = dispatch
                .data
                .iter()
                .map(|buffer| Ok(XrtBuffer::of(*buffer)?.handle()))
                .collect::<Result<Vec<_>, NpuError>>()?;
            batch
                .add(&self.kernel, instructions, words, &data)
                .map_err(failed)?;
        }
        batch.start().map_err(failed)?;
        Ok(batch)
    }
}

/// The NPU that `hardware` is, among the devices that XRT knows, and its name.
fn open_device(
    shim: &'static Shim,
    hardware: &places::Hardware,
) -> Result<(Handle<RawDevice>, String), NpuError> {
    let failed = |failure| explain(Step::Open, failure);
    for index in 0..device_count(shim).map_err(failed)? {
        let device = Handle::<RawDevice>::open(shim, index).map_err(failed)?;
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
    fn allocate(&mut self, kind: Kind, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError> {
        let buffer = match kind {
            Kind::Instructions => self.arena.allocate(&self.device, &self.kernel, bytes)?,
            Kind::Data => XrtBuffer::data(&self.device, &self.kernel, bytes)?,
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

/// A batch that the NPU works on.
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
            // Whoever drops it does not want to know; the device remembers.
            let _ = self.finish(PATIENCE);
        }
    }
}

fn misuse(text: &str) -> NpuError {
    NpuError::Misuse(text.into())
}
