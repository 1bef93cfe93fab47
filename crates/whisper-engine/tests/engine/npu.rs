// SPDX-License-Identifier: MPL-2.0
//! The whole encoder in the NPU's numbers, on the simulator, against reference numbers
//! (`../shared/golden`).

use ndarray::{Array2, ArrayView2, s};
use whisper_engine::encoder::npu::NpuEncoder;
use whisper_engine::encoder::{AudioFeatures, Encoder};
use whisper_model::Model;
use whisper_reference::ReferenceEncoder;
use xdna::simulator::SimulatedNpu;

/// An array of the reference numbers.
fn golden(name: &str) -> Array2<f32> {
    let path = test_support::shared("golden").join(name);
    ndarray_npy::read_npy(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn model(name: &str) -> Model {
    Model::open(&Model::find(name).unwrap()).unwrap()
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

fn encode(
    encoder: &mut dyn Encoder,
    model: &Model,
    mel: &Array2<f32>,
    rows: usize,
) -> AudioFeatures {
    let mut features = AudioFeatures::new(&model.config);
    encoder.input().assign(mel);
    encoder.encode(rows, &mut features).unwrap();
    features
}

#[test]
#[ignore = "needs the models tiny.en and base, and ../shared"]
fn npu_numbers_agree_with_the_reference() {
    let mel = golden("jfk.mel.npy");
    for name in ["tiny.en", "base"] {
        let model = model(name);
        let expected = golden(&format!("jfk.encoder.{name}.npy"));
        let device = Box::new(SimulatedNpu::new().unwrap());
        let mut encoder = NpuEncoder::new(&model, device).unwrap();
        let features = encode(&mut encoder, &model, &mel, model.config.audio_ctx);
        let cosine = cosine(features.hidden.view(), expected.view());
        println!("{name}: cosine {cosine:.6}");
        assert!(cosine >= 0.999, "{name}: {cosine}");
    }
}

#[test]
#[ignore = "needs the model tiny.en, and ../shared"]
fn npu_encodes_a_short_window_after_a_long_one() {
    let (mel, model) = (golden("jfk.mel.npy"), model("tiny.en"));
    let mut npu = NpuEncoder::new(&model, Box::new(SimulatedNpu::new().unwrap())).unwrap();
    let mut reference = ReferenceEncoder::new(&model).unwrap();
    encode(&mut npu, &model, &mel, model.config.audio_ctx);
    let found = encode(&mut npu, &model, &mel, 601);
    let expected = encode(&mut reference, &model, &mel, 601);
    let rows = s![..601, ..];
    let pairs = found.cross.iter().zip(&expected.cross);
    let pairs = pairs.flat_map(|(a, b)| [(&a.k, &b.k), (&a.v, &b.v)]);
    for (a, b) in pairs.chain([(&found.hidden, &expected.hidden)]) {
        let cosine = cosine(a.slice(rows), b.slice(rows));
        assert!(cosine >= 0.999, "{cosine}");
    }
    let mut features = AudioFeatures::new(&model.config);
    assert!(npu.encode(0, &mut features).is_err() && npu.encode(1501, &mut features).is_err());
}
