// SPDX-License-Identifier: MPL-2.0
//! The decoder on the kernels, with every instruction set that this machine has, against the reference decoder.

use whisper_engine::decoder::{
    Attention, DecodeSession, Decoder, DecoderError, EncodedWindow, Hypothesis, Task,
    TokenSuppressor,
};
use whisper_engine::encoder::AudioFeatures;
use whisper_kernels::Isa;
use whisper_model::Model;
use whisper_reference::ReferenceDecoder;

/// Tokens that no model lacks.
const TOKENS: [u32; 7] = [50257, 50300, 843, 523, 616, 5891, 11];
/// Not a multiple of anything.
const FRAMES: usize = 701;

fn model() -> Option<Model> {
    let path = Model::find("tiny.en")
        .map_err(|error| eprintln!("skipped: {error}"))
        .ok()?;
    Some(Model::open(&path).unwrap_or_else(|error| panic!("{error}")))
}

/// Something to listen to, as large as what the encoder gives.
fn features(model: &Model) -> AudioFeatures {
    let mut features = AudioFeatures::new(&model.config);
    features.context = FRAMES;
    for (layer, pair) in features.cross.iter_mut().enumerate() {
        let wave = |(row, column): (usize, usize), phase: usize| {
            ((row * (column % 13 + 1) + phase * layer) as f32 * 0.37).sin()
        };
        pair.k = ndarray::Array2::from_shape_fn(pair.k.dim(), |at| wave(at, 3));
        pair.v = ndarray::Array2::from_shape_fn(pair.v.dim(), |at| wave(at, 5) * 0.5);
    }
    features
}

/// What a decoder says to [`TOKENS`] in parts of these sizes: all logits, and the attention.
fn say(decoder: &Decoder, audio: &EncodedWindow, parts: &[usize]) -> (Vec<f32>, Attention) {
    let mut attention = Attention::new(audio.frames());
    let (mut cache, mut logits, mut from) = (DecodeSession::default(), Vec::new(), 0);
    for part in parts {
        let tokens = &TOKENS[from..from + part];
        logits.extend(
            decoder
                .logits(tokens, &mut cache, audio, Some(&mut attention))
                .unwrap(),
        );
        from += part;
    }
    assert_eq!((from, cache.len(0)), (TOKENS.len(), TOKENS.len()));
    (logits, attention)
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// 1 - cosine.
fn angle(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn every_instruction_set_says_and_looks_at_what_the_reference_does_however_tokens_are_fed() {
    let Some(model) = model() else {
        return;
    };
    let features = features(&model);
    let mut attention = Attention::new(FRAMES);
    let reference = ReferenceDecoder::new(&model).unwrap();
    let logits = reference
        .logits(&TOKENS, &features, Some(&mut attention))
        .unwrap();
    for isa in Isa::available() {
        let decoder = Decoder::with_isa(&model, isa).unwrap();
        let audio = decoder.listen(&features).unwrap();
        assert_eq!(audio.frames(), FRAMES);
        for parts in [&[7][..], &[3, 1, 1, 2], &[1; 7]] {
            let (found, looks) = say(&decoder, &audio, parts);
            let angle = angle(&found, &logits);
            assert_eq!(
                (looks.heads(), looks.tokens()),
                (attention.heads(), TOKENS.len())
            );
            let look = (0..looks.heads())
                .flat_map(|head| (0..TOKENS.len()).map(move |token| (head, token)))
                .map(|(head, token)| furthest(looks.row(head, token), attention.row(head, token)))
                .fold(0.0, f32::max);
            println!("{isa} {parts:?}: 1 - cosine {angle:.2e}, attention off by {look:.5}");
            assert!(angle < 2e-4, "{isa} {parts:?}: {angle}");
            assert!(look < 0.02, "{isa} {parts:?}: {look}");
        }
    }
}

#[test]
fn the_same_tokens_give_the_same_bits_whatever_the_number_of_threads_and_what_was_said_before() {
    let Some(model) = model() else {
        return;
    };
    let decoder = Decoder::new(&model).unwrap();
    let features = features(&model);
    let say_on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let audio = decoder.listen(&features).unwrap();
            say(&decoder, &audio, &[4, 1, 1, 1]).0
        })
    };
    let once = say_on(1);
    assert!(once.iter().all(|logit| logit.is_finite()));
    assert!(once == say_on(3));
    assert!(once == say_on(2));
}

