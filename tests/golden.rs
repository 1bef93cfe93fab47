// SPDX-License-Identifier: MPL-2.0
//! The model's numbers against reference numbers computed in float64 (`../shared/golden`).

use std::path::{Path, PathBuf};

use gstwhispernpu::decoder::{Attention, Cache, Decoder, Hypothesis, Rules, Task};
use gstwhispernpu::encoder::cpu::CpuEncoder;
use gstwhispernpu::encoder::reference::ReferenceEncoder;
use gstwhispernpu::encoder::{AudioFeatures, Encoder};
use gstwhispernpu::model::Model;
use ndarray::{Array2, Array3};
use serde::Deserialize;

const MODELS: [&str; 2] = ["tiny.en", "base"];

#[derive(Deserialize)]
struct Tokens {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    eot: u32,
    text: String,
}

fn golden(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/golden")
        .join(name);
    if !path.exists() {
        eprintln!("skipped: no reference numbers {name}");
    }
    path.exists().then_some(path)
}

fn model(name: &str) -> Model {
    let path = Model::find(name).unwrap_or_else(|error| panic!("{error}"));
    Model::open(&path).unwrap_or_else(|error| panic!("{error}"))
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
fn encoder_output_points_where_the_reference_does() {
    let Some(mel) = golden("jfk.mel.npy") else {
        return;
    };
    for name in MODELS {
        let model = model(name);
        let expected: Array2<f32> =
            ndarray_npy::read_npy(golden(&format!("jfk.encoder.{name}.npy")).unwrap()).unwrap();
        let encoders: [(Box<dyn Encoder>, f64); 2] = [
            (Box::new(ReferenceEncoder::new(&model).unwrap()), 0.999_999),
            (Box::new(CpuEncoder::new(&model).unwrap()), 0.999),
        ];
        for (mut encoder, least) in encoders {
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

#[test]
fn logits_and_attention_are_those_of_the_reference() {
    let Some(mel) = golden("jfk.mel.npy") else {
        return;
    };
    for name in MODELS {
        let model = model(name);
        let decoder = Decoder::new(&model).unwrap();
        let audio = decoder.listen(&encode(&model, &mel)).unwrap();
        let tokens: Tokens = serde_json::from_reader(
            std::fs::File::open(golden(&format!("jfk.tokens.{name}.json")).unwrap()).unwrap(),
        )
        .unwrap();
        let expected: Array2<f32> =
            ndarray_npy::read_npy(golden(&format!("jfk.logits.{name}.npy")).unwrap()).unwrap();
        let fed: Vec<u32> = tokens
            .prompt
            .iter()
            .chain(&tokens.tokens)
            .copied()
            .collect();

        let mut attention = Attention::new(model.config.audio_ctx);
        let logits = decoder
            .logits(&fed, &mut Cache::default(), &audio, Some(&mut attention))
            .unwrap();
        let from = (tokens.prompt.len() - 1) * decoder.vocab();
        let error = logits[from..]
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert_eq!(logits.len() - from, expected.len());
        println!("{name}: logits max abs error {error:.5}");
        assert!(error <= 0.05, "{name}: {error}");

        let expected: Array3<f32> =
            ndarray_npy::read_npy(golden(&format!("jfk.alignment.{name}.npy")).unwrap()).unwrap();
        assert_eq!(
            (attention.heads(), attention.tokens()),
            (expected.dim().0, expected.dim().1)
        );
        let error = (0..attention.heads())
            .flat_map(|head| (0..attention.tokens()).map(move |token| (head, token)))
            .flat_map(|(head, token)| {
                let row = expected.slice(ndarray::s![head, token, ..]);
                attention
                    .row(head, token)
                    .iter()
                    .zip(row)
                    .map(|(a, b)| (a - b).abs())
                    .collect::<Vec<_>>()
            })
            .fold(0.0, f32::max);
        println!("{name}: attention max abs error {error:.6}");
        assert!(error <= 0.005, "{name}: {error}");
    }
}

#[test]
fn one_token_at_a_time_gives_the_logits_of_one_batch() {
    let Some(mel) = golden("jfk.mel.npy") else {
        return;
    };
    let model = model("tiny.en");
    let decoder = Decoder::new(&model).unwrap();
    let audio = decoder.listen(&encode(&model, &mel)).unwrap();
    let tokens = [50257, 50362, 843, 523, 616, 5891];
    let batch = decoder
        .logits(&tokens, &mut Cache::default(), &audio, None)
        .unwrap();
    let mut cache = Cache::default();
    let mut single = decoder
        .logits(&tokens[..3], &mut cache, &audio, None)
        .unwrap();
    for token in &tokens[3..] {
        single.extend(decoder.logits(&[*token], &mut cache, &audio, None).unwrap());
    }
    let error = batch
        .iter()
        .zip(&single)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(error < 1e-3, "{error}");
}

#[test]
fn greedy_decoding_says_what_the_reference_says() {
    let Some(mel) = golden("jfk.mel.npy") else {
        return;
    };
    for name in MODELS {
        let model = model(name);
        let decoder = Decoder::new(&model).unwrap();
        let audio = decoder
            .listen(&encode_with(
                &mut CpuEncoder::new(&model).unwrap(),
                &model,
                &mel,
            ))
            .unwrap();
        let tokens: Tokens = serde_json::from_reader(
            std::fs::File::open(golden(&format!("jfk.tokens.{name}.json")).unwrap()).unwrap(),
        )
        .unwrap();
        let rules = Rules::new(&model.tokenizer, decoder.vocab(), false);
        let task = Task {
            prompt: &tokens.prompt,
            rules: &rules,
            temperature: 0.0,
            max_tokens: 100,
            seed: 0,
        };
        let Hypothesis { tokens: said, .. } =
            decoder.decode(&task, &audio, &model.tokenizer).unwrap();
        assert_eq!(said, tokens.tokens, "{name}");
        assert_eq!(model.tokenizer.decode(&said), tokens.text);
        assert_eq!(model.tokenizer.special().eot, tokens.eot);
        if model.tokenizer.is_multilingual() {
            let language = decoder.detect_language(&audio, &model.tokenizer).unwrap();
            assert_eq!(model.tokenizer.language_code(language), Some("en"));
        }
    }
}
