// SPDX-License-Identifier: MPL-2.0
//! The encoder on a device that counts its work and fails at each possible step: no window is lost,
//! and the work for a window is as documented. The device is the simulator, without AMD's runtime.

mod faulty;
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

/// Two passes of the array, the second of which is not full.
const SHORT: usize = 300;
/// Two halves, the second of which is two passes, one of them not full.
const CONTEXT: usize = 1100;
/// Longer than any successful wait of these tests.
const PATIENCE: Duration = Duration::from_secs(60);
const ONCE: usize = 1;
const ALWAYS: usize = usize::MAX;

/// A model of one layer and one head, whose attention is not so sharp that rounding turns it
/// elsewhere.
fn model() -> Arc<Model> {
    let mut tensors = synthetic::tensors();
    for (name, tensor) in &mut tensors {
        if name.contains("q_proj") || name.contains("k_proj") {
            tensor.values.iter_mut().for_each(|x| *x *= 1.0 / 16.0);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = synthetic::write_hugging_face(directory.path(), Stored::F32);
    let weights = synthetic::safetensors_bytes(&tensors, Stored::F32);
    std::fs::write(path.join("model.safetensors"), weights).unwrap();
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
    // A window of one half: garbage in one of two halves in one layer may be too little to be
    // found.
    let mut setup = Setup::of(SHORT);
    for step in [Step::SyncToDevice, Step::SyncFromDevice] {
        for first in 0..setup.first.of(step) {
            // As bf16: no number, and one that is far too large.
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
    for (name, submissions, dispatches, syncs) in [("tiny.en", 14, 18, 27), ("base", 21, 27, 40)] {
        let model = Model::open(&Model::find(name).unwrap()).unwrap();
        for (context, halves) in [(SHORT, 1), (1500, 2)] {
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
            assert_eq!(cost(Step::Submit), halves * submissions, "{name}");
            assert_eq!(cost(Step::Wait), halves * submissions, "{name}");
            let dispatched = after.dispatches - before.dispatches;
            assert_eq!(dispatched, halves * dispatches, "{name}");
            let synced = cost(Step::SyncToDevice) + cost(Step::SyncFromDevice);
            assert_eq!(synced, halves * syncs, "{name}");
            assert_eq!(cost(Step::Allocate), 0, "{name}: streams are kept");
            // What goes to the device, in whole passes, and what comes back.
            let (width, layers) = (model.config.audio_state, model.config.audio_layers);
            let rows = context.next_multiple_of(256);
            let to = (3 * layers + 1) * rows;
            let back = (3 + 1 + 1) * layers * context + 2 * model.config.text_layers * context;
            let bytes = after.bytes_synced - before.bytes_synced;
            assert_eq!(bytes, 2 * width * (to + back), "{name}");
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
fn cpu_works_on_one_half_while_the_device_has_the_other() {
    let model = model();
    let control = Control::default();
    let mut encoder = on_device(&model, &control).unwrap();
    encode_rows(&mut encoder, &model, 0, CONTEXT).unwrap();
    // Queries, keys and values; attention's projection; the feed-forward half; the decoder's keys
    // and values.
    assert_eq!(overlaps(&control), [true; 2 * 4]);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn cross_kv_are_unpacked_while_the_next_are_computed() {
    let model = Model::open(&Model::find("tiny.en").unwrap()).unwrap();
    let control = Control::default();
    let mut encoder = on_device(&model, &control).unwrap();
    encode_rows(&mut encoder, &model, 0, SHORT).unwrap();
    // The layers of a short window have no second half to work on.
    let mut expected = [false; 3 * 4 + 2];
    expected[3 * 4 + 1] = true;
    assert_eq!(overlaps(&control), expected);
}

#[test]
fn window_does_not_depend_on_windows_before_it() {
    let model = model();
    let mut encoder = on_device(&model, &Control::default()).unwrap();
    let expected = encode_rows(&mut encoder, &model, 0, CONTEXT).unwrap();
    for context in [1, SHORT, 768, 769, 1500] {
        encode_rows(&mut encoder, &model, 1, context).unwrap();
        let found = encode_rows(&mut encoder, &model, 0, CONTEXT).unwrap();
        assert_eq!(outputs(&found), outputs(&expected), "after {context} rows");
    }
}