#[test]
fn a_prompt_longer_than_a_block_is_fed_whole() {
    let Some(model) = model() else {
        return;
    };
    let tokens: Vec<u32> = (0..130).map(|i| 400 + 3 * i).collect();
    let features = features(&model);
    let rows = [0, 95, 96, 129];
    let reference = ReferenceDecoder::new(&model).unwrap();
    let all = reference.logits(&tokens, &features, None).unwrap();
    let expected = rows.map(|row| &all[row * reference.vocab()..][..reference.vocab()]);
    let decoder = Decoder::new(&model).unwrap();
    let audio = decoder.listen(&features).unwrap();
    let mut attention = Attention::new(audio.frames());
    let (mut cache, mut found, mut logits) = (DecodeSession::default(), Vec::new(), Vec::new());
    decoder
        .forward(&tokens, &mut cache, &audio, Some(&mut attention))
        .unwrap();
    assert_eq!(attention.tokens(), tokens.len());
    for row in rows {
        decoder.row(&mut cache, row, &mut logits).unwrap();
        found.extend_from_slice(&logits);
    }
    let angle = angle(&expected.concat(), &found);
    assert!(angle < 2e-4, "{angle}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(model) = model() else {
        return;
    };
    let decoder = Decoder::new(&model).unwrap();
    let mut features = features(&model);
    let audio = decoder.listen(&features).unwrap();
    let forward = |tokens: &[u32], cache: &mut DecodeSession, audio: &EncodedWindow| {
        decoder.forward(tokens, cache, audio, None)
    };
    assert!(matches!(
        forward(&[1; 449], &mut DecodeSession::default(), &audio),
        Err(DecoderError::TooLong { tokens: 449, .. })
    ));
    assert!(matches!(
        forward(&[60000], &mut DecodeSession::default(), &audio),
        Err(DecoderError::UnknownToken(60000))
    ));
    let other = Decoder::with_isa(&model, Isa::Portable).unwrap();
    let heard = other.listen(&features).unwrap();
    assert!(matches!(
        forward(&[1], &mut DecodeSession::default(), &heard),
        Err(DecoderError::Foreign)
    ));
    let mut cache = DecodeSession::default();
    other.forward(&[1], &mut cache, &heard, None).unwrap();
    assert!(matches!(
        forward(&[1], &mut cache, &audio),
        Err(DecoderError::Foreign)
    ));
    // All positions may be used, and no more.
    let mut cache = DecodeSession::default();
    forward(&[1; 447], &mut cache, &audio).unwrap();
    forward(&[1], &mut cache, &audio).unwrap();
    assert!(forward(&[1], &mut cache, &audio).is_err());
    features.context = 0;
    assert!(decoder.listen(&features).is_err());
}

#[test]
fn a_text_that_is_decoded_beside_others_is_the_one_that_it_is_alone() {
    let Some(model) = model() else {
        return;
    };
    let rules = TokenSuppressor::new(&model.tokenizer);
    let mut features = features(&model);
    for isa in Isa::available() {
        let decoder = Decoder::with_isa(&model, isa).unwrap();
        let heard = [701, 1500, 33, 250, 90].map(|frames| {
            features.context = frames;
            decoder.listen(&features).unwrap()
        });
        // They end one after the other, and the last one finds no room beside the first four.
        let tasks = heard
            .iter()
            .zip([1, 9, 5, 12, 3])
            .map(|(audio, max_tokens)| Task {
                audio,
                prompt: &TOKENS[..3],
                rules: &rules,
                temperature: 2.0,
                max_tokens,
                seed: max_tokens as u64,
            });
        let tasks: Vec<Task> = tasks.collect();
        let together = decoder.decode(&tasks, &model.tokenizer).unwrap();
        let alone = tasks.chunks(1).flat_map(|task| {
            let text = decoder.decode(task, &model.tokenizer);
            text.unwrap()
        });
        let alone: Vec<Hypothesis> = alone.collect();
        let lens = together.iter().map(|text| text.tokens.len());
        assert!(lens.clone().max() > lens.min(), "{isa}");
        for (together, alone) in together.iter().zip(&alone) {
            assert_eq!(together.tokens, alone.tokens, "{isa}");
            let off = furthest(&together.probabilities, &alone.probabilities);
            assert!(off < 1e-4, "{isa}: {off}");
        }
    }
}
