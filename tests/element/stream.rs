// SPDX-License-Identifier: MPL-2.0
//! What comes out: the stream's own events, text and gaps in order, and what a flush leaves of it.

use gst::ClockTime;
use gst::prelude::*;

use crate::support::*;

/// Starts of the stream, the segment and so on, as they come out first.
fn types(out: &[Out]) -> Vec<gst::EventType> {
    events(out).iter().map(|event| event.type_()).collect()
}

#[test]
fn text_is_a_sparse_stream_in_the_audios_group() {
    let speech = speech();
    let mut listener = Listener::before_data("", "ANY");
    let group = gst::GroupId::next();
    let start = gst::event::StreamStart::builder("film/audio")
        .group_id(group)
        .build();
    let seqnum = start.seqnum();
    listener.push_event(start);
    listener.push_event(gst::event::Caps::new(&AUDIO.parse().unwrap()));
    let segment = gst::event::Segment::new(&gst::FormattedSegment::<ClockTime>::new());
    let segment_seqnum = segment.seqnum();
    listener.push_event(segment);
    let mut tags = gst::TagList::new();
    tags.get_mut()
        .unwrap()
        .add::<gst::tags::AudioCodec>(&"Opus", gst::TagMergeMode::Replace);
    listener.push_event(gst::event::Tag::new(tags));
    listener.push_samples(speech.samples, ClockTime::ZERO);
    let out = listener.finish();

    use gst::EventType::{Caps, Eos, Segment, StreamStart, Tag};
    assert_eq!(types(&out)[..4], [StreamStart, Caps, Segment, Tag]);
    assert_eq!(types(&out).last(), Some(&Eos));
    let events = events(&out);
    let gst::EventView::StreamStart(start) = events[0].view() else {
        panic!("no stream start")
    };
    assert_ne!(start.stream_id(), "film/audio");
    assert!(start.stream_flags().contains(gst::StreamFlags::SPARSE));
    assert_eq!(start.group_id(), Some(group));
    assert_eq!(start.seqnum(), seqnum);
    assert_eq!(events[2].seqnum(), segment_seqnum);
    let tags: Vec<_> = events.iter().filter(|event| event.type_() == Tag).collect();
    assert_eq!(tags.len(), 1, "the audio's tags are left out");
    let gst::EventView::Tag(tag) = tags[0].view() else {
        panic!("no tag")
    };
    assert_eq!(
        tag.tag().get::<gst::tags::LanguageCode>().unwrap().get(),
        "en"
    );
    assert!(tag.tag().get::<gst::tags::AudioCodec>().is_none());
}

#[test]
fn text_and_gaps_leave_no_hole_and_no_overlap() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    listener.push_samples(speech.samples, ClockTime::ZERO);
    let out = listener.finish();
    let mut position = ClockTime::ZERO;
    for item in &out {
        let (start, end) = match item {
            Out::Text(text) => (text.start, text.end),
            Out::Event(event) => match event.view() {
                gst::EventView::Gap(gap) => {
                    (gap.timestamp(), gap.timestamp() + gap.duration().unwrap())
                }
                _ => continue,
            },
        };
        assert_eq!(start, position);
        assert!(end > start);
        position = end;
    }
    assert!(
        position + ClockTime::from_mseconds(20) >= speech.duration(),
        "{position}"
    );
    let texts = texts(&out);
    assert!(texts[0].discont && texts[1..].iter().all(|text| !text.discont));
}

#[test]
fn granularity_word_gives_single_words() {
    let speech = speech();
    let mut listener = Listener::new("granularity=word", "ANY");
    listener.push_samples(speech.samples, ClockTime::ZERO);
    let texts = texts(&listener.finish());
    assert!(texts.len() > 10);
    assert!(
        texts
            .iter()
            .all(|text| !text.text.contains(char::is_whitespace) && text.end > text.start)
    );
    assert!(texts.is_sorted_by(|one, next| one.end <= next.start));
}

#[test]
fn eos_comes_after_all_text_of_several_windows() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    let mut at = ClockTime::ZERO;
    while at < seconds(75) {
        listener.push_samples(speech.samples, at);
        at += speech.duration();
    }
    let out = listener.finish();
    assert_eq!(listener.stat("samples-dropped"), 0);
    let last = texts(&out).last().expect("text").end;
    assert!(last + seconds(4) > at, "text up to {last} of {at}");
    assert!(texts(&out).is_sorted_by(|one, next| one.end <= next.start));
}

