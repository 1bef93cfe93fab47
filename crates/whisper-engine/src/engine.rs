// SPDX-License-Identifier: MPL-2.0
//! One engine per model, device and thread count in the process, shared by all streams.
//!
//! Streams take turns in the order in which they ask: one turn is one window, one live update, or the decoding of a few
//! windows side by side, so a stream that is slow or has much to say cannot starve another. A turn is two steps: the window is encoded, then it is decoded.
//! While the NPU encodes one stream's window the cores decode the window of the stream before it; where the cores do
//! both, a turn keeps them from its beginning to its end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use once_cell::sync::Lazy;
use parking_lot::FairMutex;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::decoder::{Decoder, DecoderError, EncodedWindow};
use crate::encoder::cpu::CpuEncoder;
use crate::encoder::fallback::{FallbackEncoder, Health, HealthMonitor, OpenEncoder};
use crate::encoder::npu::{NpuEncoder, default_opener};
use crate::encoder::{AudioFeatures, Encoder, EncoderError};
use whisper_frontend::pool::{Pool, PoolCounters, Pooled};
use whisper_frontend::{AudioRun, MelFrame};
use whisper_model::{Model, ModelError};
use xdna::{DeviceOpener, NpuError};

/// Windows of encoder output that are kept for reuse.
const FEATURES_KEPT: usize = 2;
/// Silence that is encoded after the audio, in rows of 20 ms, where no whole window is filled. Offline, 512 rows make
/// fewer errors than a whole window (base 11.36 % of words wrong instead of 11.65 %, tiny.en 13.78 instead of 14.19 %)
/// and 256 rows more (11.84 %); live, base begins to loop with 256.
const SILENCE_PADDING_ROWS: usize = 512;

/// What the user wants to run the encoder on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The NPU where there is one that works, else the CPU.
    #[default]
    Auto,
    Npu,
    Cpu,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the encoder failed: {0}")]
    Encoder(#[from] EncoderError),
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    #[error("{0}")]
    Device(NpuError),
    #[error("cannot start inference threads: {0}")]
    Threads(#[from] ThreadPoolBuildError),
}

/// Work done since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineCounters {
    pub windows: u64,
    pub encoder_time: Duration,
    /// The other step of a turn: decoding, word times, rules.
    pub decoder_time: Duration,
    pub pool: PoolCounters,
}

pub struct Engine {
    model: Arc<Model>,
    // A stream that has both locks has taken the encoder's first. No lock is taken on a thread of a pool, where it
    // would wait for what another task of the same thread holds.
    encoder: FairMutex<Box<dyn Encoder>>,
    decoder: FairMutex<Decoder>,
    features: Pool<AudioFeatures>,
    threads: ThreadPool,
    /// For an encoder that leaves the cores to others: its waiting for the NPU holds up no thread that decodes.
    encoder_threads: Option<ThreadPool>,
    active_device: String,
    /// What an encoder on the NPU has been doing.
    watch: Option<HealthMonitor>,
    without_npu: Option<NpuError>,
    windows: AtomicU64,
    encoder_nanos: AtomicU64,
    decoder_nanos: AtomicU64,
}

/// What an engine encodes with.
struct Choice {
    encoder: Box<dyn Encoder>,
    watch: Option<HealthMonitor>,
    /// Why it is not the NPU, if that was left to us.
    without_npu: Option<NpuError>,
}

impl Choice {
    fn make(model: &Arc<Model>, device: Device) -> Result<Self, EngineError> {
        let on_cpu = |without_npu| {
            Ok(Self {
                encoder: on_cpu(model)?,
                watch: None,
                without_npu,
            })
        };
        if device == Device::Cpu {
            return on_cpu(None);
        }
        let open = open_encoder(model, default_opener());
        match open() {
            Ok(encoder) => {
                let fallback = FallbackEncoder::new(encoder, self::on_cpu(model)?, open);
                Ok(Self {
                    watch: Some(fallback.monitor()),
                    encoder: Box::new(fallback),
                    without_npu: None,
                })
            }
            Err(reason) if device == Device::Npu => Err(EngineError::Device(reason)),
            Err(reason) => on_cpu(Some(reason)),
        }
    }
}

/// Opens a device with the model on it.
fn open_encoder(model: &Arc<Model>, opener: Arc<dyn DeviceOpener>) -> OpenEncoder {
    let model = model.clone();
    Arc::new(move || Ok(Box::new(NpuEncoder::new(&model, opener.open()?)?)))
}

fn on_cpu(model: &Model) -> Result<Box<dyn Encoder>, EncoderError> {
    Ok(Box::new(CpuEncoder::new(model)?))
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: PathBuf,
    device: Device,
    threads: usize,
}

/// Engines that some element still holds. Loading happens under the lock, so that two elements that start
/// together load a model once.
static ENGINES: Lazy<Mutex<HashMap<Key, Weak<Engine>>>> = Lazy::new(Mutex::default);

impl Engine {
    /// The engine for this model, loading it if no element holds one. Takes as long as packing the weights does:
    /// not for streaming threads or state changes. `threads` 0 means all cores.
    pub fn shared(path: &Path, device: Device, threads: usize) -> Result<Arc<Engine>, EngineError> {
        let key = Key {
            path: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
            device,
            threads: if threads == 0 { cores() } else { threads },
        };
        let mut engines = ENGINES
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        engines.retain(|_, engine| engine.strong_count() > 0);
        if let Some(engine) = engines.get(&key).and_then(Weak::upgrade) {
            return Ok(engine);
        }
        let engine = Arc::new(Self::load(
            Arc::new(Model::open(&key.path)?),
            device,
            key.threads,
        )?);
        engines.insert(key, Arc::downgrade(&engine));
        Ok(engine)
    }

