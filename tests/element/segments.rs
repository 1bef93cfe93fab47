// SPDX-License-Identifier: MPL-2.0
//! Segments, streams and requests that say again what is known; segments in a row.

use gst::ClockTime;
use gst::prelude::*;

use crate::pipelines::{launch, recorded, run_to_end};
use crate::support::*;

const TEXT: &str = "text/x-raw, format=utf8";

/// The words of the speech when upstream does this before each tenth buffer, after so many of them.
fn words(mode: &str, mut again: impl FnMut(&mut Listener, usize)) -> Vec<(String, u64)> {
    let mut listener = Listener::new(
        &format!("granularity=word mode={mode} language-code=en"),
        TEXT,
    );
    listener.segment(seconds(0));
    for (index, buffer) in buffers(speech().samples, ClockTime::ZERO).enumerate() {
        if index > 0 && index % 10 == 0 {
            again(&mut listener, index);
        }
        listener.push(buffer);
    }
    let out = listener.finish();
    let segments = events(&out);
    let segments = segments
        .iter()
        .filter(|event| event.type_() == gst::EventType::Segment);
    assert_eq!(segments.count(), 1, "what is known is not said again");
    timed_words(&out)
}

/// A segment in which time stamps mean what they mean in the first one.
fn later_segment(start: ClockTime) -> gst::Event {
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    segment.set_start(start);
    segment.set_time(start);
    segment.set_base(start);
    gst::event::Segment::new(&segment)
}

#[test]
fn what_is_known_changes_nothing_when_it_is_said_again() {
    for mode in ["offline", "live"] {
        let clean = words(mode, |_, _| ());
        assert!(clean.len() > 10, "{clean:?}");
        let same_segment = words(mode, |listener, _| listener.segment(seconds(0)));
        assert_eq!(same_segment, clean, "{mode}: the same segment");
        let going_on = words(mode, |listener, index| {
            listener.push_event(later_segment(duration_of(index * RATE / 10)));
        });
        assert_eq!(going_on, clean, "{mode}: a segment that goes on");
        let same_stream = words(mode, |listener, _| {
            let pad = listener.element().static_pad("sink").expect("sink pad");
            let start = pad.sticky_event::<gst::event::StreamStart>(0);
            let caps = pad.sticky_event::<gst::event::Caps>(0);
            listener.push_event(start.expect("a stream").into());
            listener.push_event(caps.expect("caps").into());
            listener.segment(seconds(0));
        });
        assert_eq!(same_stream, clean, "{mode}: the same stream");
        let same_request = words(mode, |listener, index| {
            let code = ["en", "en-US", "en", "en-GB"][index / 10 % 4];
            listener.element().set_property("language-code", code);
        });
        assert_eq!(same_request, clean, "{mode}: the same request");
    }
}

#[test]
fn segment_that_goes_on_with_another_end_is_told() {
    let speech = speech();
    let (half, rest) = speech.samples.split_at(speech.samples.len() / 2);
    let mut listener = Listener::new("granularity=word", TEXT);
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    segment.set_stop(duration_of(half.len()));
    listener.push_event(gst::event::Segment::new(&segment));
    listener.push_samples(half, ClockTime::ZERO);
    listener.push_event(later_segment(duration_of(half.len())));
    listener.push_samples(rest, duration_of(half.len()));
    let out = listener.finish();
    let stops: Vec<_> = events(&out)
        .iter()
        .filter_map(|event| match event.view() {
            gst::EventView::Segment(segment) => {
                let segment = segment.segment().downcast_ref::<ClockTime>()?;
                assert_eq!(segment.start(), Some(ClockTime::ZERO));
                Some(segment.stop())
            }
            _ => None,
        })
        .collect();
    // The harness begins with one that has no end.
    assert_eq!(stops, [None, Some(duration_of(half.len())), None]);
    let words = words("offline", |_, _| ());
    let texts: Vec<_> = timed_words(&out).into_iter().map(|word| word.0).collect();
    let expected: Vec<_> = words.into_iter().map(|word| word.0).collect();
    assert_eq!(texts, expected);
}

/// From when to when text is on the screen, in running time.
fn shown(out: &[Out]) -> Vec<(ClockTime, ClockTime)> {
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    let mut shown = Vec::new();
    for item in out {
        match item {
            Out::Event(event) => {
                if let gst::EventView::Segment(event) = event.view() {
                    segment = event.segment().downcast_ref().expect("in time").clone();
                }
            }
            Out::Text(text) => {
                let running = |time| segment.to_running_time(time).expect("within the segment");
                shown.push((running(text.start), running(text.end)));
            }
        }
    }
    shown
}

#[test]
fn text_of_files_in_a_row_never_overlaps() {
    let speech = speech();
    // A cut within a word, so that text is there to the very end.
    let cut = &speech.samples[..speech.samples.len() * 2 / 5];
    let files = [wav(cut, 1), wav(speech.samples, 1), wav(cut, 1)];
    for mode in ["offline", "live"] {
        let sources = files.iter().map(|file| {
            format!(
                "filesrc location={} ! wavparse ! c. ",
                file.path().display()
            )
        });
        let sources: String = sources.collect();
        let pipeline = launch(&format!(
            "concat name=c ! whispernpu name=w mode={mode} ! {TEXT} ! fakesink {sources}"
        ));
        let out = recorded(&pipeline);
        pipeline.set_state(gst::State::Playing).expect("playing");
        run_to_end(&pipeline);
        pipeline.set_state(gst::State::Null).expect("null");
        let out = out.lock().expect("recorder");
        let shown = shown(&out);
        let overlap = |pair: &[(ClockTime, ClockTime)]| pair[1].0 < pair[0].1;
        assert!(!shown.windows(2).any(overlap), "{mode}: {shown:?}");
        assert!(said(&out).contains(speech.word), "{mode}: {out:?}");
    }
}
