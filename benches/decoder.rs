// SPDX-License-Identifier: MPL-2.0
//! One token after 100 others, a prompt of 64, and texts of 50 tokens alone and side by side, with windows of 30 s to
//! listen to; the reference beside it.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rayon::ThreadPool;
use whisper_engine::decoder::{
    DecodeRequest, DecodeSession, Decoder, EncodedWindow, MAX_SEQUENCES, TokenSuppressor,
};
use whisper_engine::encoder::AudioFeatures;
use whisper_kernels::Isa;
use whisper_model::Model;

/// Tokens that are there already.
const CONTEXT: u32 = 100;
const PROMPT: u32 = 64;

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

/// A decoder and all that it needs to be timed, on a pool as the engine has.
struct Bench<'a> {
    decoder: &'a Decoder,
    features: &'a AudioFeatures,
    threads: &'a ThreadPool,
}

impl Bench<'_> {
    fn run(&self, criterion: &mut Criterion, name: &str) {
        let Self {
            decoder,
            features,
            threads,
        } = *self;
        let audio = decoder.prepare(features).unwrap();
        criterion.bench_function(&format!("decoder/{name}/token"), |bencher| {
            bencher.iter_custom(|count| threads.install(|| tokens(decoder, &audio, count)));
        });
        criterion.bench_function(&format!("decoder/{name}/prompt-{PROMPT}"), |bencher| {
            bencher.iter_custom(|count| {
                threads.install(|| {
                    let began = Instant::now();
                    (0..count).for_each(|_| drop(fed(decoder, &audio, PROMPT)));
                    began.elapsed()
                })
            });
        });
        for texts in [1, MAX_SEQUENCES] {
            let heard: Vec<EncodedWindow> = (0..texts)
                .map(|_| decoder.prepare(features).unwrap())
                .collect();
            criterion.bench_function(&format!("decoder/{name}/texts-{texts}"), |bencher| {
                bencher.iter(|| threads.install(|| write(decoder, &heard)));
            });
        }
        criterion.bench_function(&format!("decoder/{name}/listen"), |bencher| {
            bencher.iter_custom(|count| {
                threads.install(|| {
                    let began = Instant::now();
                    (0..count).for_each(|_| drop(decoder.prepare(features).unwrap()));
                    began.elapsed()
                })
            });
        });
    }
}

/// What is there after a prompt of `count` tokens and the logits that follow it.
fn fed(decoder: &Decoder, audio: &EncodedWindow, count: u32) -> (DecodeSession, Vec<f32>) {
    let tokens: Vec<u32> = (0..count).map(|i| 300 + i).collect();
    let (mut cache, mut logits) = (DecodeSession::default(), Vec::new());
    decoder.forward(&tokens, &mut cache, audio, None).unwrap();
    decoder
        .logits_after(&mut cache, tokens.len() - 1, &mut logits)
        .unwrap();
    (cache, logits)
}

/// A text of 50 tokens for each window, side by side.
fn write(decoder: &Decoder, heard: &[EncodedWindow]) {
    let tokenizer = decoder.tokenizer();
    let suppressor = TokenSuppressor::new(tokenizer);
    let prompt = [tokenizer.special().sot, tokenizer.special().no_timestamps];
    let tasks = heard
        .iter()
        .enumerate()
        .map(|(number, window)| DecodeRequest {
            window,
            prompt: &prompt,
            suppressor: &suppressor,
            // So warm that no text ends by itself.
            temperature: 10.0,
            max_tokens: 50,
            seed: number as u64,
        });
    let tasks: Vec<DecodeRequest> = tasks.collect();
    let texts = decoder.decode(&tasks).unwrap();
    assert!(texts.iter().all(|text| text.tokens.len() >= 40));
}

/// Time of `count` tokens, in runs that stay in the neighbourhood of [`CONTEXT`].
fn tokens(decoder: &Decoder, audio: &EncodedWindow, count: u64) -> Duration {
    const RUN: u64 = 20;
    let mut time = Duration::ZERO;
    for first in (0..count).step_by(RUN as usize) {
        let (mut cache, mut logits) = fed(decoder, audio, CONTEXT);
        let began = Instant::now();
        for i in 0..RUN.min(count - first) {
            let token = 1000 + i as u32;
            decoder.forward(&[token], &mut cache, audio, None).unwrap();
            decoder.logits_after(&mut cache, 0, &mut logits).unwrap();
        }
        time += began.elapsed();
    }
    time
}

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
        for (name, decoder) in &candidates {
            let bench = Bench {
                decoder,
                features: &features,
                threads: &threads,
            };
            bench.run(criterion, name);
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = decoder
}
criterion_main!(benches);
