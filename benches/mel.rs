// SPDX-License-Identifier: MPL-2.0
//! `mel/30s`: half a minute of audio through the streaming analysis, in buffers of 10 ms as live sources send them.
//! `mel/pack`: Whisper's per-window step over the rows of that half minute.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use whisper_frontend::mel::{HOP, MelAnalyzer, MelRing, MelRingMemory, WINDOW, WINDOW_FRAMES};
use whisper_frontend::pool::Pool;
use whisper_frontend::{MelFrame, Samples};

const N_MELS: usize = 80;

fn analyse(analyzer: &mut MelAnalyzer, audio: &[u8], ring: &mut MelRing) {
    analyzer.reset();
    for buffer in audio.chunks(HOP * size_of::<i16>()) {
        analyzer.push(Samples::S16Le(buffer), ring);
    }
    analyzer.finish(ring);
}

fn mel(criterion: &mut Criterion) {
    let samples = WINDOW_FRAMES * HOP;
    let noise = (0..samples as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as i16);
    let audio: Vec<u8> = noise.flat_map(i16::to_le_bytes).collect();
    let pool = Pool::new(1, || MelRingMemory::new(WINDOW_FRAMES, N_MELS));
    let mut analyzer = MelAnalyzer::new(N_MELS);

    criterion.bench_function("mel/30s", |bencher| {
        bencher.iter(|| {
            let mut ring = MelRing::new(pool.acquire(), N_MELS);
            analyse(&mut analyzer, black_box(&audio), &mut ring);
            assert_eq!(ring.end(), WINDOW);
        });
    });

    let mut ring = MelRing::new(pool.acquire(), N_MELS);
    analyse(&mut analyzer, &audio, &mut ring);
    let mut window = Array2::zeros((WINDOW_FRAMES, N_MELS));
    criterion.bench_function("mel/pack", |bencher| {
        bencher.iter(|| {
            black_box(&ring).pack_window(&[MelFrame::ZERO..WINDOW], window.view_mut());
        });
    });
}

criterion_group!(benches, mel);
criterion_main!(benches);
