// SPDX-License-Identifier: MPL-2.0
//! The whole encoder in the NPU's numbers, on the device model, against reference numbers (`../shared/golden`).

use std::path::PathBuf;

use ndarray::{Array2, ArrayView2, s};
use whisper_engine::encoder::npu::NpuEncoder;
use whisper_engine::encoder::{AudioFeatures, Encoder};
use whisper_model::Model;
use whisper_reference::ReferenceEncoder;
use xdna::arithmetic::{Even, Floor};
use xdna::simulator::Emulation;

fn golden(name: &str) -> Option<PathBuf> {
    let path = test_support::shared("golden").join(name);
    if !path.exists() {
        eprintln!("skipped: no reference numbers {name}");
    }
    path.exists().then_some(path)
}

fn model(name: &str) -> Option<Model> {
    let path = Model::find(name).map_err(|error| eprintln!("skipped: {error}"));
    Some(Model::open(&path.ok()?).unwrap_or_else(|error| panic!("{error}")))
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
fn the_encoder_in_npu_numbers_points_where_the_reference_does() {
    let Some(mel) = golden("jfk.mel.npy") else {
        return;
    };
    let mel: Array2<f32> = ndarray_npy::read_npy(mel).unwrap();
    for name in ["tiny.en", "base"] {
        let (Some(model), Some(path)) = (model(name), golden(&format!("jfk.encoder.{name}.npy")))
        else {
            continue;
        };
        let expected: Array2<f32> = ndarray_npy::read_npy(path).unwrap();
        let angle = |device: Emulation| {
            let mut encoder = NpuEncoder::new(&model, Box::new(device)).unwrap();
            let features = encode(&mut encoder, &model, &mel, model.config.audio_ctx);
            cosine(features.hidden.view(), expected.view())
        };
        let even = angle(Emulation::rounding::<Even>().unwrap());
        let floor = angle(Emulation::rounding::<Floor>().unwrap());
        println!("{name}: cosine {even:.6}; as cores power up, rounding down, {floor:.6}");
        assert!(even >= 0.999, "{name}: {even}");
        assert!(floor < even, "{name}: {floor}");
    }
}

#[test]
fn a_shortened_window_after_a_long_one_is_encoded_as_the_reference_does() {
    let Some(mel) = golden("jfk.mel.npy") else {
        return;
    };
    let mel: Array2<f32> = ndarray_npy::read_npy(mel).unwrap();
    let Some(model) = model("tiny.en") else {
        return;
    };
    let mut npu = NpuEncoder::new(&model, Box::new(Emulation::new().unwrap())).unwrap();
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
