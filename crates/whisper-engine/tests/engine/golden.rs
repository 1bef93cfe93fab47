// SPDX-License-Identifier: MPL-2.0
//! The model's numbers against reference numbers computed in float64 (`../shared/golden`).

use std::path::{Path, PathBuf};

use ndarray::{Array2, Array3};
use serde::Deserialize;
use whisper_engine::EncoderFrame;
use whisper_engine::decoder::{Attention, DecodeRequest, DecodeSession, Decoder, TokenSuppressor};
use whisper_engine::encoder::cpu::CpuEncoder;
use whisper_engine::encoder::{AudioFeatures, Encoder};
use whisper_kernels::Isa;
use whisper_model::Model;
use whisper_reference::{ReferenceDecoder, ReferenceEncoder};

const MODELS: [&str; 2] = ["tiny.en", "base"];

#[derive(Deserialize)]
struct Tokens {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    eot: u32,
    text: String,
}

fn golden(name: &str) -> PathBuf {
    test_support::shared("golden").join(name)
}

fn model(name: &str) -> Model {
    Model::open(&test_support::model(name)).unwrap()
}

/// The reference mel through the f32 encoder: what decoder numbers are compared with.
fn encode(model: &Model, mel: &Path) -> AudioFeatures {
    encode_with(&mut ReferenceEncoder::new(model).unwrap(), model, mel)
}

fn encode_with(encoder: &mut dyn Encoder, model: &Model, mel: &Path) -> AudioFeatures {
    let mel: Array2<f32> = ndarray_npy::read_npy(mel).unwrap();
    let mut features = AudioFeatures::new(&model.config);
    encoder.input().assign(&mel);
    encoder
        .encode(model.config.audio_ctx, &mut features)
        .unwrap();
    features
}

