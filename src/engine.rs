// SPDX-License-Identifier: MPL-2.0
//! One engine per model, device and thread count in the process, shared by all streams.
//!
//! Streams take turns in the order in which they ask: one turn is one window (or one live update), so a stream
//! that is slow or has much to say cannot starve another.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use once_cell::sync::Lazy;
use parking_lot::FairMutex;

use crate::decoder::{Audio, Decoder, DecoderError};
use crate::encoder::guarded::{Health, Watch};
use crate::encoder::{self, AudioFeatures, Encoder, EncoderError};
use crate::model::{Model, ModelError};
use crate::pool::{Counters as PoolCounters, Pool};
use crate::stream::Run;

/// Windows of encoder output that are kept for reuse.
const FEATURES_KEPT: usize = 2;
/// Silence that is encoded after the audio, in rows of 20 ms, where no whole window is filled. Offline, 512 rows make
/// fewer errors than a whole window (base 11.36 % of words wrong instead of 11.65 %, tiny.en 13.78 instead of 14.19 %)
/// and 256 rows more (11.84 %); live, base begins to loop with 256.
const SLACK: usize = 512;

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
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    #[error("{0}")]
    Device(String),
    #[error("cannot start inference threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Work done since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineCounters {
    pub windows: u64,
    pub encoder_time: Duration,
    /// Everything in a turn that is not the encoder: decoding, word times, rules.
    pub decoder_time: Duration,
    pub pool: PoolCounters,
}

pub struct Engine {
    model: Arc<Model>,
    decoder: Decoder,
    encoder: FairMutex<Box<dyn Encoder>>,
    features: Pool<AudioFeatures>,
    threads: rayon::ThreadPool,
    active_device: String,
    /// What an encoder on the NPU has been doing.
    watch: Option<Watch>,
    without_npu: Option<String>,
    windows: AtomicU64,
    encoder_nanos: AtomicU64,
    turn_nanos: AtomicU64,
}

/// What an engine encodes with.
struct Choice {
    encoder: Box<dyn Encoder>,
    watch: Option<Watch>,
    /// Why it is not the NPU, if that was left to us.
    without_npu: Option<String>,
}

impl Choice {
    fn make(model: &Arc<Model>, device: Device) -> Result<Self, EngineError> {
        let on_cpu = |without_npu| {
            Ok(Self {
                encoder: encoder::on_cpu(model)?,
                watch: None,
                without_npu,
            })
        };
        if device == Device::Cpu {
            return on_cpu(None);
        }
        match encoder::on_npu(model) {
            Ok(encoder) => Ok(Self {
                watch: Some(encoder.watch()),
                encoder: Box::new(encoder),
                without_npu: None,
            }),
            Err(reason) if device == Device::Npu => Err(EngineError::Device(reason)),
            Err(reason) => on_cpu(Some(reason)),
        }
    }
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
        // Encoder and decoder have copies of their own: the file's pages would only add to them.
        let Choice {
            encoder,
            watch,
            without_npu,
        } = Choice::make(&model, device)?;
        model.release();
        let decoder = Decoder::new(&model)?;
        model.release();
        let config = model.config.clone();
        Ok(Self {
            decoder,
            active_device: encoder.description(),
            watch,
            without_npu,
            encoder: FairMutex::new(encoder),
            features: Pool::new(FEATURES_KEPT, move || AudioFeatures::new(&config)),
            threads: rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|index| format!("whispernpu-{index}"))
                .build()?,
            model,
            windows: AtomicU64::new(0),
            encoder_nanos: AtomicU64::new(0),
            turn_nanos: AtomicU64::new(0),
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
    pub fn without_npu(&self) -> Option<&str> {
        self.without_npu.as_deref()
    }

    /// What the NPU has been doing, if the encoder is on it.
    pub fn npu(&self) -> Option<Health> {
        self.watch.as_ref().map(Watch::health)
    }

    pub fn counters(&self) -> EngineCounters {
        let encoder_time = Duration::from_nanos(self.encoder_nanos.load(Relaxed));
        let turns = Duration::from_nanos(self.turn_nanos.load(Relaxed));
        EngineCounters {
            windows: self.windows.load(Relaxed),
            encoder_time,
            decoder_time: turns.saturating_sub(encoder_time),
            pool: self.features.counters(),
        }
    }

    /// Waits for this stream's turn and runs `work` on the engine's threads.
    pub fn turn<R: Send>(&self, work: impl FnOnce(&mut Turn) -> R + Send) -> R {
        // The guard stays on this thread; the pool's threads work on what it guards.
        let mut encoder = self.encoder.lock();
        let began = Instant::now();
        let mut turn = Turn {
            engine: self,
            encoder: encoder.as_mut(),
        };
        let result = self.threads.install(|| work(&mut turn));
        add(&self.turn_nanos, began.elapsed());
        result
    }
}

/// The engine while it is one stream's turn.
pub struct Turn<'a> {
    engine: &'a Engine,
    encoder: &'a mut dyn Encoder,
}

impl Turn<'_> {
    pub fn decoder(&self) -> &Decoder {
        &self.engine.decoder
    }

    /// Encodes `frames` rows of `run` from row `from`, and [`SLACK`] after them or up to the end of a whole window.
    pub fn listen(&mut self, run: &Run, from: u64, frames: usize) -> Result<Audio, EngineError> {
        let whole = self.engine.model.config.audio_ctx;
        let context = whole.min(frames / 2 + SLACK);
        let began = Instant::now();
        let mut features = self.engine.features.acquire();
        run.read(|track| track.pack_window(from, frames, self.encoder.input()));
        self.encoder.encode(context, &mut features)?;
        add(&self.engine.encoder_nanos, began.elapsed());
        self.engine.windows.fetch_add(1, Relaxed);
        Ok(self.engine.decoder.listen(&features)?)
    }
}

fn add(total: &AtomicU64, time: Duration) {
    total.fetch_add(time.as_nanos() as u64, Relaxed);
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
