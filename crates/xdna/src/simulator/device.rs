// SPDX-License-Identifier: MPL-2.0
//! The model as a device, in pure Rust.
//!
//! Each buffer exists twice, as the host sees it and as the array does; a sync copies. A forgotten one is seen at once.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Argument, Array, Fault, Memory, Totals};
use crate::arithmetic::{Even, Rounding};
use crate::device::{Dispatch, Kind, MOST_ARGUMENTS, NpuBuffer, NpuDevice, NpuError, Pending};
use crate::emulation;
use whisper_kernels::UnknownIsa;
use whisper_kernels::buffer::AlignedBuffer;

/// From one buffer's address to the next one's: no descriptor that goes astray finds another buffer.
const APART: u64 = 1 << 36;

/// The device model with memory of its own.
pub struct Emulation {
    array: Array,
    buffers: u64,
    submissions: u64,
}

impl Emulation {
    /// With the rounding that the overlay sets.
    pub fn new() -> Result<Self, UnknownIsa> {
        Self::rounding::<Even>()
    }

    /// With another rounding mode of the cores.
    pub fn rounding<R: Rounding>() -> Result<Self, UnknownIsa> {
        Ok(Self {
            array: Array::new(emulation::cores::<R>()?),
            buffers: 0,
            submissions: 0,
        })
    }

    /// What the array has done, and in how many submissions.
    pub fn totals(&self) -> (Totals, u64) {
        (self.array.totals(), self.submissions)
    }
}

/// A buffer of the model.
struct Emulated {
    kind: Kind,
    address: u64,
    host: AlignedBuffer<u8>,
    device: Arc<Mutex<Vec<u8>>>,
}

impl Emulated {
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

impl NpuBuffer for Emulated {
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

impl NpuDevice for Emulation {
    fn allocate(&mut self, kind: Kind, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError> {
        self.buffers += 1;
        Ok(Box::new(Emulated {
            kind,
            address: self.buffers * APART,
            host: AlignedBuffer::new(bytes),
            device: Arc::new(Mutex::new(vec![0; bytes])),
        }))
    }

    fn submit<'a>(
        &'a mut self,
        dispatches: &[Dispatch<'a>],
    ) -> Result<Box<dyn Pending + 'a>, NpuError> {
        let run = |dispatch: &Dispatch<'a>| Run::of(dispatch);
        let runs = dispatches.iter().map(run).collect::<Result<_, _>>()?;
        self.submissions += 1;
        Ok(Box::new(Submitted { device: self, runs }))
    }

    fn description(&self) -> String {
        "emulation".into()
    }
}

/// A dispatch whose buffers are known to be ours.
struct Run<'a> {
    instructions: &'a Emulated,
    words: usize,
    data: Vec<&'a Emulated>,
}

impl<'a> Run<'a> {
    fn of(dispatch: &Dispatch<'a>) -> Result<Self, NpuError> {
        let misuse = |what: &str| Err(NpuError::Misuse(what.into()));
        let instructions = ours(dispatch.instructions, Kind::Instructions)?;
        if 4 * dispatch.words > instructions.host.len() {
            return misuse("a stream longer than its buffer");
        }
        if dispatch.data.len() > MOST_ARGUMENTS {
            return misuse("too many buffers for one dispatch");
        }
        let data = dispatch.data.iter().map(|buffer| ours(*buffer, Kind::Data));
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
        let mut memory = Views(Vec::new());
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

fn ours(buffer: &dyn NpuBuffer, kind: Kind) -> Result<&Emulated, NpuError> {
    match buffer.as_any().downcast_ref::<Emulated>() {
        Some(buffer) if buffer.kind == kind => Ok(buffer),
        Some(_) => Err(NpuError::Misuse(format!(
            "a buffer that is not for {kind:?}"
        ))),
        None => Err(NpuError::Misuse("a buffer of another device".into())),
    }
}

/// The array's view of a dispatch's buffers.
struct Views<'a>(Vec<(u64, MutexGuard<'a, Vec<u8>>)>);

impl Views<'_> {
    /// The array stays within its arguments, each of which is here.
    fn find(&self, address: u64) -> Option<(usize, usize)> {
        let buffer = self
            .0
            .iter()
            .position(|(base, _)| address / APART == base / APART)?;
        Some((buffer, (address % APART) as usize))
    }
}

impl Memory for Views<'_> {
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

/// What has been submitted is done when somebody waits for it; dropped unawaited it is aborted before its start.
struct Submitted<'a> {
    device: &'a mut Emulation,
    runs: Vec<Run<'a>>,
}

impl Pending for Submitted<'_> {
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
