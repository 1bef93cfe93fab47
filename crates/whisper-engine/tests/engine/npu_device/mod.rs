// SPDX-License-Identifier: MPL-2.0
//! The encoder on a device that counts its work and fails at each possible step: no window is lost,
//! and the work for a window is as documented. The device is the simulator, without AMD's runtime.

mod faulty;
mod lost;
mod opener;
mod streams;
use test_support::synthetic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use faulty::{Control, Counts, Fault, Faulty, Plan, STEPS, Step};
use ndarray::{ArrayView2, s};
use synthetic::Stored;
use whisper_engine::encoder::cpu::CpuEncoder;
use whisper_engine::encoder::fallback::{FallbackEncoder, OpenEncoder};
use whisper_engine::encoder::npu::NpuEncoder;
use whisper_engine::encoder::{AudioFeatures, Encoder, EncoderError};
use whisper_model::Model;
use xdna::NpuError;
use xdna::simulator::SimulatedNpu;

/// One lane.
const SHORT: usize = 300;
/// Two lanes, the second of which is not full.
const CONTEXT: usize = 600;
/// Longer than any successful wait of these tests.
const PATIENCE: Duration = Duration::from_secs(60);
const ONCE: usize = 1;
const ALWAYS: usize = usize::MAX;

/// A model of one layer and two heads, since the overlay's products are at least 128 deep. Its
/// attention is not so sharp that rounding turns it elsewhere.
fn model() -> Arc<Model> {
    let mut tensors = synthetic::tensors();
    for (name, tensor) in &mut tensors {
        for size in &mut tensor.shape {
            if [synthetic::D, 4 * synthetic::D].contains(size) {
                *size *= 2;
            }
        }
        let (count, width) = (tensor.shape.iter().product(), tensor.shape.last().copied());
        let width = width.unwrap_or(1);
        // The values again, in each row from elsewhere on, so that no two rows are alike.
        let from = |i: usize| tensor.values[(i + 7 * (i / width)) % tensor.values.len()];
        let sharp = name.contains("q_proj") || name.contains("k_proj");
        let scale = if sharp { 1.0 / 32.0 } else { 1.0 };
        tensor.values = (0..count).map(|i| scale * from(i)).collect();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = synthetic::write_hugging_face(directory.path(), Stored::F32);
    let weights = synthetic::safetensors_bytes(&tensors, Stored::F32);
    std::fs::write(path.join("model.safetensors"), weights).unwrap();
    let mut config = synthetic::config_json();
    config["d_model"] = (2 * synthetic::D).into();
    for heads in ["encoder_attention_heads", "decoder_attention_heads"] {
        config[heads] = 2.into();
    }
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    Arc::new(Model::open(&path).unwrap())
}

fn on_device(model: &Model, control: &Control) -> Result<NpuEncoder, NpuError> {
    let device = Faulty::new(SimulatedNpu::new().unwrap(), control);
    NpuEncoder::new(model, Box::new(device))
}

/// The device with the CPU behind it, as engines have it.
fn fallback(model: &Arc<Model>, control: &Control) -> Result<FallbackEncoder, NpuError> {
    let (opened, control) = (model.clone(), control.clone());
    let open: OpenEncoder = Arc::new(move || Ok(Box::new(on_device(&opened, &control)?)));
    let cpu = Box::new(CpuEncoder::new(model).unwrap());
    let fallback = FallbackEncoder::new(open()?, cpu, open);
    Ok(fallback.retrying_after(Duration::from_millis(5)))
}

/// Encodes window `number`, which differs from all others.
fn encode(
    encoder: &mut dyn Encoder,
    model: &Model,
    number: usize,
) -> Result<AudioFeatures, EncoderError> {
    encode_rows(encoder, model, number, CONTEXT)
}

fn encode_rows(
    encoder: &mut dyn Encoder,
    model: &Model,
    number: usize,
    context: usize,
) -> Result<AudioFeatures, EncoderError> {
    let mut features = AudioFeatures::new(&model.config);
    let mut input = encoder.input();
    for ((frame, band), x) in input.indexed_iter_mut() {
        *x = ((frame * (band + 3 + number)) as f32 * 0.01).sin() * 0.7;
    }
    let encoded = encoder.encode(context, &mut features);
    encoded.map(|()| features)
}

fn outputs(features: &AudioFeatures) -> Vec<ArrayView2<'_, f32>> {
    let cross = features.cross.iter().flat_map(|pair| [&pair.k, &pair.v]);
    let outputs = cross.chain([&features.hidden]);
    outputs
        .map(|output| output.slice(s![..CONTEXT, ..]))
        .collect()
}

