// SPDX-License-Identifier: MPL-2.0
//! Caps on both pads, latency, allocation.

use gst::prelude::*;

use crate::support::*;

fn written_as(caps: &str) -> (gst::Caps, Vec<Out>) {
    let speech = speech();
    let mut listener = Listener::new("", caps);
    listener.push_samples(speech.samples, gst::ClockTime::ZERO);
    let out = listener.finish();
    let caps = listener
        .element()
        .static_pad("src")
        .expect("src pad")
        .current_caps()
        .expect("caps were negotiated");
    assert!(said(&out).contains(speech.word), "{out:?}");
    (caps, out)
}

#[test]
fn plain_text_is_the_default_format() {
    let (caps, out) = written_as("ANY");
    assert_eq!(caps.to_string(), "text/x-raw, format=(string)utf8");
    assert!(
        texts(&out)
            .iter()
            .all(|text| text.text == text.text.trim() && !text.text.is_empty())
    );
}

#[test]
fn pango_markup_is_written_where_it_is_asked_for() {
    let (caps, _) = written_as("text/x-raw, format=pango-markup");
    assert_eq!(caps.to_string(), "text/x-raw, format=(string)pango-markup");
}

#[test]
fn subrip_is_written_where_it_is_asked_for() {
    let (caps, out) = written_as("application/x-subtitle");
    assert_eq!(caps.to_string(), "application/x-subtitle");
    for (index, text) in texts(&out).iter().enumerate() {
        assert!(
            text.text.starts_with(&format!("{}\n00:00:", index + 1)),
            "{text:?}"
        );
    }
}

#[test]
fn webvtt_is_written_with_one_header() {
    let (caps, out) = written_as("application/x-subtitle-vtt");
    assert_eq!(caps.to_string(), "application/x-subtitle-vtt");
    for (index, text) in texts(&out).iter().enumerate() {
        assert_eq!(text.text.starts_with("WEBVTT\n\n"), index == 0, "{text:?}");
        assert!(text.text.contains(" --> "));
    }
}

#[test]
fn json_is_written_as_one_object_a_cue() {
    let (caps, out) = written_as("application/x-json");
    assert_eq!(caps.to_string(), "application/x-json");
    for text in texts(&out) {
        assert!(
            serde_json::from_str::<serde_json::Value>(&text.text)
                .expect("JSON")
                .is_object()
        );
    }
}

#[test]
fn webvtt_without_a_cue_has_its_header() {
    let mut listener = Listener::new("", "application/x-subtitle-vtt");
    let out = listener.finish();
    assert_eq!(
        texts(&out)
            .iter()
            .map(|text| text.text.as_str())
            .collect::<String>(),
        "WEBVTT\n\n"
    );
}

#[test]
fn downstream_that_takes_no_text_stops_the_stream() {
    init();
    let pipeline = gst::parse::launch(
        "audiotestsrc num-buffers=50 ! whispernpu name=w ! capsfilter caps=text/x-raw,format=utf8 name=c ! fakesink",
    );
    let pipeline = pipeline
        .expect("pipeline")
        .downcast::<gst::Pipeline>()
        .expect("pipeline");
    let filter = pipeline.by_name("c").expect("capsfilter");
    filter.set_property("caps", gst::Caps::builder("text/x-other").build());
    pipeline.set_state(gst::State::Playing).expect("playing");
    let message = pipeline
        .bus()
        .expect("bus")
        .timed_pop_filtered(seconds(60), &[gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).expect("null");
    assert!(message.is_some(), "an element reports it");
}

#[test]
fn audio_whisper_cannot_hear_is_refused_by_caps() {
    init();
    let element = gst::ElementFactory::make("whispernpu")
        .build()
        .expect("element");
    let pad = element.static_pad("sink").expect("sink pad");
    let accepts = |caps: &str| pad.query_accept_caps(&caps.parse::<gst::Caps>().expect("caps"));
    assert!(accepts(AUDIO));
    assert!(accepts(
        "audio/x-raw, format=F32LE, rate=16000, channels=1, layout=interleaved"
    ));
    assert!(!accepts(
        "audio/x-raw, format=S16LE, rate=44100, channels=2, channel-mask=(bitmask)3, layout=interleaved"
    ));
    assert!(!accepts(
        "audio/x-raw, format=S16LE, rate=16000, channels=2, channel-mask=(bitmask)3, layout=interleaved"
    ));
    assert!(!accepts(
        "audio/x-raw, format=S24LE, rate=16000, channels=1, layout=interleaved"
    ));
    assert!(!accepts(
        "audio/mpeg, mpegversion=1, layer=3, rate=16000, channels=1"
    ));
}

/// A microphone that gives 16 kHz mono by itself (pulsesrc, alsasrc) fills what it needs of a pool's
/// buffer and sends all of it: 4 s of noise after 40 ms of speech, and no word was recognised.
#[test]
fn allocation_query_proposes_no_pool() {
    init();
    let element = gst::ElementFactory::make("whispernpu")
        .build()
        .expect("element");
    let pad = element.static_pad("sink").expect("sink pad");
    let caps = AUDIO.parse().expect("caps");
    let mut query = gst::query::Allocation::new(Some(&caps), true);
    let _ = pad.query(&mut query);
    assert_eq!(query.allocation_pools().count(), 0);
}

#[test]
fn latency_of_a_live_pipeline_is_the_property() {
    let mut listener = Listener::before_data("latency=1500", "ANY");
    listener.harness.set_live(true);
    listener
        .harness
        .set_upstream_latency(gst::ClockTime::from_mseconds(20));
    assert_eq!(
        listener.harness.query_latency(),
        Some(gst::ClockTime::from_mseconds(1520))
    );
    listener.messages();
    listener.element().set_property("latency", 800u32);
    assert!(
        listener
            .messages()
            .iter()
            .any(|message| message.type_() == gst::MessageType::Latency)
    );
    assert_eq!(
        listener.harness.query_latency(),
        Some(gst::ClockTime::from_mseconds(820))
    );
}

#[test]
fn latency_is_zero_when_not_live() {
    let mut listener = Listener::before_data("latency=1500", "ANY");
    listener.harness.set_upstream_latency(gst::ClockTime::ZERO);
    assert_eq!(listener.harness.query_latency(), Some(gst::ClockTime::ZERO));
}

#[test]
fn latency_is_known_in_paused_before_any_data() {
    init();
    let bin = gst::parse::launch("fakesrc is-live=true ! whispernpu name=w latency=4000")
        .expect("pipeline");
    let bin = bin.downcast::<gst::Bin>().expect("bin");
    bin.set_state(gst::State::Paused).expect("paused");
    let mut query = gst::query::Latency::new();
    let pad = bin
        .by_name("w")
        .and_then(|element| element.static_pad("src"))
        .expect("src pad");
    assert!(pad.query(&mut query));
    let (live, min, max) = query.result();
    assert!(live);
    assert_eq!(min, seconds(4));
    assert!(max.is_none_or(|max| max >= min));
    bin.set_state(gst::State::Null).expect("null");
}

#[test]
fn latency_query_is_answered_with_nothing_linked() {
    init();
    let element = gst::ElementFactory::make("whispernpu")
        .build()
        .expect("element");
    let mut query = gst::query::Latency::new();
    assert!(
        element
            .static_pad("src")
            .expect("src pad")
            .query(&mut query)
    );
    assert!(!query.result().0);
}
