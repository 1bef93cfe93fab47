// SPDX-License-Identifier: MPL-2.0
//! Real pipelines.

use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::support::*;

pub fn launch(description: &str) -> gst::Pipeline {
    init();
    gst::parse::launch(description)
        .expect("pipeline")
        .downcast()
        .expect("pipeline")
}

pub fn recorded(pipeline: &gst::Pipeline) -> Arc<Mutex<Vec<Out>>> {
    let element = pipeline.by_name("w").expect("an element called w");
    record(&element.static_pad("src").expect("src pad"))
}

/// Waits for EOS; an error, or too long without it, fails the test.
pub fn run_to_end(pipeline: &gst::Pipeline) {
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline
        .bus()
        .expect("bus")
        .timed_pop_filtered(PATIENCE, &wanted);
    let message = message.expect("the pipeline stalls");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
}

#[test]
fn textoverlay_with_its_defaults_does_not_stall() {
    let speech = speech();
    let file = wav(speech.samples, 1);
    let pipeline = launch(&format!(
        "videotestsrc num-buffers=250 ! video/x-raw,width=64,height=64,framerate=25/1 ! queue ! textoverlay name=o ! fakesink \
         filesrc location={} ! wavparse ! queue ! whispernpu name=w ! o.text_sink",
        file.path().display()
    ));
    let out = recorded(&pipeline);
    pipeline.set_state(gst::State::Playing).expect("playing");
    run_to_end(&pipeline);
    pipeline.set_state(gst::State::Null).expect("null");
    assert!(said(&out.lock().expect("recorder")).contains(speech.word));
}

#[test]
fn preroll_needs_little_audio() {
    let speech = speech();
    let file = wav(speech.samples, 3);
    // One source thread for both: it gets stuck in the fakesink that prerolls, long before a window of audio.
    let pipeline = launch(&format!(
        "filesrc location={} ! wavparse ! tee name=t ! queue ! whispernpu name=w ! fakesink sync=true t. ! fakesink sync=true",
        file.path().display()
    ));
    pipeline.set_state(gst::State::Paused).expect("pausing");
    let (prerolled, state, _) = pipeline.state(seconds(30));
    assert_eq!((prerolled.is_ok(), state), (true, gst::State::Paused));
    pipeline.set_state(gst::State::Null).expect("null");
}

#[test]
fn seeks_are_followed() {
    let speech = speech();
    let file = wav(speech.samples, 4);
    let pipeline = launch(&format!(
        "filesrc location={} ! wavparse ! whispernpu name=w ! fakesink sync=false",
        file.path().display()
    ));
    let out = recorded(&pipeline);
    pipeline.set_state(gst::State::Paused).expect("pausing");
    pipeline.state(seconds(60)).0.expect("paused");
    for target in [20, 3, 40, 30] {
        pipeline
            .seek_simple(
                gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
                seconds(target),
            )
            .expect("seek");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    pipeline.set_state(gst::State::Playing).expect("playing");
    run_to_end(&pipeline);
    pipeline.set_state(gst::State::Null).expect("null");
    let out = out.lock().expect("recorder");
    let flushed = |item: &Out| matches!(item, Out::Event(event) if event.type_() == gst::EventType::FlushStop);
    let last = out.iter().rposition(flushed).expect("a flush");
    let texts = texts(&out[last..]);
    assert!(
        !texts.is_empty() && texts.iter().all(|text| text.start >= seconds(30)),
        "{texts:?}"
    );
    assert!(said(&out[last..]).contains(speech.word));
}

#[test]
fn state_cycles_load_the_model_once() {
    let speech = speech();
    let file = wav(speech.samples, 1);
    let pipeline = launch(&format!(
        "filesrc location={} ! wavparse ! whispernpu name=w threads=3 ! fakesink sync=false",
        file.path().display()
    ));
    let out = recorded(&pipeline);
    let bus = pipeline.bus().expect("bus");
    let mut loads = 0;
    for cycle in 0..6u64 {
        pipeline.set_state(gst::State::Playing).expect("playing");
        if cycle % 3 == 2 {
            run_to_end(&pipeline);
        } else {
            let started = bus.timed_pop_filtered(
                gst::ClockTime::from_mseconds(150 * cycle),
                &[gst::MessageType::Progress],
            );
            loads += u64::from(started.is_some());
        }
        pipeline.set_state(gst::State::Null).expect("null");
    }
    assert!(loads <= 1);
    let ends = events(&out.lock().expect("recorder"));
    let ends = ends
        .iter()
        .filter(|event| event.type_() == gst::EventType::Eos)
        .count();
    // On a fast machine a run that is cut short may have come to its end too.
    assert!((2..=6).contains(&ends), "{ends} ends");
    assert!(said(&out.lock().expect("recorder")).contains(speech.word));
}

#[test]
fn elements_share_one_engine() {
    let speech = speech();
    let file = wav(speech.samples, 1);
    let pipeline = launch(&format!(
        "filesrc location={} ! wavparse ! tee name=t ! queue ! whispernpu name=w threads=5 ! fakesink sync=false \
         t. ! queue ! whispernpu name=v threads=5 ! fakesink sync=false",
        file.path().display()
    ));
    pipeline.set_state(gst::State::Playing).expect("playing");
    run_to_end(&pipeline);
    let windows = |name: &str| {
        let stats: gst::Structure = pipeline.by_name(name).expect("element").property("stats");
        stats
            .get::<u64>("windows-encoded")
            .expect("windows-encoded")
    };
    assert_eq!(
        windows("w"),
        windows("v"),
        "they count the same engine's work"
    );
    assert!(windows("w") >= 2);
    pipeline.set_state(gst::State::Null).expect("null");
}

#[test]
fn active_device_is_told_once_known() {
    init();
    let element = gst::parse::launch("whispernpu threads=4").expect("element");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert_eq!(element.property::<Option<String>>("active-device"), None);
    element.set_state(gst::State::Paused).expect("paused");
    let message = bus
        .timed_pop_filtered(seconds(60), &[gst::MessageType::Info])
        .expect("what auto came to");
    assert!(message.structure().is_some());
    let device = element
        .property::<Option<String>>("active-device")
        .expect("a device");
    assert!(device.starts_with("cpu"), "{device}");
    element.set_state(gst::State::Null).expect("null");
    assert_eq!(
        element.property::<Option<String>>("active-device"),
        Some(device),
        "the engine is kept"
    );
}

#[test]
fn proposed_buffers_are_used_by_upstream() {
    // Larger than a second: a pool of smaller buffers would be a critical warning, which fails the test.
    let pipeline = launch(
        "audiotestsrc num-buffers=4 samplesperbuffer=40000 ! audio/x-raw,rate=16000 ! whispernpu name=w ! fakesink",
    );
    pipeline.set_state(gst::State::Playing).expect("playing");
    run_to_end(&pipeline);
    let stats: gst::Structure = pipeline.by_name("w").expect("element").property("stats");
    assert_eq!(stats.get::<u64>("samples-read"), Ok(160_000));
    pipeline.set_state(gst::State::Null).expect("null");
}