fn cosine(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    let dot = |a: &Array2<f32>, b: &Array2<f32>| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
#[ignore = "needs ../shared"]
fn encoder_output_points_where_the_reference_does() {
    let mel = golden("jfk.mel.npy");
    for name in MODELS {
        let model = model(name);
        let expected: Array2<f32> =
            ndarray_npy::read_npy(golden(&format!("jfk.encoder.{name}.npy"))).unwrap();
        let reference: Box<dyn Encoder> = Box::new(ReferenceEncoder::new(&model).unwrap());
        let kernels = Isa::available().map(|isa| -> (Box<dyn Encoder>, f64) {
            (Box::new(CpuEncoder::with_isa(&model, isa).unwrap()), 0.999)
        });
        for (mut encoder, least) in kernels.chain([(reference, 0.999_999)]) {
            let features = encode_with(encoder.as_mut(), &model, &mel);
            let cosine = cosine(&features.hidden, &expected);
            println!("{name}, {}: cosine {cosine:.7}", encoder.description());
            assert!(
                cosine >= least,
                "{name}, {}: {cosine}",
                encoder.description()
            );
        }
    }
}

/// What a decoder's logits and its attention may be off by.
struct Tolerance {
    logits: f32,
    attention: f32,
    /// 1 - cosine of all logits.
    angle: f64,
}

const REFERENCE: Tolerance = Tolerance {
    logits: 1e-3,
    attention: 1e-4,
    angle: 1e-9,
};
const KERNELS: Tolerance = Tolerance {
    logits: 0.7,
    attention: 0.02,
    angle: 5e-5,
};

/// All logits that a decoder gives for these tokens, and what it attends to.
fn decoded(
    model: &Model,
    features: &AudioFeatures,
    tokens: &[u32],
) -> [(&'static str, Vec<f32>, Attention, Tolerance); 2] {
    let mut of_reference = Attention::new(model.config.audio_ctx);
    let reference = ReferenceDecoder::new(model).unwrap();
    let expected = reference
        .logits(tokens, features, Some(&mut of_reference))
        .unwrap();
    let mut of_kernels = Attention::new(model.config.audio_ctx);
    let decoder = Decoder::new(model).unwrap();
    let window = decoder.prepare(features).unwrap();
    let found = decoder
        .logits(
            tokens,
            &mut DecodeSession::default(),
            &window,
            Some(&mut of_kernels),
        )
        .unwrap();
    [
        ("reference", expected, of_reference, REFERENCE),
        ("kernels", found, of_kernels, KERNELS),
    ]
}

#[test]
#[ignore = "needs ../shared"]
fn logits_and_attention_are_those_of_the_reference() {
    let mel = golden("jfk.mel.npy");
    for name in MODELS {
        let model = model(name);
        let features = encode(&model, &mel);
        let tokens = tokens(name);
        let fed: Vec<u32> = tokens
            .prompt
            .iter()
            .chain(&tokens.tokens)
            .copied()
            .collect();
        let expected: Array2<f32> =
            ndarray_npy::read_npy(golden(&format!("jfk.logits.{name}.npy"))).unwrap();
        let attended: Array3<f32> =
            ndarray_npy::read_npy(golden(&format!("jfk.alignment.{name}.npy"))).unwrap();
        for (who, logits, attention, tolerance) in decoded(&model, &features, &fed) {
            let logits = &logits[(tokens.prompt.len() - 1) * expected.ncols()..];
            let logits = Array2::from_shape_vec(expected.dim(), logits.to_vec()).unwrap();
            let error = furthest(&logits, &expected);
            let angle = 1.0 - cosine(&logits, &expected);
            let attention_error = (0..attended.dim().0)
                .flat_map(|head| (0..attended.dim().1).map(move |token| (head, token)))
                .map(|(head, token)| {
                    let found = ndarray::aview1(attention.row(head, token)).to_owned();
                    let expected = attended.slice(ndarray::s![head, token, ..]).to_owned();
                    furthest(&found, &expected)
                })
                .fold(0.0, f32::max);
            let what = format!(
                "{name}, {who}: logits off by {error:.5}, 1 - cosine {angle:.2e}, \
                 attention off by {attention_error:.5}"
            );
            println!("{what}");
            assert_eq!(
                (attention.heads(), attention.tokens()),
                (attended.dim().0, attended.dim().1)
            );
            assert!(error <= tolerance.logits, "{what}");
            assert!(angle <= tolerance.angle, "{what}");
            assert!(attention_error <= tolerance.attention, "{what}");
        }
    }
}

/// The largest difference of two elements.
fn furthest<D: ndarray::Dimension>(a: &ndarray::Array<f32, D>, b: &ndarray::Array<f32, D>) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn tokens(name: &str) -> Tokens {
    let path = golden(&format!("jfk.tokens.{name}.json"));
    serde_json::from_reader(std::fs::File::open(path).unwrap()).unwrap()
}

#[test]
#[ignore = "needs ../shared"]
fn logits_of_single_tokens_are_those_of_a_batch() {
    let mel = golden("jfk.mel.npy");
    let model = model("tiny.en");
    let features = encode(&model, &mel);
    // The kernels sum a single row in another order, which here and there rounds one of its 8-bit
    // or bf16 numbers differently: a tenth of what these formats cost at all.
    let decoder = Decoder::new(&model).unwrap();
    let window = decoder.prepare(&features).unwrap();
    let tokens = [50257, 50362, 843, 523, 616, 5891];
    let logits = |tokens: &[u32], session: &mut DecodeSession| {
        decoder.logits(tokens, session, &window, None).unwrap()
    };
    let batch = logits(&tokens, &mut DecodeSession::default());
    let mut session = DecodeSession::default();
    let mut single = logits(&tokens[..3], &mut session);
    for token in &tokens[3..] {
        single.extend(logits(&[*token], &mut session));
    }
    let differences = batch.iter().zip(&single).map(|(a, b)| (a - b).abs());
    let error = differences.fold(0.0, f32::max);
    println!("one token at a time: largest difference {error}");
    assert!(error < 0.05, "{error}");
}

#[test]
#[ignore = "needs ../shared"]
fn greedy_tokens_are_those_of_the_reference() {
    let mel = golden("jfk.mel.npy");
    for name in MODELS {
        let model = model(name);
        let decoder = Decoder::new(&model).unwrap();
        let window = decoder
            .prepare(&encode_with(
                &mut CpuEncoder::new(&model).unwrap(),
                &model,
                &mel,
            ))
            .unwrap();
        let tokens = tokens(name);
        let suppressor = TokenSuppressor::new(decoder.tokenizer());
        let request = DecodeRequest {
            window: &window,
            prompt: &tokens.prompt,
            suppressor: &suppressor,
            temperature: 0.0,
            max_tokens: 100,
            seed: 0,
        };
        let decoded = decoder.decode(&[request]).unwrap();
        let found = &decoded[0].tokens;
        assert_eq!(*found, tokens.tokens, "{name}");
        assert_eq!(model.tokenizer.decode(found), tokens.text);
        assert_eq!(model.tokenizer.special().eot, tokens.eot);
        if model.tokenizer.is_multilingual() {
            let whole = EncoderFrame::ZERO..EncoderFrame::from_usize(window.frames());
            let languages = decoder.languages(&window, whole).unwrap();
            let others = languages[1..].iter().copied().fold(0.0, f32::max);
            assert!(languages[0] > others, "not English");
        }
    }
}
