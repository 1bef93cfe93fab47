// SPDX-License-Identifier: MPL-2.0
//! The CPU encoder, with every instruction set that this machine has, against the reference
//! encoder.

use ndarray::{Array2, ArrayView2, s};
use test_support::synthetic::{Stored, write_hugging_face};
use whisper_engine::encoder::cpu::CpuEncoder;
use whisper_engine::encoder::{AudioFeatures, Encoder, EncoderError};
use whisper_kernels::Isa;
use whisper_model::Model;
use whisper_reference::ReferenceEncoder;

/// What a faster number format may cost.
const LEAST_COSINE: f64 = 0.999;
/// The same of cross-attention's keys and values where the MLP is in 8 bits; golden.rs asks for
/// 0.999 of the encoder's output.
const LEAST_COSINE_IN_BYTES: f64 = 0.998;

fn model(name: &str) -> Model {
    Model::open(&test_support::model(name)).unwrap()
}

/// A made-up mel, as loud and as smooth as that of speech.
fn mel(model: &Model) -> Array2<f32> {
    let shape = (whisper_frontend::mel::WINDOW_FRAMES, model.config.n_mels);
    Array2::from_shape_fn(shape, |(frame, band)| {
        ((frame * (band + 3)) as f32 * 0.01).sin() * 0.7
    })
}

/// The mel of the reference recording.
fn golden_mel() -> Array2<f32> {
    ndarray_npy::read_npy(test_support::shared("golden/jfk.mel.npy")).unwrap()
}

fn cosine(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> f64 {
    let dot = |a: &ArrayView2<'_, f32>, b: &ArrayView2<'_, f32>| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// The least cosine of any output's first `context` rows.
fn agreement(a: &AudioFeatures, b: &AudioFeatures, context: usize) -> f64 {
    let rows = s![..context, ..];
    let pairs = a.cross.iter().zip(&b.cross);
    let pairs = pairs.flat_map(|(a, b)| [(&a.k, &b.k), (&a.v, &b.v)]);
    pairs
        .chain([(&a.hidden, &b.hidden)])
        .map(|(a, b)| cosine(a.slice(rows), b.slice(rows)))
        .fold(1.0, f64::min)
}

#[test]
#[ignore = "needs ../shared"]
fn every_isa_encodes_as_the_reference() {
    let mel = golden_mel();
    for model in ["tiny.en", "base"].map(model) {
        let mut reference = ReferenceEncoder::new(&model).unwrap();
        reference.input().assign(&mel);
        let mut expected = AudioFeatures::new(&model.config);
        let mut found = AudioFeatures::new(&model.config);
        for isa in Isa::available() {
            let mut encoder = CpuEncoder::with_isa(&model, isa).unwrap();
            encoder.input().assign(&mel);
            // A short window after a long one, so that rows of the long one lie where the short one
            // ends.
            for context in [model.config.audio_ctx, 601] {
                reference.encode(context, &mut expected).unwrap();
                encoder.encode(context, &mut found).unwrap();
                let cosine = agreement(&found, &expected, context);
                println!(
                    "{} {isa} {context}: cosine {cosine:.7}",
                    model.path.display()
                );
                let least = match isa {
                    Isa::Avx2Vnni | Isa::Avx512Bf16 | Isa::Amx => LEAST_COSINE_IN_BYTES,
                    _ => LEAST_COSINE,
                };
                assert!(cosine >= least, "{isa} {context}: {cosine}");
            }
        }
    }
}

#[test]
#[ignore = "needs the model tiny.en"]
fn features_are_the_same_bits_on_any_number_of_threads() {
    let model = model("tiny.en");
    let mut encoder = CpuEncoder::new(&model).unwrap();
    encoder.input().assign(&mel(&model));
    let mut encode = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let mut features = AudioFeatures::new(&model.config);
        pool.unwrap()
            .install(|| encoder.encode(model.config.audio_ctx, &mut features))
            .unwrap();
        features
    };
    assert!(encode(1) == encode(3));
}

#[test]
fn contexts_and_features_that_do_not_fit_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = write_hugging_face(directory.path(), Stored::F32);
    let model = Model::open(&path).unwrap();
    let mut encoder = CpuEncoder::new(&model).unwrap();
    let mut features = AudioFeatures::new(&model.config);
    for context in [0, 1501] {
        assert!(matches!(
            encoder.encode(context, &mut features),
            Err(EncoderError::Context { context: found, most: 1500 }) if found == context
        ));
    }
    encoder.encode(10, &mut features).unwrap();
    for state in [32, 128] {
        let mut config = model.config.clone();
        config.audio_state = state;
        let mut features = AudioFeatures::new(&config);
        assert!(matches!(
            encoder.encode(10, &mut features),
            Err(EncoderError::Features)
        ));
    }
}
