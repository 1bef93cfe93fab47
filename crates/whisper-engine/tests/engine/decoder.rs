// SPDX-License-Identifier: MPL-2.0
//! The decoder on the kernels, with every instruction set that this machine has, against the
//! reference decoder.

use test_support::synthetic::{Stored, write_hugging_face};
use whisper_engine::decoder::{
    AlignAttRequest, Attention, DecodeRequest, DecodeSession, Decoder, DecoderError, EncodedWindow,
    Hypothesis, TokenSuppressor,
};
use whisper_engine::encoder::AudioFeatures;
use whisper_frontend::EncoderFrame;
use whisper_kernels::Isa;
use whisper_model::{Config, Model};
use whisper_reference::ReferenceDecoder;

/// Tokens that no model lacks.
const TOKENS: [u32; 7] = [50257, 50300, 843, 523, 616, 5891, 11];
/// Not a multiple of anything.
const FRAMES: usize = 701;

fn model(name: &str) -> Model {
    Model::open(&test_support::model(name)).unwrap()
}

/// A model of one layer and 64 columns, which needs no file that may be absent.
fn synthetic() -> Model {
    let directory = tempfile::tempdir().unwrap();
    let path = write_hugging_face(directory.path(), Stored::F32);
    // The open files outlive their names.
    Model::open(&path).unwrap()
}

/// Made-up features of a window.
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

/// The logits after [`TOKENS`], fed in parts of these sizes, and the attention.
fn feed(decoder: &Decoder, window: &EncodedWindow, parts: &[usize]) -> (Vec<f32>, Attention) {
    let mut attention = Attention::new(window.frames());
    let (mut session, mut logits, mut from) = (DecodeSession::default(), Vec::new(), 0);
    for part in parts {
        let tokens = &TOKENS[from..from + part];
        logits.extend(
            decoder
                .logits(tokens, &mut session, window, Some(&mut attention))
                .unwrap(),
        );
        from += part;
    }
    assert_eq!((from, session.tokens()), (TOKENS.len(), TOKENS.len()));
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
#[ignore = "needs the model tiny.en"]
fn every_isa_decodes_as_the_reference() {
    let model = model("tiny.en");
    let features = features(&model);
    let mut attention = Attention::new(FRAMES);
    let reference = ReferenceDecoder::new(&model).unwrap();
    let logits = reference
        .logits(&TOKENS, &features, Some(&mut attention))
        .unwrap();
    for isa in Isa::available() {
        let decoder = Decoder::with_isa(&model, isa).unwrap();
        let window = decoder.prepare(&features).unwrap();
        assert_eq!(window.frames(), FRAMES);
        for parts in [&[7][..], &[3, 1, 1, 2], &[1; 7]] {
            let (found, attended) = feed(&decoder, &window, parts);
            let angle = angle(&found, &logits);
            assert_eq!(
                (attended.heads(), attended.tokens()),
                (attention.heads(), TOKENS.len())
            );
            let off = (0..attended.heads())
                .flat_map(|head| (0..TOKENS.len()).map(move |token| (head, token)))
                .map(|(head, token)| {
                    furthest(attended.row(head, token), attention.row(head, token))
                })
                .fold(0.0, f32::max);
            println!("{isa} {parts:?}: 1 - cosine {angle:.2e}, attention off by {off:.5}");
            assert!(angle < 2e-4, "{isa} {parts:?}: {angle}");
            assert!(off < 0.02, "{isa} {parts:?}: {off}");
        }
    }
}

#[test]
#[ignore = "needs the model tiny.en"]
fn logits_are_the_same_bits_on_any_number_of_threads() {
    let model = model("tiny.en");
    let decoder = Decoder::new(&model).unwrap();
    let features = features(&model);
    let feed_on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let window = decoder.prepare(&features).unwrap();
            feed(&decoder, &window, &[4, 1, 1, 1]).0
        })
    };
    let once = feed_on(1);
    assert!(once.iter().all(|logit| logit.is_finite()));
    assert!(once == feed_on(3));
    assert!(once == feed_on(2));
}

