// SPDX-License-Identifier: MPL-2.0
//! `mel/30s`: half a minute of audio through the streaming analysis, in buffers of 10 ms as live sources send them.
//! `mel/pack`: Whisper's per-window step over the rows of that half minute.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use whisper_frontend::Samples;
use whisper_frontend::mel::{Analyzer, HOP, MelRing, MelRingMemory, WINDOW_FRAMES};
use whisper_frontend::pool::Pool;

const N_MELS: usize = 80;

fn analyse(analyzer: &mut Analyzer, audio: &[u8], track: &mut MelRing) {
    analyzer.reset();
    for buffer in audio.chunks(HOP * size_of::<i16>()) {
        analyzer.push(Samples::S16Le(buffer), track);
    }
    analyzer.finish(track);
}

fn mel(criterion: &mut Criterion) {
    let samples = WINDOW_FRAMES * HOP;
    let noise = (0..samples as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as i16);
    let audio: Vec<u8> = noise.flat_map(i16::to_le_bytes).collect();
    let pool = Pool::new(1, || MelRingMemory::new(WINDOW_FRAMES, N_MELS));
    let mut analyzer = Analyzer::new(N_MELS);

    criterion.bench_function("mel/30s", |bencher| {
        bencher.iter(|| {
            let mut track = MelRing::new(pool.acquire(), N_MELS);
            analyse(&mut analyzer, black_box(&audio), &mut track);
            assert_eq!(track.end(), WINDOW_FRAMES as u64);
        });
    });

    let mut track = MelRing::new(pool.acquire(), N_MELS);
    analyse(&mut analyzer, &audio, &mut track);
    let mut window = Array2::zeros((WINDOW_FRAMES, N_MELS));
    criterion.bench_function("mel/pack", |bencher| {
        bencher.iter(|| black_box(&track).pack_window(0, WINDOW_FRAMES, window.view_mut()));
    });
}

criterion_group!(benches, mel);
criterion_main!(benches);