#[test]
fn flush_while_recognising_drops_old_text() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    for round in 1..=4u64 {
        // More than a window, so that the worker is busy with it.
        for index in 0..4 {
            listener.push_samples(
                speech.samples,
                seconds(1000 * round) + index * speech.duration(),
            );
        }
        std::thread::sleep(std::time::Duration::from_millis(70 * round));
        listener.push_event(gst::event::FlushStart::new());
        listener.push_event(gst::event::FlushStop::new(true));
        listener.forget();
        listener.segment(seconds(100 * round));
    }
    listener.push_samples(speech.samples, seconds(400));
    let out = listener.finish();
    assert!(said(&out).contains(speech.word));
    let inside = seconds(400)..seconds(420);
    assert!(
        texts(&out).iter().all(|text| inside.contains(&text.start)),
        "{out:#?}"
    );
}

#[test]
fn flush_before_any_output_keeps_stream_start() {
    let speech = speech();
    // An engine of its own, which is still being loaded.
    let mut listener = Listener::new("threads=7", "ANY");
    listener.push_event(gst::event::FlushStart::new());
    listener.push_event(gst::event::FlushStop::new(true));
    listener.segment(seconds(5));
    listener.push_samples(speech.samples, seconds(5));
    let out = listener.finish();
    let mut kinds = types(&out);
    kinds.retain(|kind| !matches!(kind, gst::EventType::FlushStart | gst::EventType::FlushStop));
    use gst::EventType::{Caps, Segment, StreamStart};
    let first = kinds
        .iter()
        .position(|kind| *kind == StreamStart)
        .expect("a start");
    assert!(
        kinds[first + 1..].iter().all(|kind| *kind != StreamStart),
        "{kinds:?}"
    );
    assert!(kinds.contains(&Caps) && kinds.contains(&Segment));
    assert!(texts(&out).iter().all(|text| text.start >= seconds(5)));
    assert!(said(&out).contains(speech.word));
}

#[test]
fn event_comes_out_between_the_words_around_it() {
    let speech = speech();
    let mut listener = Listener::new("granularity=word", "ANY");
    let middle = speech.samples.len() / 2;
    listener.push_samples(&speech.samples[..middle], ClockTime::ZERO);
    listener.push_event(gst::event::CustomDownstream::new(
        gst::Structure::new_empty("mark"),
    ));
    listener.push_samples(&speech.samples[middle..], duration_of(middle));
    let out = listener.finish();
    let is_mark = |item: &Out| matches!(item, Out::Event(event) if event.type_() == gst::EventType::CustomDownstream);
    let mark = out.iter().position(is_mark).expect("the event comes out");
    let (before, after) = (texts(&out[..mark]), texts(&out[mark..]));
    assert!(
        !before.is_empty() && before.iter().all(|text| text.start < duration_of(middle)),
        "{out:#?}"
    );
    assert!(
        !after.is_empty() && after.iter().all(|text| text.start >= duration_of(middle)),
        "{out:#?}"
    );
}

#[test]
fn second_stream_follows_the_first_in_order() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    listener.push_samples(speech.samples, ClockTime::ZERO);
    listener.push_event(gst::event::StreamStart::new("another"));
    listener.push_event(gst::event::Caps::new(&AUDIO.parse().unwrap()));
    listener.segment(seconds(50));
    listener.push_samples(speech.samples, seconds(50));
    let out = listener.finish();
    let starts = |item: &&Out| matches!(item, Out::Event(event) if event.type_() == gst::EventType::StreamStart);
    assert_eq!(out.iter().filter(starts).count(), 2);
    let second = out.iter().rposition(|item| starts(&item)).unwrap();
    assert!(
        said(&out[..second]).contains(speech.word) && said(&out[second..]).contains(speech.word)
    );
    assert!(
        texts(&out[..second])
            .iter()
            .all(|text| text.end <= seconds(50))
    );
    assert!(
        texts(&out[second..])
            .iter()
            .all(|text| text.start >= seconds(50))
    );
    let tags = |out: &[Out]| {
        types(out)
            .iter()
            .filter(|kind| **kind == gst::EventType::Tag)
            .count()
    };
    assert_eq!((tags(&out[..second]), tags(&out[second..])), (1, 1));
}

