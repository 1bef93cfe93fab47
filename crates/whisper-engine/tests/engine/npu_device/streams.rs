// SPDX-License-Identifier: MPL-2.0
//! Several streams on one engine whose encoder is on the NPU.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ndarray::{Array2, ArrayViewMut2};
use whisper_engine::decoder::{DecodeSession, EncodedWindow};
use whisper_engine::encoder::{AudioFeatures, Encoder, EncoderError};
use whisper_engine::engine::DecoderTurn;
use whisper_engine::{AudioRun, Engine, MelFrame};
use whisper_frontend::mel::WINDOW_FRAMES;

use super::faulty::{Control, Fault, Plan, Step};
use super::{ONCE, PATIENCE, Setup, fallback, model, on_device};
use whisper_model::Model;

/// With the silence after them these make a window of two lanes.
const FRAMES: usize = 600;

/// A run of audio that is like no other.
fn run(number: usize) -> AudioRun {
    let run = AudioRun::new(80);
    run.write(|track| {
        for frame in 0..FRAMES {
            let row = track.next_row().expect("room");
            for (band, x) in row.iter_mut().enumerate() {
                *x = ((frame * (band + 3 + number)) as f32 * 0.01).sin();
            }
            track.commit_row();
        }
    });
    run
}

/// An engine of its own, which encodes with `encoder`.
fn engine(model: Arc<Model>, encoder: impl Encoder + 'static, threads: usize) -> Engine {
    let builder = Engine::builder().encoder(Box::new(encoder));
    builder.threads(threads).build(model).unwrap()
}

/// The window, and the turn that it is decoded in.
fn encode<'a>(engine: &'a Engine, run: &'a AudioRun) -> (EncodedWindow, DecoderTurn<'a>) {
    let turn = engine.turn(run).expect("the run was not cancelled");
    let rows = MelFrame::ZERO..MelFrame::from_usize(FRAMES);
    turn.encode(&[rows]).expect("a window is lost")
}

/// A pass of the decoder's.
fn logits(turn: &DecoderTurn, window: &EncodedWindow) -> Vec<f32> {
    let logits =
        turn.run(|decoder| decoder.logits(&[1, 2, 3], &mut DecodeSession::default(), window, None));
    logits.expect("a window is lost")
}

fn hear(engine: &Engine, number: usize) -> Vec<f32> {
    let run = run(number);
    let (window, turn) = encode(engine, &run);
    logits(&turn, &window)
}

/// Something that is to happen, and can be waited for.
#[derive(Default)]
struct Event(Mutex<bool>, Condvar);

impl Event {
    fn happen(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn happened(&self) -> bool {
        *self.0.lock().unwrap()
    }

    #[track_caller]
    fn wait(&self, what: &str) {
        let happened = self.0.lock().unwrap();
        let wait = self
            .1
            .wait_timeout_while(happened, PATIENCE, |happened| !*happened);
        assert!(!wait.unwrap().1.timed_out(), "in vain: {what}");
    }
}

/// The NPU gives the second window back only after the first one was decoded, and that is not
/// decoded before the NPU has the second.
#[test]
fn stream_is_decoded_while_the_npu_has_another() {
    let model = model();
    let (decoding, at_work, decoded) = <(Arc<Event>, Arc<Event>, Arc<Event>)>::default();
    let control = Control::waiting_for({
        let (decoding, at_work, decoded) = (decoding.clone(), at_work.clone(), decoded.clone());
        move || {
            if decoding.happened() {
                at_work.happen();
                decoded.wait("the first window is decoded");
            }
        }
    });
    let encoder = on_device(&model, &control).unwrap();
    // One thread: waiting for the NPU takes none of those that decode.
    let engine = engine(model, encoder, 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            let run = run(0);
            let (window, turn) = encode(&engine, &run);
            decoding.happen();
            at_work.wait("the NPU has the second window");
            logits(&turn, &window);
            decoded.happen();
        });
        decoding.wait("the first window is encoded");
        hear(&engine, 1);
    });
}

/// Hears `windows` windows of each of `streams` streams at once.
fn hear_at_once<R: Send>(
    streams: usize,
    windows: usize,
    hear: impl Fn(usize) -> R + Sync,
) -> Vec<Vec<R>> {
    let hear = |number| -> Vec<R> { (0..windows).map(|_| hear(number)).collect() };
    let hear = &hear;
    thread::scope(|scope| {
        let streams = (0..streams).map(|number| scope.spawn(move || hear(number)));
        let streams: Vec<_> = streams.collect();
        let heard = streams.into_iter().map(|stream| stream.join());
        heard.map(|heard| heard.expect("a stream")).collect()
    })
}

