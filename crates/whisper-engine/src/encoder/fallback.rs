// SPDX-License-Identifier: MPL-2.0
//! An encoder on a device that may fail, with the CPU's behind it: no window is lost.
//!
//! A window that the device fails on is encoded again on the CPU, which goes on alone until the device was opened anew, in
//! the background. What the device makes of its first window, and of one in so many after that, is compared with
//! what the CPU makes of it, if the CPU makes something of it: a comparison that the CPU fails is put off.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ndarray::{ArrayView2, ArrayViewMut2, s};

use super::{AudioFeatures, Encoder, EncoderError};

/// Cosine between the outputs of device and CPU from which on they say the same. Emulated NPU numbers reach 0.999.
const MIN_COSINE_SIMILARITY: f64 = 0.99;
/// One window in so many is encoded on both.
const CHECKED: u64 = 256;
/// How long after a failure the device is opened anew; twice as long after each further one, up to the second.
const BACKOFF: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(300)];

/// Opens the device, with the model on it; the error is why it cannot be, for users.
pub type Open = Arc<dyn Fn() -> Result<Box<dyn Encoder>, String> + Send + Sync>;

/// What the device has been doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Windows that the device encoded.
    pub encoded: u64,
    /// Windows that it failed on.
    pub failures: u64,
    /// Times that it was opened anew.
    pub recoveries: u64,
    /// Windows that were compared.
    pub checks: u64,
    /// Least cosine of those.
    pub least_cosine_similarity: Option<f64>,
    /// What runs now.
    pub active: String,
    /// What changed last, for users: why the CPU took over, or that the device is back.
    pub news: Option<StatusChange>,
}

/// A change of what runs.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusChange {
    /// Counts them.
    pub number: u64,
    /// Whether it is bad.
    pub failure: bool,
    pub text: String,
}

/// [`Health`], to be looked at from anywhere.
#[derive(Clone, Default)]
pub struct HealthMonitor(Arc<Mutex<Health>>);

impl HealthMonitor {
    pub fn health(&self) -> Health {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn tell(&self, failure: bool, active: String, text: String) {
        let mut health = self.lock();
        let number = health.news.as_ref().map_or(0, |news| news.number) + 1;
        health.active = active;
        health.news = Some(StatusChange {
            number,
            failure,
            text,
        });
    }
}

/// The device, as long as it works.
enum State {
    Open(Box<dyn Encoder>),
    /// To be opened anew from then on.
    Closed(Instant),
    Opening(Receiver<Result<Box<dyn Encoder>, String>>),
}

pub struct FallbackEncoder {
    state: State,
    cpu: Box<dyn Encoder>,
    open: Open,
    backoff: Duration,
    first_backoff: Duration,
    /// Windows since the last one that was compared; `None`: none yet on this opening of the device.
    unchecked: Option<u64>,
    /// What the CPU makes of a window that is compared.
    expected: Option<AudioFeatures>,
    watch: HealthMonitor,
}

impl FallbackEncoder {
    /// Opens the device at once, and then the encoder behind it; the error is why that cannot be.
    pub fn new(
        open: Open,
        cpu: impl FnOnce() -> Result<Box<dyn Encoder>, EncoderError>,
    ) -> Result<Self, String> {
        let device = open()?;
        let cpu = cpu().map_err(|error| error.to_string())?;
        let watch = HealthMonitor::default();
        watch.lock().active = device.description();
        Ok(Self {
            state: State::Open(device),
            cpu,
            open,
            backoff: BACKOFF[0],
            first_backoff: BACKOFF[0],
            unchecked: None,
            expected: None,
            watch,
        })
    }

    /// The same, which opens the device anew so long after a failure that follows a success.
    pub fn retrying_after(mut self, backoff: Duration) -> Self {
        self.backoff = backoff;
        self.first_backoff = backoff;
        self
    }

    pub fn watch(&self) -> HealthMonitor {
        self.watch.clone()
    }

    /// Encodes on the device; the error is what is wrong with it, or with what it made.
    fn try_device(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), String> {
        let State::Open(device) = &mut self.state else {
            return Err("it is not open".into());
        };
        device
            .encode(context, out)
            .map_err(|error| error.to_string())?;
        let rows = s![..out.context.min(context), ..];
        let mut values = outputs(out).flat_map(|output| output.slice_move(rows).into_iter());
        if values.any(|value| !value.is_finite()) {
            return Err("its output is not a number".into());
        }
        match self.unchecked {
            Some(windows) if windows < CHECKED => self.unchecked = Some(windows + 1),
            _ => self.compare(context, out)?,
        }
        Ok(())
    }

