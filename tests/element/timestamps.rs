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

/// Every word of a clean run, once, at its time within `tolerance` milliseconds, and a warning.
fn check(properties: &str, size: usize, tolerance: u64, fate: impl FnMut(usize) -> Fate) {
    let (clean, clean_out) = play(properties, size, |_| Off(0));
    let (listener, out) = play(properties, size, fate);
    let (clean_words, words) = (timed_words(&clean_out), timed_words(&out));
    let same = clean_words.len() == words.len()
        && clean_words
            .iter()
            .zip(&words)
            .all(|(one, two)| one.0 == two.0 && one.1.abs_diff(two.1) <= tolerance);
    assert!(
        same,
        "{properties}: {words:?}, but the clean run has {clean_words:?}"
    );
    assert_eq!(complaints(&listener).len(), 1);
    assert!(listener.stat("updates") <= 2 * clean.stat("updates"));
}

#[test]
fn jitter_leaves_every_word_in_its_place() {
    let mut rng = Rng::with_seed(1);
    check("mode=live", 20, 200, |_| Off(rng.i64(-100..=100)));
    check("mode=offline", 20, 200, |index| {
        Off(45 - 90 * (index as i64 % 2))
    });
}

#[test]
fn rounding_leaves_every_word_in_its_place() {
    for size in [20, 100] {
        check("mode=offline", size, 200, |index| {
            rounding(index, size, 200)
        });
    }
}

#[test]
fn steps_back_leave_every_word_in_its_place() {
    let mut rng = Rng::with_seed(2);
    check("mode=live", 100, 200, |index| match rng.u8(..) {
        0..20 if index > 0 => Off(rng.i64(-100..-40)),
        _ => Off(0),
    });
}

#[test]
fn repeated_buffers_double_no_word() {
    let mut rng = Rng::with_seed(3);
    check("mode=live", 20, 200, |_| match rng.u8(..) {
        0..20 => Repeated,
        _ => Off(0),
    });
}

#[test]
fn missing_buffers_take_no_word_along() {
    for jitter in [0, 60] {
        let mut rng = Rng::with_seed(4);
        check("mode=offline", 20, 300, |index| match rng.u8(..) {
            0..6 if index > 50 => Missing,
            _ => Off(rng.i64(-jitter..=jitter)),
        });
    }
}

#[test]
fn words_after_a_lasting_change_have_its_times() {
    let (_, clean) = play("mode=offline", 20, |_| Off(0));
    let clean = timed_words(&clean);
    for change in [700i64, -700] {
        let mut rng = Rng::with_seed(5);
        // 3.2 s after the beginning, in a pause of the speech.
        let (_, out) = play("mode=offline", 20, |index| {
            Off(rng.i64(-60..=60) + if index < 160 { 0 } else { change })
        });
        let words = timed_words(&out);
        assert_eq!(clean.len(), words.len(), "{words:?}");
        for (one, two) in clean.iter().zip(&words) {
            assert_eq!(one.0, two.0);
            // An earlier time is approached within three seconds.
            let expected = match one.1 {
                0..8_100 => one.1,
                8_100..11_200 if change < 0 => continue,
                _ => one.1.saturating_add_signed(change),
            };
            assert!(two.1.abs_diff(expected) < 250, "{one:?} {two:?} {change}");
        }
    }
}

/// Buffers stamped when they arrive, which is up to so many milliseconds late.
fn words_of_late_arrivals(mode: &str, late: u64, seed: u64) -> Vec<String> {
    let pipeline = launch(&format!(
        "{} do-timestamp=true ! whispernpu name=w mode={mode} granularity=word ! {TEXT} ! fakesink async=false sync=false",
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
    let stats: gst::Structure = pipeline.by_name("w").expect("element").property("stats");
    assert_eq!(stats.get::<u64>("samples-dropped"), Ok(0));
    pipeline.set_state(gst::State::Null).expect("null");
    let out = out.lock().expect("recorder");
    timed_words(&out).into_iter().map(|word| word.0).collect()
}

#[test]
fn late_buffers_that_are_stamped_on_arrival_lose_no_word() {
    for mode in ["live", "offline"] {
        let clean = words_of_late_arrivals(mode, 0, 0);
        let late = words_of_late_arrivals(mode, 80, 1);
        // What a live update hears depends on how busy the machine is: a word or two may differ.
        let missing = clean.iter().filter(|word| !late.contains(word)).count();
        assert!(
            missing <= 2,
            "{mode}: {late:?}, but the clean run has {clean:?}"
        );
        assert!(late.len().abs_diff(clean.len()) <= 2, "{mode}: {late:?}");
    }
}
