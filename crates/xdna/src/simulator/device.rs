// SPDX-License-Identifier: MPL-2.0
//! The simulator as a device.
//!
//! Each buffer exists twice, once for the host and once for the array, and a sync copies. So a
//! forgotten sync shows at once.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Argument, Array, Fault, Memory, Totals, compute};
use crate::device::{
    BufferKind, DeviceOpener, Dispatch, MAX_ARGUMENTS, NpuBuffer, NpuDevice, NpuError, Pending,
};
use whisper_kernels::UnknownIsa;
use whisper_kernels::buffer::AlignedBuffer;

/// Distance between the addresses of buffers: no stray descriptor reaches another buffer.
const ADDRESS_STEP: u64 = 1 << 36;

/// An NPU in pure Rust.
pub struct SimulatedNpu {
    array: Array,
    buffers: u64,
    submissions: u64,
}

impl SimulatedNpu {
    /// An NPU.
    ///
    /// # Errors
    ///
    /// If the environment names an unknown instruction set.
    pub fn new() -> Result<Self, UnknownIsa> {
        Ok(Self {
            array: Array::new(compute::cores()?),
            buffers: 0,
            submissions: 0,
        })
    }

    /// Work of the array, and the number of submissions.
    pub fn totals(&self) -> (Totals, u64) {
        (self.array.totals(), self.submissions)
    }
}

/// A buffer as host and array see it.
struct SimulatedBuffer {
    kind: BufferKind,
    address: u64,
    host: AlignedBuffer<u8>,
    device: Arc<Mutex<Vec<u8>>>,
}

impl SimulatedBuffer {
    fn device(&self) -> MutexGuard<'_, Vec<u8>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn within(range: &Range<usize>, len: usize) -> Result<(), NpuError> {
    if range.start <= range.end && range.end <= len {
        return Ok(());
    }
    let what = format!("a sync of bytes {range:?} of a buffer of {len}");
    Err(NpuError::Misuse(what))
}

impl NpuBuffer for SimulatedBuffer {
    fn bytes(&self) -> &[u8] {
        &self.host
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.host
    }

    fn sync_to_device(&self, range: Range<usize>) -> Result<(), NpuError> {
        within(&range, self.host.len())?;
        self.device()[range.clone()].copy_from_slice(&self.host[range]);
        Ok(())
    }

    fn sync_from_device(&mut self, range: Range<usize>) -> Result<(), NpuError> {
        within(&range, self.host.len())?;
        let device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        self.host[range.clone()].copy_from_slice(&device[range]);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Opens a [`SimulatedNpu`].
#[derive(Clone, Copy, Debug)]
pub struct Simulator;

impl DeviceOpener for Simulator {
    fn probe(&self) -> Result<(), NpuError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn NpuDevice>, NpuError> {
        let device = SimulatedNpu::new();
        Ok(Box::new(
            device.map_err(|error| NpuError::NoDevice(error.to_string()))?,
        ))
    }
}

impl NpuDevice for SimulatedNpu {
    fn allocate(&mut self, kind: BufferKind, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError> {
        self.buffers += 1;
        Ok(Box::new(SimulatedBuffer {
            kind,
            address: self.buffers * ADDRESS_STEP,
            host: AlignedBuffer::new(bytes),
            device: Arc::new(Mutex::new(vec![0; bytes])),
        }))
    }

    fn submit<'a>(
        &'a mut self,
        dispatches: &[Dispatch<'a>],
    ) -> Result<Box<dyn Pending + 'a>, NpuError> {
        let run = |dispatch: &Dispatch<'a>| ResolvedDispatch::of(dispatch);
        let runs = dispatches.iter().map(run).collect::<Result<_, _>>()?;
        self.submissions += 1;
        Ok(Box::new(Submission { device: self, runs }))
    }

    fn description(&self) -> String {
        "emulation".into()
    }
}

/// A dispatch whose buffers are known to be of this device.
struct ResolvedDispatch<'a> {
    instructions: &'a SimulatedBuffer,
    words: usize,
    data: Vec<&'a SimulatedBuffer>,
}

impl<'a> ResolvedDispatch<'a> {
    fn of(dispatch: &Dispatch<'a>) -> Result<Self, NpuError> {
        let misuse = |what: &str| Err(NpuError::Misuse(what.into()));
        let instructions = ours(dispatch.instructions, BufferKind::Instructions)?;
        if 4 * dispatch.words > instructions.host.len() {
            return misuse("a stream longer than its buffer");
        }
        if dispatch.data.len() > MAX_ARGUMENTS {
            return misuse("too many buffers for one dispatch");
        }
        let data = dispatch
            .data
            .iter()
            .map(|buffer| ours(*buffer, BufferKind::Data));
        Ok(Self {
            instructions,
            words: dispatch.words,
            data: data.collect::<Result<_, _>>()?,
        })
    }

