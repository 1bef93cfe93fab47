// SPDX-License-Identifier: MPL-2.0
//! An encoder on a device that may fail, with the CPU's encoder behind it: no window is lost.
//!
//! The CPU encodes a window again if the device fails on it, and all windows after it until the
//! device has been opened again in the background. The device's first window, and one in
//! `CHECK_INTERVAL` after it, is encoded on both, and the results are compared. If the CPU fails
//! on such a window, the next one is compared instead.

mod health;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use ndarray::{ArrayView2, ArrayViewMut2, s};
use xdna::NpuError;

use super::{AudioFeatures, Encoder, EncoderError};

pub use self::health::{Health, HealthMonitor, StatusChange};

/// Cosine similarity from which on device and CPU are taken to agree, in each part of each output.
const MIN_COSINE_SIMILARITY: f64 = 0.99;
/// Rows of a part: less than a device computes at once, so that what it loses fills a part.
const PART_ROWS: usize = 128;
/// Windows between two that are encoded on both.
const CHECK_INTERVAL: u64 = 256;
/// Time from a failure to the next opening. It doubles with each failure in a row.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// The longest such time.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Opens the device and loads the model to it.
pub type OpenEncoder = Arc<dyn Fn() -> Result<Box<dyn Encoder>, NpuError> + Send + Sync>;

/// Why a window of the device is not used.
#[derive(Debug, thiserror::Error)]
enum DeviceFailure {
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    #[error("its output is not a number")]
    NotFinite,
    #[error("what it computes is not what the CPU does (cosine {0:.4})")]
    Differs(f64),
}

/// The device, as long as it works.
enum State {
    Open(Box<dyn Encoder>),
    /// To be opened again at this time.
    Closed(Instant),
    Opening(Receiver<Result<Box<dyn Encoder>, NpuError>>),
}

/// An encoder on a device, with the CPU's encoder behind it.
pub struct FallbackEncoder {
    state: State,
    cpu: Box<dyn Encoder>,
    open: OpenEncoder,
    backoff: Duration,
    first_backoff: Duration,
    /// Windows since the last comparison. `None` before the first one on this opening of the
    /// device.
    since_check: Option<u64>,
    /// The CPU's results for a window that is compared.
    expected: Option<AudioFeatures>,
    monitor: HealthMonitor,
}

impl FallbackEncoder {
    /// An encoder on `device`, which `open` opens again after a failure, with `cpu` behind it.
    pub fn new(device: Box<dyn Encoder>, cpu: Box<dyn Encoder>, open: OpenEncoder) -> Self {
        let monitor = HealthMonitor::default();
        monitor.lock().active = device.description();
        Self {
            state: State::Open(device),
            cpu,
            open,
            backoff: FIRST_BACKOFF,
            first_backoff: FIRST_BACKOFF,
            since_check: None,
            expected: None,
            monitor,
        }
    }

    /// Changes the time from a failure to the next opening of the device.
    pub fn retrying_after(mut self, backoff: Duration) -> Self {
        self.backoff = backoff;
        self.first_backoff = backoff;
        self
    }

    /// The device's record.
    pub fn monitor(&self) -> HealthMonitor {
        self.monitor.clone()
    }

    /// Closes the device after a failure on the window that it was given, and gives that window to
    /// the CPU.
    fn close(&mut self, reason: &DeviceFailure) {
        if let State::Open(device) = &mut self.state {
            self.cpu.input().assign(&device.input());
        }
        self.state = State::Closed(Instant::now() + self.backoff);
        self.monitor.lock().failures += 1;
        self.monitor.record_change(
            true,
            self.cpu.description(),
            format!(
                "The NPU failed: {reason}. The CPU goes on, no speech is lost; the NPU is tried again in {} s",
                self.backoff.as_secs_f32().ceil()
            ),
        );
        self.backoff = (2 * self.backoff).min(MAX_BACKOFF);
    }

    /// Opens the device again in the background when it is time, and takes it when it is open.
    fn recover(&mut self) {
        match &self.state {
            State::Closed(when) if Instant::now() >= *when => {
                let (sender, receiver) = channel();
                let open = self.open.clone();
                let spawned = std::thread::Builder::new()
                    .name("whispernpu-open".into())
                    // Sending fails if the engine is gone meanwhile.
                    .spawn(move || drop(sender.send(open())));
                self.state = match spawned {
                    Ok(_) => State::Opening(receiver),
                    Err(_) => State::Closed(Instant::now() + self.backoff),
                };
            }
            State::Opening(receiver) => match receiver.try_recv() {
                Ok(Ok(device)) => {
                    self.monitor.lock().recoveries += 1;
                    let active = device.description();
                    let text = format!("The NPU is back: {active}");
                    self.monitor.record_change(false, active, text);
                    self.state = State::Open(device);
                    self.since_check = None;
                }
                Ok(Err(_)) | Err(TryRecvError::Disconnected) => {
                    self.state = State::Closed(Instant::now() + self.backoff);
                    self.backoff = (2 * self.backoff).min(MAX_BACKOFF);
                }
                Err(TryRecvError::Empty) => {}
            },
            _ => {}
        }
    }