#[test]
fn lateness_shifts_the_text_but_not_its_time_stamps() {
    let speech = speech();
    let mut listener = Listener::new("lateness=700", "ANY");
    listener.push_samples(speech.samples, ClockTime::ZERO);
    let out = listener.finish();
    let events = events(&out);
    let segment = events.iter().find_map(|event| match event.view() {
        gst::EventView::Segment(segment) => segment.segment().downcast_ref::<ClockTime>().cloned(),
        _ => None,
    });
    assert_eq!(segment.unwrap().base(), Some(ClockTime::from_mseconds(700)));
    assert!(texts(&out)[0].start < seconds(2));
}

#[test]
fn stalled_audio_is_recognised_without_more() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    listener.push_samples(speech.samples, ClockTime::ZERO);
    let out = listener.wait_until("text", |item| matches!(item, Out::Text(_)));
    assert!(!types(&out).contains(&gst::EventType::Eos));
}

#[test]
fn changed_request_loses_no_word() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    listener.push_samples(speech.samples, ClockTime::ZERO);
    listener.element().set_property("language-code", "en-GB");
    listener
        .element()
        .set_property("initial-prompt", "Presidents and their speeches.");
    listener.push_samples(speech.samples, speech.duration());
    let out = listener.finish();
    let first = texts(&out)
        .iter()
        .filter(|text| text.start < speech.duration())
        .count();
    assert!(first > 0 && first < texts(&out).len());
    assert_eq!(
        said(&out).matches(speech.word).count(),
        2 * said_once(speech)
    );
    assert_eq!(
        texts(&out).iter().filter(|text| text.discont).count(),
        1,
        "there is no hole"
    );
}

/// How often the word is in one pass over the clip.
fn said_once(speech: Speech) -> usize {
    let mut listener = Listener::new("", "ANY");
    listener.push_samples(speech.samples, ClockTime::ZERO);
    said(&listener.finish()).matches(speech.word).count()
}

/// Pushes speech from `position` on until a buffer is refused; gives the position and the reason.
fn push_until_refused(
    listener: &mut Listener,
    mut position: ClockTime,
) -> (ClockTime, gst::FlowError) {
    let speech = speech();
    for _ in 0..1000 {
        for buffer in buffers(speech.samples, position) {
            position = buffer.pts().unwrap() + buffer.duration().unwrap();
            if let Err(error) = listener.harness.push(buffer) {
                return (position, error);
            }
        }
    }
    panic!("no buffer was refused");
}

#[test]
fn text_goes_on_when_the_pad_is_linked_again() {
    let speech = speech();
    for properties in ["mode=live granularity=word", "mode=offline"] {
        let mut listener = Listener::new(properties, "ANY");
        listener.push_samples(speech.samples, ClockTime::ZERO);
        let src = listener.element().static_pad("src").unwrap();
        let sink = src.peer().unwrap();
        src.unlink(&sink).unwrap();
        let (position, error) = push_until_refused(&mut listener, speech.duration());
        assert_eq!(error, gst::FlowError::NotLinked, "{properties}");
        listener.forget();
        src.link(&sink).unwrap();
        listener.push_samples(speech.samples, position);
        let out = listener.finish();
        assert!(said(&out).contains(speech.word), "{properties}: {out:#?}");
        let from = texts(&out)[0].start;
        assert!(from >= position, "{properties}: {from}");
        let errors = listener.messages().into_iter();
        let errors: Vec<_> = errors
            .filter(|message| message.type_() == gst::MessageType::Error)
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn link_that_is_missing_further_down_is_told() {
    let mut listener = Listener::new("mode=live granularity=word", "ANY");
    let src = listener.element().static_pad("src").unwrap();
    let sink = src.peer().unwrap();
    src.unlink(&sink).unwrap();
    let between = gst::ElementFactory::make("identity").build().unwrap();
    between.set_state(gst::State::Playing).unwrap();
    src.link(&between.static_pad("sink").unwrap()).unwrap();
    let (position, error) = push_until_refused(&mut listener, ClockTime::ZERO);
    assert_eq!(error, gst::FlowError::NotLinked);
    // It stays so until something changes down there.
    let refused = listener
        .harness
        .push(timed(s16(&[0; 1600]), position, seconds(1)));
    assert_eq!(refused, Err(gst::FlowError::NotLinked));
    between.static_pad("src").unwrap().link(&sink).unwrap();
    let speech = speech();
    listener.forget();
    listener.push_samples(speech.samples, position);
    assert!(said(&listener.finish()).contains(speech.word));
    between.set_state(gst::State::Null).unwrap();
}