#[test]
fn streams_at_once_hear_what_each_hears_alone() {
    let model = model();
    for threads in [1, 3] {
        let encoder = on_device(&model, &Control::default()).unwrap();
        let engine = engine(model.clone(), encoder, threads);
        let expected: Vec<_> = (0..4)
            .map(|number| vec![hear(&engine, number); 3])
            .collect();
        assert_ne!(expected[0], expected[1]);
        let found = hear_at_once(4, 3, |number| hear(&engine, number));
        assert_eq!(found, expected);
        assert_eq!(
            engine.counters().pool.exhausted,
            0,
            "windows are kept waiting, not piled up"
        );
    }
}

#[test]
fn npu_failure_costs_no_stream_a_window() {
    let setup = Setup::new();
    for step in [
        Step::SyncToDevice,
        Step::SyncFromDevice,
        Step::Submit,
        Step::Wait,
    ] {
        // Early and late in the first window and in the second one.
        let (opening, window) = (
            setup.opening.of(step),
            setup.first.of(step) - setup.opening.of(step),
        );
        for first in [
            opening,
            opening + window - 1,
            opening + window,
            opening + 2 * window - 1,
        ] {
            for fault in [Fault::Fails, Fault::Hangs] {
                let plan = Plan {
                    step,
                    fault,
                    first,
                    times: ONCE,
                };
                let encoder = fallback(&setup.model, &Control::with(plan)).unwrap();
                let monitor = encoder.monitor();
                let engine = engine(setup.model.clone(), encoder, 2);
                let heard = hear_at_once(2, 2, |number| hear(&engine, number));
                let mut logits = heard.iter().flatten().flatten();
                assert!(logits.all(|logit| logit.is_finite()), "{plan:?}");
                assert_eq!(monitor.health().failures, 1, "{plan:?}");
            }
        }
    }
}

/// Counts who is at work at once.
#[derive(Default)]
struct Busy {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Busy {
    fn work(&self) {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        thread::sleep(Duration::from_millis(5));
        self.now.fetch_sub(1, SeqCst);
    }
}

/// An encoder that hears nothing, and takes its time.
struct Sleeper {
    input: Array2<f32>,
    runs_off_cpu: bool,
    busy: Arc<Busy>,
}

impl Encoder for Sleeper {
    fn input(&mut self) -> ArrayViewMut2<'_, f32> {
        self.input.view_mut()
    }

    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError> {
        self.busy.work();
        out.context = context;
        Ok(())
    }

    fn description(&self) -> String {
        "asleep".into()
    }

    fn runs_off_cpu(&self) -> bool {
        self.runs_off_cpu
    }
}

const STREAMS: usize = 5;

/// Six windows of each of some streams: how many turns of others each turn waited for, and how many
/// were at work at once.
fn turns(runs_off_cpu: bool) -> (Vec<usize>, usize) {
    let busy = Arc::new(Busy::default());
    let encoder = Sleeper {
        input: Array2::zeros((WINDOW_FRAMES, 80)),
        runs_off_cpu,
        busy: busy.clone(),
    };
    let engine = engine(model(), encoder, 2);
    let turns = AtomicUsize::new(0);
    let waited = hear_at_once(STREAMS, 6, |number| {
        let run = run(number);
        let asked = turns.load(SeqCst);
        let _turn = encode(&engine, &run);
        let waited = turns.fetch_add(1, SeqCst) - asked;
        busy.work();
        waited
    });
    (waited.concat(), busy.most.load(SeqCst))
}

#[test]
fn two_streams_work_at_once_off_the_cpu_else_one() {
    assert_eq!(turns(true).1, 2);
    assert_eq!(turns(false).1, 1);
}

#[test]
fn turns_are_fair() {
    for runs_off_cpu in [true, false] {
        let (waited, _) = turns(runs_off_cpu);
        // One turn of each other stream, and as many again, as a thread may be slow to ask.
        let fair = waited.iter().all(|turns| *turns <= 2 * STREAMS);
        assert!(fair, "{waited:?}");
    }
}

#[test]
fn cancelled_stream_takes_no_turn() {
    let busy = Arc::new(Busy::default());
    let encoder = Sleeper {
        input: Array2::zeros((WINDOW_FRAMES, 80)),
        runs_off_cpu: true,
        busy: busy.clone(),
    };
    let engine = engine(model(), encoder, 1);
    let run = run(0);
    run.cancel();
    assert!(engine.turn(&run).is_none() && engine.counters().windows == 0);
}
