// SPDX-License-Identifier: MPL-2.0
//! A device that measures where the time goes.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use xdna::device::{BufferKind, Dispatch, NpuBuffer, NpuDevice, NpuError, Pending};

use super::milliseconds;

/// What is measured.
#[derive(Clone, Copy)]
enum Part {
    SyncToDevice,
    SyncFromDevice,
    Submit,
    Wait,
}

const NAMES: [&str; 4] = ["syncs", "syncs back", "submissions", "waits"];

/// Calls and time of each part since the device was made.
#[derive(Clone, Default)]
pub struct Spent(Arc<Mutex<[(u64, Duration); NAMES.len()]>>);

impl Spent {
    fn measure<T>(&self, part: Part, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let done = work();
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (calls, time) = &mut spent[part as usize];
        *calls += 1;
        *time += begin.elapsed();
        done
    }

    /// The time in a window, where so many were encoded.
    pub fn per_window(&self, windows: f64) -> String {
        let spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = NAMES.iter().zip(&*spent).map(|(name, (calls, time))| {
            let (calls, time) = (*calls as f64 / windows, milliseconds(*time) / windows);
            format!("{calls:.0} {name} {time:.2} ms")
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// A device, measured.
pub struct Timed {
    device: Box<dyn NpuDevice>,
    spent: Spent,
}

impl Timed {
    pub fn new(device: Box<dyn NpuDevice>, spent: &Spent) -> Self {
        let spent = spent.clone();
        Self { device, spent }
    }
}

impl NpuDevice for Timed {
    fn allocate(&mut self, kind: BufferKind, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError> {
        Ok(Box::new(TimedBuffer {
            buffer: self.device.allocate(kind, bytes)?,
            spent: self.spent.clone(),
        }))
    }

    fn submit<'a>(
        &'a mut self,
        dispatches: &[Dispatch<'a>],
    ) -> Result<Box<dyn Pending + 'a>, NpuError> {
        let Self { device, spent } = self;
        let pending = spent.measure(Part::Submit, || device.submit(dispatches))?;
        Ok(Box::new(TimedPending { pending, spent }))
    }

    fn description(&self) -> String {
        self.device.description()
    }
}

struct TimedBuffer {
    buffer: Box<dyn NpuBuffer>,
    spent: Spent,
}

impl NpuBuffer for TimedBuffer {
    fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut()
    }

    fn sync_to_device(&self, range: Range<usize>) -> Result<(), NpuError> {
        self.spent
            .measure(Part::SyncToDevice, || self.buffer.sync_to_device(range))
    }

    fn sync_from_device(&mut self, range: Range<usize>) -> Result<(), NpuError> {
        let Self { buffer, spent } = self;
        spent.measure(Part::SyncFromDevice, || buffer.sync_from_device(range))
    }

    /// The buffer within, which the device within looks for.
    fn as_any(&self) -> &dyn Any {
        self.buffer.as_any()
    }
}

struct TimedPending<'a> {
    pending: Box<dyn Pending + 'a>,
    spent: &'a Spent,
}

impl Pending for TimedPending<'_> {
    fn wait(self: Box<Self>, limit: Duration) -> Result<(), NpuError> {
        let Self { pending, spent } = *self;
        spent.measure(Part::Wait, || pending.wait(limit))
    }
}