    fn load(model: Arc<Model>, device: Device, threads: usize) -> Result<Self, EngineError> {
        let choice = Choice::make(&model, device)?;
        Self::with(model, choice, threads)
    }

    /// An engine of its own, which encodes with `encoder`.
    pub fn with_encoder(
        model: Arc<Model>,
        encoder: Box<dyn Encoder>,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let choice = Choice {
            encoder,
            watch: None,
            without_npu: None,
        };
        Self::with(model, choice, threads)
    }

    fn with(model: Arc<Model>, choice: Choice, threads: usize) -> Result<Self, EngineError> {
        let Choice {
            encoder,
            watch,
            without_npu,
        } = choice;
        // Encoder and decoder have copies of their own: the file's pages would only add to them.
        model.release();
        let decoder = Decoder::new(&model)?;
        model.release();
        let config = model.config.clone();
        let runs_off_cpu = encoder.runs_off_cpu();
        Ok(Self {
            active_device: encoder.description(),
            watch,
            without_npu,
            encoder: FairMutex::new(encoder),
            decoder: FairMutex::new(decoder),
            features: Pool::new(FEATURES_KEPT, move || AudioFeatures::new(&config)),
            threads: start_threads("whispernpu", threads)?,
            encoder_threads: runs_off_cpu
                .then(|| start_threads("whispernpu-encoder", threads))
                .transpose()?,
            model,
            windows: AtomicU64::new(0),
            encoder_nanos: AtomicU64::new(0),
            decoder_nanos: AtomicU64::new(0),
        })
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What really runs, for users.
    pub fn active_device(&self) -> String {
        match &self.watch {
            Some(watch) => watch.health().active,
            None => self.active_device.clone(),
        }
    }

    /// Why `Device::Auto` came to the CPU, for users.
    pub fn without_npu(&self) -> Option<&NpuError> {
        self.without_npu.as_ref()
    }

    /// What the NPU has been doing, if the encoder is on it.
    pub fn npu(&self) -> Option<Health> {
        self.watch.as_ref().map(HealthMonitor::health)
    }

    pub fn counters(&self) -> EngineCounters {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Relaxed));
        EngineCounters {
            windows: self.windows.load(Relaxed),
            encoder_time: time(&self.encoder_nanos),
            decoder_time: time(&self.decoder_nanos),
            pool: self.features.counters(),
        }
    }

    /// Waits for this stream's turn, encodes `frames` rows of `run` from row `from`, and lets `decode` say what comes of
    /// it, on the engine's threads. `None` if nobody wants the run any more.
    ///
    /// No more than two streams are past the wait: one that encodes, or waits to decode, and one that decodes.
    pub fn hear<R: Send>(
        &self,
        run: &AudioRun,
        from: u64,
        frames: usize,
        decode: impl FnOnce(&Decoder, EncodedWindow) -> Result<R, DecoderError> + Send,
    ) -> Result<Option<R>, EngineError> {
        // The guards stay on this thread; the pools' threads work on what they guard.
        let mut encoder = self.encoder.lock();
        if run.is_cancelled() {
            return Ok(None);
        }
        let features = self.encode(encoder.as_mut(), run, from, frames)?;
        let decoder = self.decoder.lock();
        let _cores = (!encoder.runs_off_cpu()).then_some(encoder);
        self.work(|| {
            let audio = decoder.prepare(&features)?;
            drop(features);
            decode(&decoder, audio)
        })
        .map(Some)
    }

    /// The first step of a turn alone, for a stream that decodes several windows in one turn.
    pub fn listen(
        &self,
        run: &AudioRun,
        from: u64,
        frames: usize,
    ) -> Result<Option<EncodedWindow>, EngineError> {
        self.hear(run, from, frames, |_, audio| Ok(audio))
    }

    /// The second step of a turn alone: waits for this stream's turn, and lets `decode` say what comes of what it has listened
    /// to.
    pub fn decode<R: Send>(
        &self,
        decode: impl FnOnce(&Decoder) -> Result<R, DecoderError> + Send,
    ) -> Result<R, EngineError> {
        let _cores = self.encoder_threads.is_none().then(|| self.encoder.lock());
        let decoder = self.decoder.lock();
        self.work(|| decode(&decoder))
    }

    /// Decoding on the engine's threads, timed.
    fn work<R: Send>(
        &self,
        decode: impl FnOnce() -> Result<R, DecoderError> + Send,
    ) -> Result<R, EngineError> {
        let began = Instant::now();
        let decoded = self.threads.install(decode);
        add(&self.decoder_nanos, began.elapsed());
        Ok(decoded?)
    }

    /// Encodes the rows, and [`SILENCE_PADDING_ROWS`] after them or up to the end of a whole window.
    fn encode(
        &self,
        encoder: &mut dyn Encoder,
        run: &AudioRun,
        from: u64,
        frames: usize,
    ) -> Result<Pooled<AudioFeatures>, EncoderError> {
        let context = self
            .model
            .config
            .audio_ctx
            .min(frames / 2 + SILENCE_PADDING_ROWS);
        let began = Instant::now();
        let mut features = self.features.acquire();
        let threads = self.encoder_threads.as_ref().unwrap_or(&self.threads);
        threads.install(|| {
            let (from, frames) = (MelFrame::new(from), MelFrame::from_usize(frames));
            run.read(|ring| ring.pack_window(from, frames, encoder.input()));
            encoder.encode(context, &mut features)
        })?;
        add(&self.encoder_nanos, began.elapsed());
        self.windows.fetch_add(1, Relaxed);
        Ok(features)
    }
}

fn start_threads(name: &'static str, count: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(move |index| format!("{name}-{index}"))
        .build()
}

fn add(total: &AtomicU64, time: Duration) {
    total.fetch_add(time.as_nanos() as u64, Relaxed);
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
