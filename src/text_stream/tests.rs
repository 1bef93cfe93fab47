// SPDX-License-Identifier: MPL-2.0

use std::sync::Arc;

use super::*;
use crate::{element::Mode, input_queue};
use whisper_engine::{AudioRun, TranscribeOptions};

fn s(seconds: u64) -> ClockTime {
    ClockTime::from_seconds(seconds)
}

fn text_stream(session: &Session) -> TextStream<'_> {
    gst::init().expect("GStreamer");
    let settings = Settings {
        granularity: Granularity::Word,
        ..Settings::default()
    };
    TextStream::new(session, 0, settings)
}

fn live_stream(session: &Session) -> TextStream<'_> {
    gst::init().expect("GStreamer");
    TextStream::new(session, 0, Settings::default())
}

/// A word at each of these seconds of the run.
fn say(stream: &mut TextStream, base: ClockTime, seconds: &[u64]) {
    let word = |&second: &u64| Word {
        text: "word".into(),
        spaced: true,
        start: Duration::from_secs(second),
        end: Duration::from_millis(second * 1000 + 400),
        probability: 1.0,
    };
    let times = RunTimes::counted_from(base);
    stream.push_words(&times, seconds.iter().map(word).collect());
}

/// The items in the output queue, each with its first second or millisecond; `*` is DISCONT.
fn queued_items(session: &Session) -> Vec<String> {
    let end = "end".to_owned();
    session
        .output_queue
        .push(0, Item::Language(end.clone()))
        .unwrap();
    let item = || match session.output_queue.pop()? {
        Item::Cue { cue, discont } => Some(format!(
            "word {}{}",
            cue.start.as_secs(),
            if discont { "*" } else { "" }
        )),
        Item::Gap { start, .. } => Some(format!("gap {}", start.mseconds())),
        Item::Event(event) => Some(event.type_().to_string()),
        Item::Partial(partial) => Some(partial.text),
        Item::Language(code) => (code != end).then_some(code),
    };
    std::iter::from_fn(item).collect()
}

#[test]
fn discont_is_on_the_cue_after_a_hole() {
    let session = Session::new(Mode::Auto);
    let mut stream = text_stream(&session);
    stream.begin_run(s(0), true).unwrap();
    say(&mut stream, s(0), &[1]);
    stream.end_run(ClockTime::from_mseconds(1300)).unwrap();
    stream.begin_run(s(60), true).unwrap();
    say(&mut stream, s(60), &[1]);
    stream.release().unwrap();
    assert_eq!(
        queued_items(&session),
        ["gap 0", "word 1*", "gap 1400", "gap 60000", "word 61*"]
    );
}

#[test]
fn run_within_the_last_cue_follows_it_or_jumps_back() {
    let session = Session::new(Mode::Auto);
    let mut stream = text_stream(&session);
    stream.begin_run(s(10), true).unwrap();
    say(&mut stream, s(10), &[1]);
    stream.end_run(ClockTime::from_mseconds(11_300)).unwrap();
    stream.release().unwrap();
    stream
        .begin_run(ClockTime::from_mseconds(11_300), false)
        .unwrap();
    say(&mut stream, s(11), &[1]);
    stream.end_run(s(13)).unwrap();
    stream.begin_run(s(2), true).unwrap();
    say(&mut stream, s(2), &[1]);
    stream.release().unwrap();
    let expected = [
        "gap 10000",
        "word 11*",
        "gap 11400",
        "word 12",
        "gap 12400",
        "gap 2000",
        "word 3*",
    ];
    assert_eq!(queued_items(&session), expected);
}

#[test]
fn event_within_a_run_precedes_the_cue_after_it() {
    let session = Session::new(Mode::Auto);
    let mut stream = text_stream(&session);
    let queued = input_queue::QueuedRun {
        run: Arc::new(AudioRun::new(80)),
        times: RunTimes::counted_from(s(0)),
        discont: true,
        request: TranscribeOptions::default(),
    };
    session
        .input_queue
        .push(input_queue::Item::Run(queued), true)
        .unwrap();
    let event = gst::event::CustomDownstream::new(gst::Structure::new_empty("mark"));
    let mark = input_queue::Item::Event {
        event,
        within: Some(s(2)),
    };
    session.input_queue.push(mark, true).unwrap();
    session.input_queue.pop().unwrap();
    stream.begin_run(s(0), true).unwrap();
    say(&mut stream, s(0), &[1, 3]);
    stream.release().unwrap();
    let expected = [
        "gap 0",
        "word 1*",
        "gap 1400",
        "custom-downstream",
        "word 3",
    ];
    assert_eq!(queued_items(&session), expected);
}

