// SPDX-License-Identifier: MPL-2.0
//! One token after 100 others, and a prompt of 64, with a window of 30 s to listen to; the reference beside it.

use criterion::{Criterion, criterion_group, criterion_main};
use gstwhispernpu::decoder::{Audio, Cache, Decoder};
use gstwhispernpu::encoder::AudioFeatures;
use gstwhispernpu::kernel::Isa;
use gstwhispernpu::model::Model;

/// Tokens that are there already.
const CONTEXT: usize = 100;
const PROMPT: usize = 64;

/// Something to listen to: what the numbers are makes no difference to the time.
fn features(model: &Model) -> AudioFeatures {
    let mut features = AudioFeatures::new(&model.config);
    features.context = model.config.audio_ctx;
    let wave = |(row, column): (usize, usize)| ((row * 7 + column * 3) as f32 * 0.01).sin();
    for pair in &mut features.cross {
        pair.k = ndarray::Array2::from_shape_fn(pair.k.dim(), wave);
        pair.v = pair.k.clone();
    }
    features
}

fn bench(criterion: &mut Criterion, name: &str, decoder: &Decoder, features: &AudioFeatures) {
    let audio = decoder.listen(features).unwrap();
    let tokens: Vec<u32> = (0..CONTEXT as u32).map(|i| 300 + i).collect();
    let mut logits = Vec::new();
    criterion.bench_function(&format!("decoder/{name}/token"), |bencher| {
        bencher.iter_custom(|iterations| {
            timed(iterations, || {
                let mut cache = Cache::default();
                decoder.forward(&tokens, &mut cache, &audio, None).unwrap();
                move |count| token(decoder, &audio, &mut cache, count)
            })
        });
    });
    criterion.bench_function(&format!("decoder/{name}/prompt-{PROMPT}"), |bencher| {
        bencher.iter(|| {
            let mut cache = Cache::default();
            decoder
                .forward(&tokens[..PROMPT], &mut cache, &audio, None)
                .unwrap();
            decoder.row(&mut cache, PROMPT - 1, &mut logits).unwrap();
        });
    });
    criterion.bench_function(&format!("decoder/{name}/listen"), |bencher| {
        bencher.iter(|| decoder.listen(features).unwrap());
    });
}

/// Time of `iterations` tokens, in runs that do not leave the neighbourhood of [`CONTEXT`].
fn timed<F: FnMut(u64)>(iterations: u64, mut start: impl FnMut() -> F) -> std::time::Duration {
    const RUN: u64 = 20;
    let mut time = std::time::Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let mut run = start();
        let began = std::time::Instant::now();
        run(left.min(RUN));
        time += began.elapsed();
        left -= left.min(RUN);
    }
    time
}

fn token(decoder: &Decoder, audio: &Audio, cache: &mut Cache, count: u64) {
    let mut logits = Vec::with_capacity(decoder.vocab() + 64);
    for i in 0..count {
        decoder
            .forward(&[1000 + i as u32], cache, audio, None)
            .unwrap();
        decoder.row(cache, 0, &mut logits).unwrap();
    }
}

/// On a pool as the engine has, so that every call does not begin with a hand-over to one.
fn decoder(criterion: &mut Criterion) {
    let threads = rayon::ThreadPoolBuilder::new().build().unwrap();
    for name in ["tiny.en", "base"] {
        let model = match Model::find(name) {
            Ok(path) => Model::open(&path).unwrap(),
            Err(error) => {
                eprintln!("skipped: {error}");
                continue;
            }
        };
        let features = features(&model);
        let fastest = Isa::choose().unwrap();
        let mut candidates = vec![(name.to_owned(), Decoder::new(&model).unwrap())];
        for isa in Isa::available().filter(|isa| *isa != fastest) {
            let decoder = Decoder::with_isa(&model, isa).unwrap();
            candidates.push((format!("{name}/{isa}"), decoder));
        }
        let reference = Decoder::reference(&model).unwrap();
        candidates.push((format!("{name}/reference"), reference));
        for (name, decoder) in &candidates {
            threads.install(|| bench(criterion, name, decoder, &features));
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = decoder
}
criterion_main!(benches);
