// SPDX-License-Identifier: MPL-2.0
//! The encoder on a device that is watched, and that goes wrong at every step there is: no window is lost, and what
//! each costs the device is counted. The device is the model in pure Rust; nothing of AMD's runtime is needed.

mod faulty;
mod streams;
use test_support::synthetic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use faulty::{Control, Counts, Fault, Faulty, Plan, STEPS, Step};
use ndarray::{ArrayView2, s};
use synthetic::Stored;
use whisper_engine::encoder::cpu::CpuEncoder;
use whisper_engine::encoder::fallback::{FallbackEncoder, Open};
use whisper_engine::encoder::npu::NpuEncoder;
use whisper_engine::encoder::{AudioFeatures, Encoder};
use whisper_model::Model;
use xdna::device::NpuError;
use xdna::simulator::Emulation;

/// Two passes of the array, the second of which is not full.
const SHORT: usize = 300;
/// Two lanes, the second of which is two passes, one of them not full.
const CONTEXT: usize = 1100;
/// More than any wait of these tests takes that is not in vain.
const PATIENCE: Duration = Duration::from_secs(60);
const ONCE: usize = 1;
const ALWAYS: usize = usize::MAX;

/// A model of one layer and one head, whose attention is not so sharp that rounding turns it elsewhere.
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
    let device = Faulty::new(Emulation::new().unwrap(), control);
    NpuEncoder::new(model, Box::new(device))
}

/// The device with the CPU behind it, as the element has it.
fn fallback(model: &Arc<Model>, control: &Control) -> Result<FallbackEncoder, String> {
    let (opened, control) = (model.clone(), control.clone());
    let open: Open = Arc::new(move || match on_device(&opened, &control) {
        Ok(encoder) => Ok(Box::new(encoder)),
        Err(error) => Err(error.to_string()),
    });
    let fallback = FallbackEncoder::new(open, || Ok(Box::new(CpuEncoder::new(model)?)))?;
    Ok(fallback.retrying_after(Duration::from_millis(5)))
}

/// Encodes window `number`, which is like no other.
fn encode(
    encoder: &mut dyn Encoder,
    model: &Model,
    number: usize,
) -> Result<AudioFeatures, String> {
    encode_rows(encoder, model, number, CONTEXT)
}