    /// Compares the results of the device, if that is due, with the CPU's for the same window.
    fn check(&mut self, context: usize, found: &AudioFeatures) -> Result<(), DeviceFailure> {
        if let Some(windows) = self.since_check.filter(|windows| *windows < CHECK_INTERVAL) {
            self.since_check = Some(windows + 1);
            return Ok(());
        }
        if let State::Open(device) = &mut self.state {
            self.cpu.input().assign(&device.input());
        }
        let expected = self.expected.get_or_insert_with(|| found.clone());
        if self.cpu.encode(context, expected).is_err() {
            // That says nothing of the device.
            self.since_check = None;
            return Ok(());
        }
        let cosine = min_cosine_similarity(context.min(found.context), found, expected);
        let mut health = self.monitor.lock();
        health.checks += 1;
        let before = health.min_cosine_similarity.unwrap_or(1.0);
        health.min_cosine_similarity = Some(before.min(cosine));
        // Not `<`: the cosine may be NaN.
        if cosine >= MIN_COSINE_SIMILARITY {
            self.since_check = Some(0);
            Ok(())
        } else {
            Err(DeviceFailure::Differs(cosine))
        }
    }
}

impl Encoder for FallbackEncoder {
    fn input(&mut self) -> ArrayViewMut2<'_, f32> {
        self.recover();
        match &mut self.state {
            State::Open(device) => device.input(),
            _ => self.cpu.input(),
        }
    }

    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError> {
        if let State::Open(device) = &mut self.state {
            let encoded = encode_finite(device.as_mut(), context, out);
            match encoded.and_then(|()| self.check(context, out)) {
                Ok(()) => {
                    self.monitor.lock().encoded += 1;
                    // The next failure is the first one in a row.
                    self.backoff = self.first_backoff;
                    return Ok(());
                }
                Err(reason) => self.close(&reason),
            }
        }
        self.cpu.encode(context, out)
    }

    fn description(&self) -> String {
        self.monitor.lock().active.clone()
    }

    fn runs_off_cpu(&self) -> bool {
        matches!(&self.state, State::Open(device) if device.runs_off_cpu())
    }
}

/// Encodes on the device, and sees that all results are numbers.
fn encode_finite(
    device: &mut dyn Encoder,
    context: usize,
    out: &mut AudioFeatures,
) -> Result<(), DeviceFailure> {
    device.encode(context, out)?;
    let rows = s![..out.context.min(context), ..];
    let mut values = outputs(out).flat_map(|output| output.slice_move(rows).into_iter());
    match values.all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(DeviceFailure::NotFinite),
    }
}

/// All arrays that the decoder looks at.
fn outputs(features: &AudioFeatures) -> impl Iterator<Item = ArrayView2<'_, f32>> {
    let cross = features.cross.iter().flat_map(|pair| [&pair.k, &pair.v]);
    cross.chain([&features.hidden]).map(|output| output.view())
}

/// The least cosine similarity between the same parts of the first `rows` rows of the same outputs;
/// NaN if one is.
pub fn min_cosine_similarity(rows: usize, found: &AudioFeatures, expected: &AudioFeatures) -> f64 {
    let parts = || (0..rows).step_by(PART_ROWS);
    outputs(found)
        .zip(outputs(expected))
        .flat_map(|(a, b)| parts().map(move |first| (a, b, first)))
        .map(|(a, b, first)| {
            let part = s![first..rows.min(first + PART_ROWS), ..];
            cosine_similarity(a.slice_move(part), b.slice_move(part))
        })
        .fold(1.0, |a, b| if a < b || a.is_nan() { a } else { b })
}

fn cosine_similarity(a: ArrayView2<f32>, b: ArrayView2<f32>) -> f64 {
    let (mut dot, mut aa, mut bb) = (0.0, 0.0, 0.0);
    ndarray::Zip::from(a).and(b).for_each(|&a, &b| {
        let (a, b) = (f64::from(a), f64::from(b));
        dot += a * b;
        aa += a * a;
        bb += b * b;
    });
    dot / (aa * bb).sqrt()
}
