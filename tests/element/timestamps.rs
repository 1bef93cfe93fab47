// SPDX-License-Identifier: MPL-2.0
//! Time stamps that jitter, are rounded or step back; buffers that come twice or never.

use fastrand::Rng;
use gst::ClockTime;
use gst::prelude::*;

use crate::pipelines::{launch, recorded, run_to_end};
use crate::support::*;

const TEXT: &str = "text/x-raw, format=utf8";

/// What upstream does to a buffer.
enum Fate {
    /// Its time stamp is off by so many milliseconds.
    Off(i64),
    Repeated,
    Missing,
}
use Fate::{Missing, Off, Repeated};

/// The speech in buffers of `size` milliseconds, from 5 s on, each with its fate.
fn play(
    properties: &str,
    size: usize,
    mut fate: impl FnMut(usize) -> Fate,
) -> (Listener, Vec<Out>) {
    let mut listener = Listener::new(&format!("granularity=word {properties}"), TEXT);
    listener.segment(seconds(0));
    let samples = size * RATE / 1000;
    for (index, chunk) in speech().samples.chunks(samples).enumerate() {
        let pts = seconds(5) + duration_of(index * samples);
        let buffer = |off: i64| {
            let pts = pts.nseconds().saturating_add_signed(off * 1_000_000);
            let pts = ClockTime::from_nseconds(pts);
            timed(s16(chunk), pts, duration_of(chunk.len()))
        };
        match fate(index) {
            Off(milliseconds) => listener.push(buffer(milliseconds)),
            Missing => {}
            Repeated => {
                listener.push(buffer(0));
                listener.push(buffer(0));
            }
        }
    }
    let out = listener.finish();
    (listener, out)
}

/// To a multiple of so many milliseconds.
fn rounding(index: usize, size: usize, to: i64) -> Fate {
    let time = (index * size) as i64;
    Off((time + to / 2) / to * to - time)
}

/// Warnings about time stamps, each with its text.
fn complaints(listener: &Listener) -> Vec<String> {
    let complaint = |message: gst::Message| match message.view() {
        gst::MessageView::Warning(warning) => warning
            .details()
            .filter(|details| details.name() == "whispernpu/irregular-timestamps")
            .map(|_| warning.error().to_string()),
        _ => None,
    };
    listener
        .messages()
        .into_iter()
        .filter_map(complaint)
        .collect()
}

/// The words in order, each with its start in milliseconds.
fn timed_words(out: &[Out]) -> Vec<(String, u64)> {
    let word = |text: Text| (text.text.to_lowercase(), text.start.mseconds());
    texts(out).into_iter().map(word).collect()
}

/// All of the clean run's words at their time, within `tolerance` milliseconds.
fn check_words(clean: &[Out], out: &[Out], tolerance: u64, what: &str) {
    let (clean, words) = (timed_words(clean), timed_words(out));
    let same = clean.len() == words.len()
        && clean
            .iter()
            .zip(&words)
            .all(|(one, two)| one.0 == two.0 && one.1.abs_diff(two.1) <= tolerance);
    assert!(same, "{what}:\n{words:?}, but the clean run has\n{clean:?}");
}

#[test]
fn clean_timestamps_are_no_reason_to_warn() {
    let (listener, _) = play("mode=offline", 20, |_| Off(0));
    assert!(complaints(&listener).is_empty());
    for counter in [
        "timestamps-off",
        "repeated-buffers",
        "holes",
        "time-corrections",
    ] {
        assert_eq!(listener.stat(counter), 0, "{counter}");
    }
}

#[test]
fn jitter_and_rounding_leave_every_word_in_its_place() {
    for mode in ["mode=offline", "mode=live"] {
        let (clean, clean_out) = play(mode, 20, |_| Off(0));
        let check = |what: &str, size: usize, fate: &mut dyn FnMut(usize) -> Fate| {
            let (listener, out) = play(mode, size, fate);
            check_words(&clean_out, &out, 200, &format!("{mode}, {what}"));
            assert_eq!(complaints(&listener).len(), 1, "{what}");
            assert!(listener.stat("timestamps-off") > 0, "{what}");
            assert!(listener.stat("updates") <= 2 * clean.stat("updates"));
        };
        check("45 ms alternating", 20, &mut |index| {
            Off(45 - 90 * (index as i64 % 2))
        });
        check("rounded to 200 ms", 100, &mut |index| {
            rounding(index, 100, 200)
        });
        check("rounded to 200 ms", 20, &mut |index| {
            rounding(index, 20, 200)
        });
        for seed in 1..=2 {
            let mut rng = Rng::with_seed(seed);
            check("jitter of 100 ms", 20, &mut |_| Off(rng.i64(-100..=100)));
            check("steps back", 100, &mut |_| {
                Off(if rng.u8(..) < 20 {
                    rng.i64(-100..-40)
                } else {
                    0
                })
            });
        }
    }
}