fn encode_rows(
    encoder: &mut dyn Encoder,
    model: &Model,
    number: usize,
    context: usize,
) -> Result<AudioFeatures, String> {
    let mut features = AudioFeatures::new(&model.config);
    let mut input = encoder.input();
    for ((frame, band), x) in input.indexed_iter_mut() {
        *x = ((frame * (band + 3 + number)) as f32 * 0.01).sin() * 0.7;
    }
    let encoded = encoder.encode(context, &mut features);
    encoded
        .map(|()| features)
        .map_err(|error| error.to_string())
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
struct Bench {
    context: usize,
    model: Arc<Model>,
    cpu: Box<dyn Encoder>,
    /// What opening asks of the device, and what that and the first window do.
    opening: Counts,
    first: Counts,
}

impl Bench {
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

    /// Encodes a window, which must come out as the CPU has it: to the bit where the CPU did it, else nearly.
    fn encode(&mut self, fallback: &mut FallbackEncoder, number: usize) {
        let encoded = fallback.watch().health().encoded;
        let rows = self.context;
        let found = encode_rows(fallback, &self.model, number, rows).expect("a window is lost");
        let expected = encode_rows(self.cpu.as_mut(), &self.model, number, rows).unwrap();
        let by_cpu = fallback.watch().health().encoded == encoded;
        for (found, expected) in outputs(&found).iter().zip(&outputs(&expected)) {
            match by_cpu {
                true => assert_eq!(found, expected, "window {number}"),
                false => assert!(cosine(found, expected) >= 0.99, "window {number}"),
            }
        }
    }

    /// Goes on with windows until the device encodes again.
    fn recover(&mut self, fallback: &mut FallbackEncoder) {
        let encoded = fallback.watch().health().encoded;
        let deadline = Instant::now() + PATIENCE;
        for number in 100.. {
            self.encode(fallback, number);
            if fallback.watch().health().encoded > encoded {
                return;
            }
            assert!(Instant::now() < deadline, "the device never comes back");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn whatever_step_fails_or_hangs_once_costs_no_window_and_the_device_comes_back() {
    let mut bench = Bench::new();
    let mut struck = 0;
    for step in STEPS {
        for first in 0..bench.first.of(step) {
            for fault in [Fault::Fails, Fault::Hangs] {
                let plan = Plan {
                    step,
                    fault,
                    first,
                    times: ONCE,
                };
                let control = Control::with(plan);
                let opened = fallback(&bench.model, &control);
                if first < bench.opening.of(step) {
                    let reason = opened.err().expect("it opens all the same");
                    assert!(reason.contains("on purpose"), "{plan:?}: {reason}");
                    fallback(&bench.model, &control).expect("the fault is over");
                    continue;
                }
                let mut fallback = opened.unwrap();
                bench.encode(&mut fallback, 0);
                let health = fallback.watch().health();
                assert_eq!((health.encoded, health.failures), (0, 1), "{plan:?}");
                assert!(health.active.starts_with("cpu"), "{plan:?}: {health:?}");
                bench.recover(&mut fallback);
                let health = fallback.watch().health();
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
fn garbage_in_a_window_that_is_compared_is_found_wherever_it_comes_from() {
    // Of one lane: what one of two lanes has of one layer's may be too little of the whole to be found.
    let mut bench = Bench::of(SHORT);
    for step in [Step::SyncToDevice, Step::SyncFromDevice] {
        for first in 0..bench.first.of(step) {
            // As bf16: no number, and one that is far too large.
            for byte in [0xff, 0x55] {
                let plan = Plan {
                    step,
                    fault: Fault::Garbage(byte),
                    first,
                    times: ONCE,
                };
                let mut fallback = fallback(&bench.model, &Control::with(plan)).unwrap();
                bench.encode(&mut fallback, 0);
                let health = fallback.watch().health();
                assert_eq!((health.encoded, health.failures), (0, 1), "{plan:?}");
                bench.recover(&mut fallback);
            }
        }
    }
}

#[test]
fn a_device_that_never_works_again_is_tried_again_and_again_and_no_window_is_lost() {
    let mut bench = Bench::of(SHORT);
    for step in STEPS {
        for fault in [Fault::Fails, Fault::Hangs] {
            let plan = Plan {
                step,
                fault,
                first: bench.opening.of(step),
                times: ALWAYS,
            };
            let mut fallback = fallback(&bench.model, &Control::with(plan)).unwrap();
            let opens_again = bench.opening.of(step) == 0;
            let deadline = Instant::now() + PATIENCE;
            for number in 0.. {
                bench.encode(&mut fallback, number);
                let health = fallback.watch().health();
                assert_eq!(health.encoded, 0, "{plan:?}");
                // Where it can be opened it fails in the stream each time, else it stays closed.
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
fn the_graph_keeps_nothing_of_a_window_that_failed() {
    let bench = Bench::new();
    let model = &bench.model;
    let mut sound = on_device(model, &Control::default()).unwrap();
    encode(&mut sound, model, 1).unwrap();
    let expected = encode(&mut sound, model, 2).unwrap();
    for step in STEPS {
        for first in bench.opening.of(step)..bench.first.of(step) {
            let plan = Plan {
                step,
                fault: Fault::Fails,
                first,
                times: ONCE,
            };
            let mut encoder = on_device(model, &Control::with(plan)).unwrap();
            let error = encode(&mut encoder, model, 1).expect_err("a fault");
            assert!(error.contains("on purpose"), "{plan:?}: {error}");
            let found = encode(&mut encoder, model, 2).unwrap();
            assert_eq!(outputs(&found), outputs(&expected), "{plan:?}");
        }
    }
}

/// Figures of docs/npu.md.
#[test]
fn a_window_costs_the_submissions_dispatches_and_syncs_that_the_documentation_names() {
    for (name, submissions, dispatches, syncs) in [("tiny.en", 14, 18, 27), ("base", 21, 27, 40)] {
        let Ok(path) = Model::find(name).map_err(|error| println!("skipped: {error}")) else {
            continue;
        };
        let model = Model::open(&path).unwrap();
        for (context, lanes) in [(SHORT, 1), (1500, 2)] {
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
            assert_eq!(dispatched, lanes * dispatches, "{name}");
            let synced = cost(Step::SyncToDevice) + cost(Step::SyncFromDevice);
            assert_eq!(synced, lanes * syncs, "{name}");
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

/// For each submission, whether the CPU let the device have rows, or took some, before it waited for the end.
fn overlaps(control: &Control) -> Vec<bool> {
    let steps = control.steps();
    let submissions = steps.split(|step| *step == Step::Submit).skip(1);
    let overlaps = submissions.map(|steps| {
        let wait = steps.iter().position(|step| *step == Step::Wait);
        wait.expect("nobody waits for it") > 0
    });
    overlaps.collect()
}

#[test]
fn while_the_device_has_one_lane_the_cpu_works_on_the_other() {
    let model = model();
    let control = Control::default();
    let mut encoder = on_device(&model, &control).unwrap();
    encode_rows(&mut encoder, &model, 0, CONTEXT).unwrap();
    // Queries, keys and values; attention's projection; the feed-forward half; the decoder's keys and values.
    assert_eq!(overlaps(&control), [true; 2 * 4]);
}

#[test]
fn keys_and_values_are_handed_out_while_the_next_ones_are_computed() {
    let Ok(path) = Model::find("tiny.en").map_err(|error| println!("skipped: {error}")) else {
        return;
    };
    let model = Model::open(&path).unwrap();
    let control = Control::default();
    let mut encoder = on_device(&model, &control).unwrap();
    encode_rows(&mut encoder, &model, 0, SHORT).unwrap();
    // A short window's layers have nothing to do meanwhile.
    let mut expected = [false; 3 * 4 + 2];
    expected[3 * 4 + 1] = true;
    assert_eq!(overlaps(&control), expected);
}

/// What has gone to the device is as if it had gone alone.
#[test]
fn a_window_in_lanes_is_the_same_to_the_bit_whatever_was_encoded_before() {
    let model = model();
    let mut encoder = on_device(&model, &Control::default()).unwrap();
    let expected = encode_rows(&mut encoder, &model, 0, CONTEXT).unwrap();
    for context in [1, SHORT, 768, 769, 1500] {
        encode_rows(&mut encoder, &model, 1, context).unwrap();
        let found = encode_rows(&mut encoder, &model, 0, CONTEXT).unwrap();
        assert_eq!(outputs(&found), outputs(&expected), "after {context} rows");
    }
}