#[test]
#[ignore = "needs the model tiny.en"]
fn prompts_longer_than_a_block_are_fed_whole() {
    let model = model("tiny.en");
    let tokens: Vec<u32> = (0..130).map(|i| 400 + 3 * i).collect();
    let features = features(&model);
    let rows = [0, 95, 96, 129];
    let reference = ReferenceDecoder::new(&model).unwrap();
    let all = reference.logits(&tokens, &features, None).unwrap();
    let expected = rows.map(|row| &all[row * reference.vocab()..][..reference.vocab()]);
    let decoder = Decoder::new(&model).unwrap();
    let window = decoder.prepare(&features).unwrap();
    let mut attention = Attention::new(window.frames());
    let (mut session, mut found, mut logits) = (DecodeSession::default(), Vec::new(), Vec::new());
    decoder
        .forward(&tokens, &mut session, &window, Some(&mut attention))
        .unwrap();
    assert_eq!(attention.tokens(), tokens.len());
    for row in rows {
        decoder
            .logits_after(&mut session, row, &mut logits)
            .unwrap();
        found.extend_from_slice(&logits);
    }
    let angle = angle(&expected.concat(), &found);
    assert!(angle < 2e-4, "{angle}");
}

#[test]
fn tokens_that_do_not_fit_are_refused() {
    let model = synthetic();
    let decoder = Decoder::new(&model).unwrap();
    let mut features = features(&model);
    let window = decoder.prepare(&features).unwrap();
    let forward = |tokens: &[u32], session: &mut DecodeSession, window: &EncodedWindow| {
        decoder.forward(tokens, session, window, None)
    };
    assert!(matches!(
        forward(&[1; 33], &mut DecodeSession::default(), &window),
        Err(DecoderError::TooLong {
            tokens: 33,
            context: 32
        })
    ));
    assert!(matches!(
        forward(&[60000], &mut DecodeSession::default(), &window),
        Err(DecoderError::UnknownToken(60000))
    ));
    // All positions may be used, and no more.
    let mut session = DecodeSession::default();
    forward(&[1; 31], &mut session, &window).unwrap();
    forward(&[1], &mut session, &window).unwrap();
    assert!(forward(&[1], &mut session, &window).is_err());
    features.context = 0;
    assert!(matches!(
        decoder.prepare(&features),
        Err(DecoderError::Frames(0))
    ));
}

#[test]
fn logits_of_tokens_that_were_not_fed_are_refused() {
    let model = synthetic();
    let decoder = Decoder::new(&model).unwrap();
    let window = decoder.prepare(&features(&model)).unwrap();
    let (mut session, mut logits) = (DecodeSession::default(), Vec::new());
    let mut refused = |session: &mut DecodeSession, index| {
        let error = decoder.logits_after(session, index, &mut logits);
        matches!(error, Err(DecoderError::NotFed { index: found, .. }) if found == index)
    };
    assert!(refused(&mut session, 0));
    decoder
        .forward(&[1, 2], &mut session, &window, None)
        .unwrap();
    decoder.forward(&[3], &mut session, &window, None).unwrap();
    assert!(!refused(&mut session, 0));
    assert!(refused(&mut session, 1));
}

#[test]
fn prompts_without_a_first_token_are_refused() {
    let model = synthetic();
    let decoder = Decoder::new(&model).unwrap();
    let window = decoder.prepare(&features(&model)).unwrap();
    let suppressor = TokenSuppressor::new(decoder.tokenizer());
    let request = DecodeRequest {
        window: &window,
        prompt: &[],
        suppressor: &suppressor,
        temperature: 0.0,
        max_tokens: 1,
        seed: 0,
    };
    assert!(matches!(
        decoder.decode(&[request]),
        Err(DecoderError::ShortPrompt { .. })
    ));
    let request = AlignAttRequest {
        prompt: &[1, 2],
        committed: 2,
        draft: &[],
        suppressor: &suppressor,
        content: EncoderFrame::new(50),
        margin: None,
        attended: None,
        max_tokens: 1,
    };
    assert!(matches!(
        decoder.align_att(&request, &window),
        Err(DecoderError::ShortPrompt { .. })
    ));
}