    /// Compares what the device made of its input with what the CPU makes of it.
    fn compare(&mut self, context: usize, out: &AudioFeatures) -> Result<(), String> {
        self.hand_over();
        let expected = self.expected.get_or_insert_with(|| out.clone());
        if self.cpu.encode(context, expected).is_err() {
            // Nothing is known of the device by that; the next window is compared instead.
            self.unchecked = None;
            return Ok(());
        }
        let rows = s![..context.min(out.context), ..];
        let cosine_similarity = outputs(out)
            .zip(outputs(expected))
            .map(|(a, b)| cosine(a.slice_move(rows), b.slice_move(rows)))
            .fold(1.0, least);
        let mut health = self.watch.lock();
        health.checks += 1;
        health.least_cosine_similarity = Some(
            health
                .least_cosine_similarity
                .unwrap_or(1.0)
                .min(cosine_similarity),
        );
        // Not the other way round: it may be no number.
        if cosine_similarity >= MIN_COSINE_SIMILARITY {
            self.unchecked = Some(0);
            Ok(())
        } else {
            Err(format!(
                "what it computes is not what the CPU does (cosine {cosine_similarity:.4})"
            ))
        }
    }

    /// Gives the CPU the window that the device was given.
    fn hand_over(&mut self) {
        if let State::Open(device) = &mut self.state {
            self.cpu.input().assign(&device.input());
        }
    }

    fn give_up(&mut self, reason: &str) {
        self.hand_over();
        self.state = State::Closed(Instant::now() + self.backoff);
        self.watch.lock().failures += 1;
        self.watch.tell(
            true,
            self.cpu.description(),
            format!(
                "The NPU failed: {reason}. The CPU goes on, no speech is lost; the NPU is tried again in {} s",
                self.backoff.as_secs_f32().ceil()
            ),
        );
        self.backoff = (2 * self.backoff).min(BACKOFF[1]);
    }

    /// Opens the device anew in the background when it is time, and takes it when it is open.
    fn recover(&mut self) {
        match &self.state {
            State::Closed(when) if Instant::now() >= *when => {
                let (sender, receiver) = channel();
                let open = self.open.clone();
                let spawned = std::thread::Builder::new()
                    .name("whispernpu-open".into())
                    // Nobody waits for it any more if the engine is gone.
                    .spawn(move || drop(sender.send(open())));
                self.state = match spawned {
                    Ok(_) => State::Opening(receiver),
                    Err(_) => State::Closed(Instant::now() + self.backoff),
                };
            }
            State::Opening(receiver) => match receiver.try_recv() {
                Ok(Ok(device)) => {
                    self.watch.lock().recoveries += 1;
                    self.watch.tell(
                        false,
                        device.description(),
                        format!("The NPU is back: {}", device.description()),
                    );
                    self.state = State::Open(device);
                    self.unchecked = None;
                }
                Ok(Err(_)) | Err(TryRecvError::Disconnected) => {
                    self.state = State::Closed(Instant::now() + self.backoff);
                    self.backoff = (2 * self.backoff).min(BACKOFF[1]);
                }
                Err(TryRecvError::Empty) => {}
            },
            _ => {}
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
        if matches!(self.state, State::Open(_)) {
            match self.try_device(context, out) {
                Ok(()) => {
                    self.watch.lock().encoded += 1;
                    // It worked: the next failure is another matter than the last.
                    self.backoff = self.first_backoff;
                    return Ok(());
                }
                Err(reason) => self.give_up(&reason),
            }
        }
        self.cpu.encode(context, out)
    }

    fn description(&self) -> String {
        self.watch.lock().active.clone()
    }

    fn runs_off_cpu(&self) -> bool {
        matches!(&self.state, State::Open(device) if device.runs_off_cpu())
    }
}

/// All that the decoder may look at.
fn outputs(features: &AudioFeatures) -> impl Iterator<Item = ArrayView2<'_, f32>> {
    let cross = features.cross.iter().flat_map(|pair| [&pair.k, &pair.v]);
    cross.chain([&features.hidden]).map(|output| output.view())
}

/// The lesser, and what is not a number is less than any.
fn least(a: f64, b: f64) -> f64 {
    if a < b || a.is_nan() { a } else { b }
}

fn cosine(a: ArrayView2<f32>, b: ArrayView2<f32>) -> f64 {
    let (mut dot, mut aa, mut bb) = (0.0, 0.0, 0.0);
    ndarray::Zip::from(a).and(b).for_each(|&a, &b| {
        let (a, b) = (f64::from(a), f64::from(b));
        dot += a * b;
        aa += a * a;
        bb += b * b;
    });
    dot / (aa * bb).sqrt()
}

#[cfg(test)]
mod tests;