fn cosine(a: &ArrayView2<'_, f32>, b: &ArrayView2<'_, f32>) -> f64 {
    let dot = |a: &ArrayView2<'_, f32>, b: &ArrayView2<'_, f32>| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Windows from the device and from the CPU, for the same model.
struct Setup {
    context: usize,
    model: Arc<Model>,
    cpu: Box<dyn Encoder>,
    /// Work of the device to be opened, and to be opened and encode a first window.
    opening: Counts,
    first: Counts,
}

impl Setup {
    fn new() -> Self {
        Self::of(CONTEXT)
    }

    /// Windows of so many rows.
    fn of(context: usize) -> Self {
        let model = model();
        let control = Control::default();
        let mut device = on_device(&model, &control).unwrap();
        let opening = control.counts();
        encode_rows(&mut device, &model, 0, context).unwrap();
        Self {
            context,
            cpu: Box::new(CpuEncoder::new(&model).unwrap()),
            model,
            opening,
            first: control.counts(),
        }
    }

    /// Encodes a window, and compares it with the CPU's: to the bit if the CPU encoded it,
    /// otherwise nearly.
    fn encode(&mut self, fallback: &mut FallbackEncoder, number: usize) {
        let encoded = fallback.monitor().health().encoded;
        let rows = self.context;
        let found = encode_rows(fallback, &self.model, number, rows).expect("a window is lost");
        let expected = encode_rows(self.cpu.as_mut(), &self.model, number, rows).unwrap();
        let by_cpu = fallback.monitor().health().encoded == encoded;
        for (found, expected) in outputs(&found).iter().zip(&outputs(&expected)) {
            match by_cpu {
                true => assert_eq!(found, expected, "window {number}"),
                false => assert!(cosine(found, expected) >= 0.99, "window {number}"),
            }
        }
    }

    /// Goes on with windows until the device encodes again.
    fn recover(&mut self, fallback: &mut FallbackEncoder) {
        let encoded = fallback.monitor().health().encoded;
        let deadline = Instant::now() + PATIENCE;
        for number in 100.. {
            self.encode(fallback, number);
            if fallback.monitor().health().encoded > encoded {
                return;
            }
            assert!(Instant::now() < deadline, "the device does not come back");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn one_failure_of_any_step_costs_no_window() {
    let mut setup = Setup::new();
    let mut struck = 0;
    for step in STEPS {
        for first in 0..setup.first.of(step) {
            for fault in [Fault::Fails, Fault::Hangs] {
                let plan = Plan {
                    step,
                    fault,
                    first,
                    times: ONCE,
                };
                let control = Control::with(plan);
                let opened = fallback(&setup.model, &control);
                if first < setup.opening.of(step) {
                    let reason = opened.err().expect("it opens all the same").to_string();
                    assert!(reason.contains("on purpose"), "{plan:?}: {reason}");
                    fallback(&setup.model, &control).expect("the fault is over");
                    continue;
                }
                let mut fallback = opened.unwrap();
                setup.encode(&mut fallback, 0);
                let health = fallback.monitor().health();
                assert_eq!((health.encoded, health.failures), (0, 1), "{plan:?}");
                assert!(health.active.starts_with("cpu"), "{plan:?}: {health:?}");
                setup.recover(&mut fallback);
                let health = fallback.monitor().health();
                assert_eq!((health.failures, health.recoveries), (1, 1), "{plan:?}");
                assert!(health.active.starts_with("npu"), "{plan:?}: {health:?}");
                assert_eq!(
                    health.checks, 1,
                    "{plan:?}: the device is not looked at again"
                );
                struck += 1;
            }
        }
    }
    assert!(
        struck >= 30,
        "only {struck} faults were tried in the stream"
    );
}

#[test]
fn garbage_of_any_sync_is_found_by_comparison() {
    // A window of one lane: this model's attention is so flat that another lane's keys matter little.
    // lost.rs has the lanes of real models.
    let mut setup = Setup::of(SHORT);
    for step in [Step::SyncToDevice, Step::SyncFromDevice] {
        for first in 0..setup.first.of(step) {
            // As f32: no number, and one that is far too large.
            for byte in [0xff, 0x55] {
                let plan = Plan {
                    step,
                    fault: Fault::Garbage(byte),
                    first,
                    times: ONCE,
                };
                let mut fallback = fallback(&setup.model, &Control::with(plan)).unwrap();
                setup.encode(&mut fallback, 0);
                let health = fallback.monitor().health();
                assert_eq!((health.encoded, health.failures), (0, 1), "{plan:?}");
                setup.recover(&mut fallback);
            }
        }
    }
}

#[test]
fn dead_device_is_retried_and_costs_no_window() {
    let mut setup = Setup::of(SHORT);
    for step in STEPS {
        for fault in [Fault::Fails, Fault::Hangs] {
            let plan = Plan {
                step,
                fault,
                first: setup.opening.of(step),
                times: ALWAYS,
            };
            let mut fallback = fallback(&setup.model, &Control::with(plan)).unwrap();
            let opens_again = setup.opening.of(step) == 0;
            let deadline = Instant::now() + PATIENCE;
            for number in 0.. {
                setup.encode(&mut fallback, number);
                let health = fallback.monitor().health();
                assert_eq!(health.encoded, 0, "{plan:?}");
                // If it can be opened, it fails on each window; otherwise it stays closed.
                let enough = if opens_again { 3 } else { 1 };
                assert_eq!(health.failures, health.recoveries + 1, "{plan:?}");
                if health.failures >= enough && number >= 10 {
                    break;
                }
                assert!(Instant::now() < deadline, "{plan:?}: it is not tried again");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

#[test]
fn encoder_keeps_nothing_of_a_failed_window() {
    let setup = Setup::new();
    let model = &setup.model;
    let mut sound = on_device(model, &Control::default()).unwrap();
    encode(&mut sound, model, 1).unwrap();
    let expected = encode(&mut sound, model, 2).unwrap();
    for step in STEPS {
        for first in setup.opening.of(step)..setup.first.of(step) {
            let plan = Plan {
                step,
                fault: Fault::Fails,
                first,
                times: ONCE,
            };
            let mut encoder = on_device(model, &Control::with(plan)).unwrap();
            let error = encode(&mut encoder, model, 1)
                .expect_err("a fault")
                .to_string();
            assert!(error.contains("on purpose"), "{plan:?}: {error}");
            let found = encode(&mut encoder, model, 2).unwrap();
            assert_eq!(outputs(&found), outputs(&expected), "{plan:?}");
        }
    }
}

/// Figures of kernels/aie2p/README.md.
#[test]
#[ignore = "needs the models tiny.en and base"]
fn window_costs_what_the_documentation_names() {
    for (name, submissions, syncs) in [("tiny.en", 18, 35), ("base", 27, 52)] {
        let model = Model::open(&Model::find(name).unwrap()).unwrap();
        for (context, lanes) in [(SHORT, 1), (1500, 3)] {
            let control = Control::default();
            let mut encoder = on_device(&model, &control).unwrap();
            encode_rows(&mut encoder, &model, 0, context).unwrap();
            let before = control.counts();
            encode_rows(&mut encoder, &model, 1, context).unwrap();
            let after = control.counts();
            println!(
                "{name}, {context} rows: the CPU works for {:?} while the device does",
                after.meanwhile - before.meanwhile
            );
            let cost = |step| after.of(step) - before.of(step);
            assert_eq!(cost(Step::Submit), lanes * submissions, "{name}");
            assert_eq!(cost(Step::Wait), lanes * submissions, "{name}");
            let dispatched = after.dispatches - before.dispatches;
            assert_eq!(dispatched, lanes * submissions, "{name}");
            let synced = cost(Step::SyncToDevice) + cost(Step::SyncFromDevice);
            assert_eq!(synced, lanes * syncs, "{name}");
            assert_eq!(cost(Step::Allocate), 0, "{name}: streams are kept");
            // Nine bytes for eight values to the device, in panels of 128 rows; four bytes a value
            // back, in whole passes of 512 rows and columns.
            let (width, layers) = (model.config.audio_state, model.config.audio_layers);
            let rows = context.next_multiple_of(128);
            let to = (3 + 4) * layers * width + width;
            let columns = [3 * width, width, 4 * width, width];
            let columns = columns.map(|columns| columns.next_multiple_of(512));
            let back =
                layers * columns.iter().sum::<usize>() + 2 * model.config.text_layers * width;
            let bytes = after.bytes_synced - before.bytes_synced;
            assert_eq!(bytes, rows * to / 8 * 9 + lanes * 512 * 4 * back, "{name}");
        }
    }
}

/// For each submission, whether the CPU synced rows between its start and the wait for its end.
fn overlaps(control: &Control) -> Vec<bool> {
    let steps = control.steps();
    let submissions = steps.split(|step| *step == Step::Submit).skip(1);
    let overlaps = submissions.map(|steps| {
        let wait = steps.iter().position(|step| *step == Step::Wait);
        wait.expect("a wait for each submission") > 0
    });
    overlaps.collect()
}

#[test]
fn cpu_works_on_one_lane_while_the_device_has_another() {
    let model = model();
    let control = Control::default();
    let mut encoder = on_device(&model, &control).unwrap();
    encode_rows(&mut encoder, &model, 0, 1100).unwrap();
    // Queries, keys and values; attention's projection; fc1; fc2; the decoder's keys and values.
    assert_eq!(overlaps(&control), [true; 3 * 5]);
    // A window of one lane has no other to work on.
    let control = Control::default();
    let mut encoder = on_device(&model, &control).unwrap();
    encode_rows(&mut encoder, &model, 0, SHORT).unwrap();
    assert_eq!(overlaps(&control), [false; 5]);
}

#[test]
fn window_does_not_depend_on_windows_before_it() {
    let model = model();
    let mut encoder = on_device(&model, &Control::default()).unwrap();
    let expected = encode_rows(&mut encoder, &model, 0, CONTEXT).unwrap();
    for context in [1, SHORT, 512, 513, 1024, 1100, 1500] {
        encode_rows(&mut encoder, &model, 1, context).unwrap();
        let found = encode_rows(&mut encoder, &model, 0, CONTEXT).unwrap();
        assert_eq!(outputs(&found), outputs(&expected), "after {context} rows");
    }
}