/// Whether each decoder refuses the windows and sessions of the other one.
fn refuse_each_other(one: &Decoder, other: &Decoder, windows: [&EncodedWindow; 2]) {
    for (decoder, stranger, own, foreign) in [
        (one, other, windows[0], windows[1]),
        (other, one, windows[1], windows[0]),
    ] {
        let mut session = DecodeSession::default();
        assert!(matches!(
            decoder.forward(&[1], &mut session, foreign, None),
            Err(DecoderError::ForeignWindow)
        ));
        decoder.forward(&[1], &mut session, own, None).unwrap();
        assert!(matches!(
            stranger.forward(&[1], &mut session, foreign, None),
            Err(DecoderError::ForeignSession)
        ));
        assert!(matches!(
            stranger.logits_after(&mut session, 0, &mut Vec::new()),
            Err(DecoderError::ForeignSession)
        ));
        // The session is still good for its own decoder.
        decoder.forward(&[1], &mut session, own, None).unwrap();
        assert_eq!(session.tokens(), 2);
    }
}

#[test]
fn windows_of_another_decoder_of_the_model_are_refused() {
    let model = synthetic();
    let features = features(&model);
    let decoder = Decoder::new(&model).unwrap();
    let window = decoder.prepare(&features).unwrap();
    // Of another number format or layout, and of the same.
    for isa in [Isa::Portable, Isa::choose().unwrap()] {
        let other = Decoder::with_isa(&model, isa).unwrap();
        let foreign = other.prepare(&features).unwrap();
        refuse_each_other(&decoder, &other, [&window, &foreign]);
    }
}

#[test]
fn windows_of_another_model_are_refused() {
    // Of the same dimensions, so that nothing but the decoder's identity tells them apart.
    let (model, stranger) = (synthetic(), synthetic());
    let decoder = Decoder::new(&model).unwrap();
    let other = Decoder::new(&stranger).unwrap();
    let window = decoder.prepare(&features(&model)).unwrap();
    let foreign = other.prepare(&features(&stranger)).unwrap();
    refuse_each_other(&decoder, &other, [&window, &foreign]);
}

#[test]
fn features_of_other_dimensions_are_refused() {
    let model = synthetic();
    let decoder = Decoder::new(&model).unwrap();
    let refused = |change: fn(&mut Config)| {
        let mut config = model.config.clone();
        change(&mut config);
        let mut features = AudioFeatures::new(&config);
        features.context = 10;
        let error = decoder.prepare(&features);
        matches!(error, Err(DecoderError::ForeignFeatures))
    };
    assert!(!refused(|_| ()));
    assert!(refused(|config| config.audio_state = 128));
    assert!(refused(|config| config.audio_state = 32));
    assert!(refused(|config| config.audio_ctx = 1000));
    assert!(refused(|config| config.text_layers = 2));
    assert!(refused(|config| config.text_layers = 0));
}

#[test]
#[ignore = "needs the model tiny.en"]
fn sequences_side_by_side_are_what_they_are_alone() {
    let model = model("tiny.en");
    let suppressor = TokenSuppressor::new(&model.tokenizer);
    let mut features = features(&model);
    for isa in Isa::available() {
        let decoder = Decoder::with_isa(&model, isa).unwrap();
        let windows = [701, 1500, 33, 250, 90].map(|frames| {
            features.context = frames;
            decoder.prepare(&features).unwrap()
        });
        // They end one after the other, and the last one does not fit beside the first four.
        let requests = windows
            .iter()
            .zip([1, 9, 5, 12, 3])
            .map(|(window, max_tokens)| DecodeRequest {
                window,
                prompt: &TOKENS[..3],
                suppressor: &suppressor,
                temperature: 2.0,
                max_tokens,
                seed: max_tokens as u64,
            });
        let requests: Vec<DecodeRequest> = requests.collect();
        let together = decoder.decode(&requests).unwrap();
        let alone = requests
            .chunks(1)
            .flat_map(|request| decoder.decode(request).unwrap());
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