#[test]
fn text_ends_with_the_segment() {
    let session = Session::new(Mode::Auto);
    let mut stream = text_stream(&session);
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    segment.set_stop(ClockTime::from_mseconds(1200));
    stream
        .push_event(gst::event::Segment::new(&segment))
        .unwrap();
    stream.begin_run(s(0), true).unwrap();
    say(&mut stream, s(0), &[1, 2]);
    stream.release().unwrap();
    assert_eq!(stream.position, segment.stop());
    assert_eq!(queued_items(&session), ["segment", "gap 0", "word 1*"]);
}

/// Live text with a word at 1 s of audio that ends at 1.3 s.
fn live_word(stream: &mut TextStream) {
    stream.begin_run(s(0), true).unwrap();
    say(stream, s(0), &[1]);
    stream.end_run(ClockTime::from_mseconds(1300)).unwrap();
}

/// From when to when text is on the screen, in milliseconds; buffers must touch.
fn shown_times(session: &Session) -> Vec<(u128, u128)> {
    let end = Item::Language("end".into());
    session.output_queue.push(0, end).unwrap();
    let mut times: Vec<(u128, u128)> = Vec::new();
    while let Some(item) = session.output_queue.pop() {
        let Item::Cue { cue, .. } = item else {
            if matches!(item, Item::Language(_)) {
                break;
            }
            continue;
        };
        let (start, end) = (cue.start.as_millis(), cue.end.as_millis());
        match times.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => times.push((start, end)),
        }
    }
    times
}

#[test]
fn live_text_stays_for_3_s_after_the_stream() {
    let session = Session::new(Mode::Live);
    let mut stream = live_stream(&session);
    live_word(&mut stream);
    stream.push_event(gst::event::Eos::new()).unwrap();
    assert_eq!(shown_times(&session), [(1000, 4400)]);
}

#[test]
fn live_text_goes_when_the_next_segment_begins() {
    // From 1.5 s of running time on, and from before the end of the audio.
    for (base, end) in [(1500, 1500), (1000, 1300)] {
        let session = Session::new(Mode::Live);
        let mut stream = live_stream(&session);
        let mut segment = gst::FormattedSegment::<ClockTime>::new();
        stream
            .push_event(gst::event::Segment::new(&segment))
            .unwrap();
        live_word(&mut stream);
        segment.set_base(ClockTime::from_mseconds(base));
        stream
            .push_event(gst::event::Segment::new(&segment))
            .unwrap();
        assert_eq!(shown_times(&session), [(1000, end)]);
    }
}

/// As `concat` has it, whose next segment begins where it believes that the last one ended.
#[test]
fn text_of_two_segments_never_overlaps() {
    let session = Session::new(Mode::Auto);
    let mut stream = text_stream(&session);
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    let mut shown: Vec<(ClockTime, ClockTime)> = Vec::new();
    // The audio goes on for 0.5 s, with a word in it.
    for base in [0, 4500, 9000] {
        segment.set_base(ClockTime::from_mseconds(base));
        stream
            .push_event(gst::event::Segment::new(&segment))
            .unwrap();
        stream.begin_run(s(0), true).unwrap();
        let word = |start: u64, end: u64| Word {
            text: "word".into(),
            spaced: true,
            start: Duration::from_millis(start),
            end: Duration::from_millis(end),
            probability: 1.0,
        };
        let words = vec![word(50, 300), word(4300, 4700), word(4700, 4900)];
        stream.push_words(&RunTimes::counted_from(s(0)), words);
        stream.end_run(s(5)).unwrap();
    }
    stream.push_event(gst::event::Eos::new()).unwrap();
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    while let Some(item) = session.output_queue.pop() {
        match item {
            Item::Event(event) if event.type_() == gst::EventType::Eos => break,
            Item::Event(event) => segment = segment_of(&event).unwrap_or(segment),
            Item::Cue { cue, .. } => {
                let running = |time| segment.to_running_time(clock_time(time)).unwrap();
                shown.push((running(cue.start), running(cue.end)));
            }
            _ => {}
        }
    }
    assert_eq!(shown.len(), 9, "{shown:?}");
    let overlap = |pair: &[(ClockTime, ClockTime)]| pair[1].0 < pair[0].1;
    assert!(!shown.windows(2).any(overlap), "{shown:?}");
}

#[test]
fn partial_reports_each_final_word_once() {
    let session = Session::new(Mode::Live);
    let mut stream = live_stream(&session);
    let mut reported = Vec::new();
    stream.begin_run(s(0), true).unwrap();
    for seconds in [&[1, 2][..], &[], &[3], &[4]] {
        say(&mut stream, s(0), seconds);
        stream
            .push_partial(String::new(), String::new(), s(5))
            .unwrap();
    }
    session
        .output_queue
        .push(0, Item::Language("end".into()))
        .unwrap();
    while let Some(item) = session.output_queue.pop() {
        match item {
            Item::Partial(partial) => reported.push(partial.new_words),
            Item::Language(_) => break,
            _ => {}
        }
    }
    assert_eq!(reported, [" word word", "", " word", " word"]);
}