#[test]
fn repeated_buffers_double_no_word() {
    for mode in ["mode=offline", "mode=live"] {
        let (_, clean) = play(mode, 20, |_| Off(0));
        let mut rng = Rng::with_seed(3);
        let mut repeated = 0;
        let (listener, out) = play(mode, 20, |_| {
            let again = rng.u8(..) < 20;
            repeated += u64::from(again);
            if again { Repeated } else { Off(0) }
        });
        check_words(&clean, &out, 200, mode);
        assert_eq!(listener.stat("repeated-buffers"), repeated);
        assert_eq!(complaints(&listener).len(), 1);
    }
}

#[test]
fn missing_buffers_take_no_word_along() {
    for mode in ["mode=offline", "mode=live"] {
        let (_, clean) = play(mode, 20, |_| Off(0));
        for jitter in [0, 60] {
            let mut rng = Rng::with_seed(4);
            let (listener, out) = play(mode, 20, |index| match rng.u8(..) {
                0..6 if index > 50 => Missing,
                _ => Off(rng.i64(-jitter..=jitter)),
            });
            check_words(&clean, &out, 300, &format!("{mode}, jitter {jitter}"));
            assert_eq!(complaints(&listener).len(), 1);
        }
    }
}

#[test]
fn words_after_a_lasting_change_have_its_times() {
    let (_, clean) = play("mode=offline", 20, |_| Off(0));
    // Within a pause of the speech.
    let change = 3200 / 20;
    for change_ms in [700i64, -700] {
        for jitter in [0, 60] {
            let mut rng = Rng::with_seed(5);
            let (_, out) = play("mode=offline", 20, |index| {
                let after = if index < change { 0 } else { change_ms };
                Off(after + rng.i64(-jitter..=jitter))
            });
            let (clean, words) = (timed_words(&clean), timed_words(&out));
            assert_eq!(clean.len(), words.len(), "{words:?}");
            for (one, two) in clean.iter().zip(&words) {
                assert_eq!(one.0, two.0);
                let after = if one.1 < 8_100 { 0 } else { change_ms };
                // An earlier time is approached within two seconds.
                if one.1 < 8_100 || after > 0 || one.1 > 11_000 {
                    let expected = one.1.saturating_add_signed(after);
                    assert!(
                        two.1.abs_diff(expected) < 250,
                        "{one:?} {two:?} {change_ms}"
                    );
                }
            }
        }
    }
}

/// Buffers stamped when they arrive, which is up to so many milliseconds late.
fn words_of_late_arrivals(late: u64, seed: u64) -> Vec<String> {
    let pipeline = launch(&format!(
        "{} do-timestamp=true ! whispernpu name=w granularity=word ! {TEXT} ! fakesink async=false sync=false",
        live_source("speech")
    ));
    let source: gst_app::AppSrc = pipeline
        .by_name("speech")
        .and_downcast()
        .expect("an appsrc");
    let out = recorded(&pipeline);
    pipeline.set_state(gst::State::Playing).expect("playing");
    let mut rng = Rng::with_seed(seed);
    for (index, chunk) in speech().samples.chunks(RATE / 10).enumerate() {
        let due =
            duration_of((index + 1) * RATE / 10) + ClockTime::from_mseconds(rng.u64(0..=late));
        let now = source.current_running_time().unwrap_or_default();
        if let Some(ahead) = due.checked_sub(now) {
            std::thread::sleep(ahead.into());
        }
        source.push_buffer(s16(chunk)).expect("the buffer is taken");
    }
    source.end_of_stream().expect("EOS");
    run_to_end(&pipeline);
    pipeline.set_state(gst::State::Null).expect("null");
    let out = out.lock().expect("recorder");
    timed_words(&out).into_iter().map(|word| word.0).collect()
}

#[test]
fn late_buffers_that_are_stamped_on_arrival_lose_no_word() {
    let clean = words_of_late_arrivals(0, 0);
    assert_eq!(words_of_late_arrivals(80, 1), clean);
}