    fn execute(&self, array: &mut Array) -> Result<(), Fault> {
        let stream = self.instructions.device();
        let words = stream.chunks_exact(4).take(self.words);
        let words: Vec<u32> = words
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        let mut memory = ArrayViews(Vec::new());
        for buffer in &self.data {
            let view = buffer.device.try_lock();
            let view = view.map_err(|_| Fault::Violation("one buffer as two arguments".into()))?;
            memory.0.push((buffer.address, view));
        }
        let argument = |(address, view): &(u64, MutexGuard<'_, Vec<u8>>)| Argument {
            address: *address,
            len: view.len(),
        };
        let arguments: Vec<Argument> = memory.0.iter().map(argument).collect();
        array.execute(&words, &arguments, &mut memory)
    }
}

fn ours(buffer: &dyn NpuBuffer, kind: BufferKind) -> Result<&SimulatedBuffer, NpuError> {
    match buffer.as_any().downcast_ref::<SimulatedBuffer>() {
        Some(buffer) if buffer.kind == kind => Ok(buffer),
        Some(_) => Err(NpuError::Misuse(format!(
            "a buffer that is not for {kind:?}"
        ))),
        None => Err(NpuError::Misuse("a buffer of another device".into())),
    }
}

/// The array's view of a dispatch's buffers.
struct ArrayViews<'a>(Vec<(u64, MutexGuard<'a, Vec<u8>>)>);

impl ArrayViews<'_> {
    /// The array stays within its arguments, each of which is here.
    fn find(&self, address: u64) -> Option<(usize, usize)> {
        let buffer = self
            .0
            .iter()
            .position(|(base, _)| address / ADDRESS_STEP == base / ADDRESS_STEP)?;
        Some((buffer, (address % ADDRESS_STEP) as usize))
    }
}

impl Memory for ArrayViews<'_> {
    fn read(&self, address: u64, to: &mut [u8]) {
        if let Some((buffer, at)) = self.find(address) {
            to.copy_from_slice(&self.0[buffer].1[at..][..to.len()]);
        }
    }

    fn write(&mut self, address: u64, from: &[u8]) {
        if let Some((buffer, at)) = self.find(address) {
            self.0[buffer].1[at..][..from.len()].copy_from_slice(from);
        }
    }
}

/// Dispatches that are executed when they are awaited. Dropping them unawaited aborts them before
/// their start.
struct Submission<'a> {
    device: &'a mut SimulatedNpu,
    runs: Vec<ResolvedDispatch<'a>>,
}

impl Pending for Submission<'_> {
    fn wait(self: Box<Self>, limit: Duration) -> Result<(), NpuError> {
        for run in &self.runs {
            if let Err(fault) = run.execute(&mut self.device.array) {
                self.device.array.reset();
                return Err(match fault {
                    Fault::Hang(reason) => NpuError::Timeout { limit, reason },
                    Fault::Violation(what) => NpuError::Failed(what),
                });
            }
        }
        Ok(())
    }
}
