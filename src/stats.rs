// SPDX-License-Identifier: MPL-2.0
//! The `stats` property.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::element::lock;
use crate::timeline::Irregularities;
use whisper_engine::engine::{EngineCounters, NpuHealth, PoolCounters};
use whisper_engine::{AudioRun, Engine, StreamCounters};

/// What happened to the samples since the element went to PAUSED.
#[derive(Default)]
pub struct Counters {
    /// Samples in buffers that came in, within the segment.
    pub received: AtomicU64,
    /// Samples read from mapped buffers.
    pub read: AtomicU64,
    /// Samples that were copied in order to be mapped in one piece.
    pub copied: AtomicU64,
    /// Samples thrown away because recognition could not keep up with a live upstream.
    pub dropped: AtomicU64,
    /// Samples that were NaN or infinite.
    pub non_finite: AtomicU64,
    /// Custom events dropped because too many waited for text.
    pub dropped_events: AtomicU64,
    irregularities: Mutex<Irregularities>,
    /// Audio that was recognised, in nanoseconds.
    recognised: AtomicU64,
    /// Time that it took, waiting for other streams' turns included, in nanoseconds.
    busy: AtomicU64,
    /// Longest time from the end of a word to its way out, in milliseconds.
    max_delay: AtomicU64,
    live: Mutex<StreamCounters>,
}

impl Counters {
    pub fn add_recognised(&self, audio: Duration) {
        self.recognised.fetch_add(audio.as_nanos() as u64, Relaxed);
    }

    pub fn add_busy(&self, time: Duration) {
        self.busy.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    pub fn add_live(&self, live: StreamCounters) {
        *lock(&self.live) += live;
    }

    pub fn set_irregularities(&self, irregularities: Irregularities) {
        *lock(&self.irregularities) = irregularities;
    }

    /// A word goes out so long after it was said. True if none was that late before.
    pub fn observe_delay(&self, delay: gst::ClockTime) -> bool {
        let delay = delay.mseconds();
        self.max_delay.fetch_max(delay, Relaxed) < delay
    }

    pub fn max_delay_ms(&self) -> u32 {
        u32::try_from(self.max_delay.load(Relaxed)).unwrap_or(u32::MAX)
    }

    /// Seconds of work per second of audio: below 1 is faster than real time.
    fn real_time_factor(&self) -> f64 {
        match self.recognised.load(Relaxed) {
            0 => 0.0,
            audio => self.busy.load(Relaxed) as f64 / audio as f64,
        }
    }
}

/// Counters of this element, and of the engine and the pools that it may share with others.
pub fn structure(counters: &Counters, n_mels: usize, engine: Option<&Engine>) -> gst::Structure {
    let builder = gst::Structure::builder("application/x-whispernpu-stats")
        .field("samples-received", counters.received.load(Relaxed))
        .field("samples-read", counters.read.load(Relaxed))
        .field("samples-copied", counters.copied.load(Relaxed))
        .field("samples-dropped", counters.dropped.load(Relaxed))
        .field("non-finite-samples", counters.non_finite.load(Relaxed))
        .field("events-dropped", counters.dropped_events.load(Relaxed))
        .field(
            "audio-time",
            gst::ClockTime::from_nseconds(counters.recognised.load(Relaxed)),
        )
        .field(
            "busy-time",
            gst::ClockTime::from_nseconds(counters.busy.load(Relaxed)),
        )
        .field("real-time-factor", counters.real_time_factor());
    let mut structure = builder.build();
    let irregularities = *lock(&counters.irregularities);
    structure.set("timestamps-off", irregularities.off);
    structure.set("repeated-buffers", irregularities.repeated);
    structure.set("holes", irregularities.holes);
    structure.set("time-corrections", irregularities.corrections);
    for (name, count) in lock(&counters.live).iter() {
        structure.set(name, count);
    }
    set_pool(
        &mut structure,
        "track-pool",
        AudioRun::pool_counters(n_mels),
    );
    if let Some(engine) = engine {
        set_engine(&mut structure, &engine.active_device(), &engine.counters());
        if let Some(npu) = engine.npu() {
            set_npu(&mut structure, &npu);
        }
    }
    structure
}

fn set_engine(structure: &mut gst::Structure, device: &str, counters: &EngineCounters) {
    structure.set("device", device);
    structure.set("windows-encoded", counters.windows);
    structure.set(
        "encoder-time",
        gst::ClockTime::try_from(counters.encoder_time).ok(),
    );
    structure.set(
        "decoder-time",
        gst::ClockTime::try_from(counters.decoder_time).ok(),
    );
    set_pool(structure, "window-pool", counters.pool);
}

fn set_npu(structure: &mut gst::Structure, npu: &NpuHealth) {
    structure.set("npu-windows", npu.encoded);
    structure.set("npu-failures", npu.failures);
    structure.set("npu-recoveries", npu.recoveries);
    structure.set("npu-checks", npu.checks);
    structure.set(
        "npu-least-cosine-similarity",
        npu.min_cosine_similarity.unwrap_or(1.0),
    );
}

fn set_pool(structure: &mut gst::Structure, name: &str, counters: PoolCounters) {
    structure.set(format!("{name}-made"), counters.made);
    structure.set(format!("{name}-reused"), counters.reused);
    structure.set(format!("{name}-exhausted"), counters.exhausted);
    structure.set(format!("{name}-in-use"), counters.in_use as u64);
    structure.set(format!("{name}-idle"), counters.idle as u64);
}

/// A structure with all fields that there are.
#[cfg(test)]
pub fn all_fields() -> gst::Structure {
    let mut structure = structure(&Counters::default(), 80, None);
    set_engine(&mut structure, "npu", &EngineCounters::default());
    set_npu(&mut structure, &NpuHealth::default());
    structure
}
