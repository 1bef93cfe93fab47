// SPDX-License-Identifier: MPL-2.0
//! A device that wraps another one, counts its work, and fails as planned.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use xdna::device::{BufferKind, Dispatch, NpuBuffer, NpuDevice, NpuError, Pending};

/// A call of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Allocate,
    SyncToDevice,
    SyncFromDevice,
    Submit,
    Wait,
}

pub const STEPS: [Step; 5] = [
    Step::Allocate,
    Step::SyncToDevice,
    Step::SyncFromDevice,
    Step::Submit,
    Step::Wait,
];

/// How a step fails.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// With an error.
    Fails,
    /// With a timeout.
    Hangs,
    /// A sync succeeds but moves garbage: to the device nothing at all, from the device this byte
    /// everywhere. Other steps work.
    Garbage(u8),
    /// A sync from the device succeeds and moves nothing: the host keeps what it read there before.
    Stale,
    /// A sync from the device gives what the sync before it gave.
    Repeats,
}

/// When which step fails: from call `first` on, counted over all openings of the device, `times`
/// times.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub step: Step,
    pub fault: Fault,
    pub first: usize,
    pub times: usize,
}

/// Calls of all openings of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub steps: [usize; STEPS.len()],
    pub dispatches: usize,
    pub bytes_synced: usize,
    /// Time between the starts of submissions and the waits for them.
    pub meanwhile: Duration,
}

impl Counts {
    pub fn of(&self, step: Step) -> usize {
        self.steps[step as usize]
    }
}

/// The plan and the counts that all openings of a device share.
#[derive(Clone, Default)]
pub struct Control {
    shared: Arc<Mutex<Shared>>,
    /// Called before each wait for a submission returns.
    awaited: Option<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Shared {
    plan: Option<Plan>,
    counts: Counts,
    /// All steps in their order.
    steps: Vec<Step>,
    /// What the last sync from the device gave.
    last: Vec<u8>,
}

impl Control {
    pub fn with(plan: Plan) -> Self {
        let control = Self::default();
        control.shared().plan = Some(plan);
        control
    }

    /// Nothing fails, and no submission ends before `awaited` returns.
    pub fn waiting_for(awaited: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            awaited: Some(Arc::new(awaited)),
            ..Self::default()
        }
    }

    /// Fails by `plan` from now on.
    pub fn plan(&self, plan: Plan) {
        self.shared().plan = Some(plan);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    pub fn counts(&self) -> Counts {
        self.shared().counts
    }

    pub fn steps(&self) -> Vec<Step> {
        self.shared().steps.clone()
    }

    /// Counts the step, and returns its fault.
    fn take(&self, step: Step) -> Option<Fault> {
        let shared = &mut *self.shared();
        shared.steps.push(step);
        let number = shared.counts.steps[step as usize];
        shared.counts.steps[step as usize] += 1;
        let plan = shared.plan.filter(|plan| plan.step == step)?;
        let strikes = number >= plan.first && number - plan.first < plan.times;
        strikes.then_some(plan.fault)
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.shared().counts);
    }
}

/// The result of a step with this fault, apart from its data.
fn refuse(fault: Option<Fault>, limit: Duration) -> Result<(), NpuError> {
    match fault {
        Some(Fault::Fails) => Err(NpuError::Failed("on purpose".into())),
        Some(Fault::Hangs) => Err(NpuError::Timeout {
            limit,
            reason: "on purpose".into(),
        }),
        Some(Fault::Garbage(_) | Fault::Stale | Fault::Repeats) | None => Ok(()),
    }
}

pub struct Faulty<D> {
    device: D,
    control: Control,
}

impl<D: NpuDevice> Faulty<D> {
    pub fn new(device: D, control: &Control) -> Self {
        Self {
            device,
            control: control.clone(),
        }
    }
}

impl<D: NpuDevice> NpuDevice for Faulty<D> {
    fn allocate(&mut self, kind: BufferKind, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError> {
        refuse(self.control.take(Step::Allocate), Duration::ZERO)?;
        Ok(Box::new(FaultyBuffer {
            buffer: self.device.allocate(kind, bytes)?,
            control: self.control.clone(),
        }))
    }

    fn submit<'a>(
        &'a mut self,
        dispatches: &[Dispatch<'a>],
    ) -> Result<Box<dyn Pending + 'a>, NpuError> {
        refuse(self.control.take(Step::Submit), Duration::ZERO)?;
        self.control
            .count(|counts| counts.dispatches += dispatches.len());
        Ok(Box::new(FaultyPending {
            pending: self.device.submit(dispatches)?,
            began: Instant::now(),
            control: self.control.clone(),
        }))
    }

    fn description(&self) -> String {
        self.device.description()
    }
}

struct FaultyBuffer {
    buffer: Box<dyn NpuBuffer>,
    control: Control,
}

impl NpuBuffer for FaultyBuffer {
    fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut()
    }

    fn sync_to_device(&self, range: Range<usize>) -> Result<(), NpuError> {
        let fault = self.control.take(Step::SyncToDevice);
        refuse(fault, Duration::ZERO)?;
        self.control
            .count(|counts| counts.bytes_synced += range.len());
        match fault {
            Some(Fault::Garbage(_)) => Ok(()),
            _ => self.buffer.sync_to_device(range),
        }
    }

    fn sync_from_device(&mut self, range: Range<usize>) -> Result<(), NpuError> {
        let fault = self.control.take(Step::SyncFromDevice);
        refuse(fault, Duration::ZERO)?;
        self.control
            .count(|counts| counts.bytes_synced += range.len());
        if let Some(Fault::Stale) = fault {
            return Ok(());
        }
        self.buffer.sync_from_device(range.clone())?;
        let bytes = &mut self.buffer.bytes_mut()[range];
        let last = &mut self.control.shared().last;
        match fault {
            Some(Fault::Garbage(byte)) => bytes.fill(byte),
            Some(Fault::Repeats) => {
                let common = last.len().min(bytes.len());
                bytes[..common].copy_from_slice(&last[..common]);
            }
            _ => {
                last.clear();
                last.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// The buffer within, which the device within looks for.
    fn as_any(&self) -> &dyn Any {
        self.buffer.as_any()
    }
}

struct FaultyPending<'a> {
    pending: Box<dyn Pending + 'a>,
    began: Instant,
    control: Control,
}

impl Pending for FaultyPending<'_> {
    fn wait(self: Box<Self>, limit: Duration) -> Result<(), NpuError> {
        let meanwhile = self.began.elapsed();
        self.control.count(|counts| counts.meanwhile += meanwhile);
        if let Some(awaited) = &self.control.awaited {
            awaited();
        }
        refuse(self.control.take(Step::Wait), limit)?;
        self.pending.wait(limit)
    }
}
