// SPDX-License-Identifier: MPL-2.0
//! Voice detectors on half a minute of speech, one core.
//!
//! `voice/<network>/30s`: in buffers of 4096 samples, as decoders of files send them.
//! `voice/<network>/30s-live`: in buffers of 10 ms, as live sources send them.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use whisper_frontend::mel::{HOP, MelRing, MelRingMemory, WINDOW_FRAMES};
use whisper_frontend::pool::Pool;
use whisper_frontend::vad::SileroWeights;
use whisper_frontend::{Samples, VoiceDetector};
use whisper_model::Model;

/// Samples that FLAC and its like decode at once.
const FILE_BUFFER: usize = 4096;

/// Both networks, or one on a machine without Silero's weights.
fn detectors() -> Vec<VoiceDetector> {
    let installed = Model::find("silero-vad").ok();
    let silero = installed.map(|directory| {
        let weights = SileroWeights::open(&directory.join("model.safetensors")).unwrap();
        VoiceDetector::silero(Arc::new(weights))
    });
    silero
        .into_iter()
        .chain([VoiceDetector::earshot()])
        .collect()
}

fn voice(criterion: &mut Criterion) {
    let speech = &test_support::clip().samples;
    let samples = speech.iter().cycle().take(WINDOW_FRAMES * HOP);
    let audio: Vec<u8> = samples.flat_map(|sample| sample.to_le_bytes()).collect();
    let pool = Pool::new(1, || MelRingMemory::new(WINDOW_FRAMES, 80));
    for mut detector in detectors() {
        for (buffer, suffix) in [(FILE_BUFFER, ""), (HOP, "-live")] {
            let name = format!("voice/{}/30s{suffix}", detector.description());
            criterion.bench_function(&name, |bencher| {
                bencher.iter(|| {
                    let mut ring = MelRing::new(pool.acquire(), 80);
                    detector.reset();
                    for buffer in black_box(&audio).chunks(buffer * size_of::<i16>()) {
                        detector.push(Samples::S16Le(buffer), &mut ring);
                    }
                    ring.voice_end()
                });
            });
        }
    }
}

criterion_group!(benches, voice);
criterion_main!(benches);
