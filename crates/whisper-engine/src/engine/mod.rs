// SPDX-License-Identifier: MPL-2.0
//! One engine per model, device and thread count in the process, shared by all streams.
//!
//! Streams take turns in the order in which they ask: one turn is one window, one live update, or
//! the decoding of a few windows side by side, so that no stream can starve another. A turn has two
//! steps: the window is encoded, then it is decoded. While the NPU encodes one stream's window the
//! cores decode the window of the stream before it; where the cores do both, a turn keeps them from
//! its beginning to its end ([`Engine::turn`]).

mod builder;
mod device;
mod error;
mod turn;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::FairMutex;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::decoder::{CrossKvCache, Decoder};
use crate::encoder::fallback::HealthMonitor;
pub use crate::encoder::fallback::{Health as NpuHealth, StatusChange};
use crate::encoder::{AudioFeatures, Encoder, EncoderError};
pub use builder::EngineBuilder;
use device::Choice;
pub use device::{Device, find_npu};
pub use error::EngineError;
pub use turn::{DecoderTurn, EncoderTurn};
pub use whisper_frontend::pool::PoolCounters;
use whisper_frontend::pool::{Pool, Pooled, RaisedCap};
use whisper_frontend::{AudioRun, EncoderFrame, MelFrame};
use whisper_kernels::memory;
use whisper_model::Model;
pub use xdna::NpuError;

/// Windows of encoder output that are kept for reuse.
const FEATURES_KEPT: usize = 2;
/// Silence that is encoded after the audio, where no whole window is filled. Offline, 512 rows make
/// fewer errors than a whole window (base 11.36 % of words wrong instead of 11.65 %, tiny.en 13.78
/// instead of 14.19 %) and 256 rows more (11.84 %); live, base begins to loop with 256.
const SILENCE_PADDING_ROWS: EncoderFrame = EncoderFrame::new(512);

/// Work done since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineCounters {
    /// Windows that were encoded.
    pub windows: u64,
    /// Time that encoding took.
    pub encoder_time: Duration,
    /// Time that the other step of a turn took: decoding and word times.
    pub decoder_time: Duration,
    /// Use of the pool of encoder outputs.
    pub pool: PoolCounters,
}

/// A Whisper model, ready to transcribe. Clones are handles on the same engine.
///
/// [`Engine::open`] and [`Engine::builder`] give one. Weights, threads and the NPU are shared by
/// all that hold the engine; the last handle frees them.
#[derive(Clone)]
pub struct Engine {
    core: Arc<Core>,
}

/// A stream's share in the memory of windows that is kept for reuse.
pub(crate) type KeptWindows = RaisedCap<CrossKvCache>;

/// What all handles share.
struct Core {
    model: Arc<Model>,
    // A stream that has both locks has taken the encoder's first. No lock is taken on a thread of a
    // pool, where it would wait for what another task of the same thread holds.
    encoder: FairMutex<Box<dyn Encoder>>,
    decoder: FairMutex<Decoder>,
    features: Pool<AudioFeatures>,
    /// The decoder's, within reach without its lock.
    window_memory: Pool<CrossKvCache>,
    threads: ThreadPool,
    /// For an encoder that leaves the cores to others: its waiting for the NPU holds up no thread
    /// that decodes.
    encoder_threads: Option<ThreadPool>,
    active_device: String,
    /// What an encoder on the NPU has been doing.
    monitor: Option<HealthMonitor>,
    without_npu: Option<NpuError>,
    windows: AtomicU64,
    encoder_nanos: AtomicU64,
    decoder_nanos: AtomicU64,
    /// Dropped last.
    _freed: ReturnFreed,
}

/// Gives the memory of what was dropped before it back to the system.
struct ReturnFreed;

impl Drop for ReturnFreed {
    fn drop(&mut self) {
        memory::return_freed();
    }
}

impl Engine {
    /// The engine for the model of this name or path, on the best device and all cores.
    ///
    /// Finds the model (see [`Model::find`]), opens and checks its files, and packs its weights,
    /// which takes a fraction of a second for small models and seconds for large ones. An engine
    /// for the same model that is still held somewhere in the process is shared.
    ///
    /// # Errors
    /// The model cannot be found or used.
    ///
    /// ```no_run
    /// let engine = whisper_engine::Engine::open("tiny.en")?;
    /// println!("running on {}", engine.active_device());
    /// # Ok::<(), whisper_engine::EngineError>(())
    /// ```
    pub fn open(model: &str) -> Result<Self, EngineError> {
        Self::builder().open(model)
    }

    /// For another device, number of threads, or encoder.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    fn new(model: Arc<Model>, choice: Choice, threads: usize) -> Result<Self, EngineError> {
        let Choice {
            encoder,
            monitor,
            without_npu,
        } = choice;
        let decoder = Decoder::new(&model)?;
        let config = model.config.clone();
        let runs_off_cpu = encoder.runs_off_cpu();
        let core = Core {
            active_device: encoder.description(),
            monitor,
            without_npu,
            encoder: FairMutex::new(encoder),
            window_memory: decoder.window_memory(),
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
            _freed: ReturnFreed,
        };
        // Packing the weights took as much memory again.
        memory::return_freed();
        Ok(Self {
            core: Arc::new(core),
        })
    }

    /// The model that was opened.
    pub fn model(&self) -> &Arc<Model> {
        &self.core.model
    }

    /// Keeps memory for the windows that a stream has at once, for as long as the stream lives.
    pub(crate) fn keep_windows(&self, count: usize) -> KeptWindows {
        self.core.window_memory.raise_cap(count)
    }

    /// Whether both are handles on the same engine.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }

    /// What really runs, for users: `cpu (avx2)`.
    pub fn active_device(&self) -> String {
        match &self.core.monitor {
            Some(monitor) => monitor.health().active,
            None => self.core.active_device.clone(),
        }
    }

    /// Why [`Device::Auto`] came to the CPU, for users.
    pub fn without_npu(&self) -> Option<&NpuError> {
        self.core.without_npu.as_ref()
    }

    /// What the NPU has been doing, if the encoder is on it.
    pub fn npu(&self) -> Option<NpuHealth> {
        self.core.monitor.as_ref().map(HealthMonitor::health)
    }

    /// Work done so far, for all streams together.
    pub fn counters(&self) -> EngineCounters {
        let core = &self.core;
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Relaxed));
        EngineCounters {
            windows: core.windows.load(Relaxed),
            encoder_time: time(&core.encoder_nanos),
            decoder_time: time(&core.decoder_nanos),
            pool: core.features.counters(),
        }
    }
}

impl Core {
    /// Encodes pieces of the run, one after the other, and [`SILENCE_PADDING_ROWS`] after them or up
    /// to the end of a whole window.
    fn encode(
        &self,
        encoder: &mut dyn Encoder,
        run: &AudioRun,
        pieces: &[Range<MelFrame>],
    ) -> Result<Pooled<AudioFeatures>, EncoderError> {
        let frames = pieces.iter().map(|piece| (piece.end - piece.start).get());
        let frames = MelFrame::new(frames.sum());
        let context = (frames.to_encoder() + SILENCE_PADDING_ROWS).to_usize();
        let context = context.min(self.model.config.audio_ctx);
        let began = Instant::now();
        let mut features = self.features.acquire();
        let threads = self.encoder_threads.as_ref().unwrap_or(&self.threads);
        threads.install(|| {
            run.read(|mel| mel.pack_window(pieces, encoder.input()));
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
