// SPDX-License-Identifier: MPL-2.0
//! Live text: words while they are said.

use gst::ClockTime;
use gst::prelude::*;

use crate::pipelines::{launch, recorded, run_to_end};
use crate::support::{
    Listener, Out, Text, events, german, live_source, said, seconds, speak, speech, texts, wav,
};

const TEXT: &str = "text/x-raw, format=utf8";

fn is_final_transcript(event: &gst::Event) -> bool {
    event
        .structure()
        .is_some_and(|structure| structure.name() == "rstranscribe/final-transcript")
}

#[test]
fn live_words_come_in_order_with_utterance_ends() {
    let speech = speech();
    let mut listener = Listener::new("mode=live granularity=word", TEXT);
    listener.segment(seconds(0));
    listener.push_samples(speech.samples, seconds(5));
    let out = listener.finish();
    let words = texts(&out);
    assert!(said(&out).contains(speech.word), "{out:#?}");
    assert!(
        words.iter().all(|word| !word.text.contains(' ')),
        "{words:?}"
    );
    assert!(
        words.windows(2).all(|two| two[0].end <= two[1].start),
        "{words:?}"
    );
    assert!(
        words.first().is_some_and(|word| word.start >= seconds(5)),
        "{words:?}"
    );
    assert!(
        words
            .last()
            .is_some_and(|word| word.end <= seconds(6) + speech.duration()),
        "{words:?}"
    );
    assert!(events(&out).iter().any(is_final_transcript));
    assert!(listener.stat("updates") > 0);
    // Messages report the same words, each once.
    let messages = listener.messages();
    let reported: String = messages.iter().filter_map(new_words).collect();
    let words: String = words.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(reported.replace(' ', ""), words);
}

#[test]
fn live_silence_is_not_encoded_and_flows_as_gaps() {
    let mut listener = Listener::new("mode=live granularity=word", TEXT);
    listener.segment(seconds(0));
    listener.push_samples(&vec![0; 16_000 * 12], seconds(0));
    let far = |out: &Out| matches!(out, Out::Event(event) if gap_end(event) >= Some(seconds(11)));
    let out = listener.wait_until("gap up to 11 s", far);
    assert!(texts(&out).is_empty());
    assert_eq!(listener.stat("updates"), 0);
}

fn gap_end(event: &gst::Event) -> Option<ClockTime> {
    let gst::EventView::Gap(gap) = event.view() else {
        return None;
    };
    let (start, duration) = gap.get();
    Some(start + duration?)
}

/// The words of a piece of text as they are on the screen.
fn words(text: &Text) -> Vec<&str> {
    text.text.split_whitespace().collect()
}

#[test]
fn live_cues_append_words_and_roll_up_lines() {
    let speech = speech();
    let mut listener = Listener::new("mode=live max-line-length=24", TEXT);
    listener.segment(seconds(0));
    listener.push_samples(speech.samples, seconds(5));
    let out = listener.finish();
    let shown = texts(&out);
    assert!(said(&out).contains(speech.word), "{out:#?}");
    for text in &shown {
        let lines: Vec<&str> = text.text.lines().collect();
        assert!(lines.len() <= 2, "{text:?}");
        assert!(lines.iter().all(|line| line.len() <= 24), "{text:?}");
    }
    let mut rolled = 0;
    for pair in shown.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{pair:?}");
        let (before, after) = (words(&pair[0]), words(&pair[1]));
        let kept = &after[..after.len() - pair[1].items.len()];
        assert!(before.ends_with(kept), "{pair:?}");
        rolled += usize::from(kept.len() < before.len());
    }
    assert!(rolled > 0, "{shown:#?}");
}

/// Text, start and end of an item, in milliseconds.
fn item(item: &serde_json::Value) -> (String, u64, u64) {
    let text = item["text"].as_str().expect("an item has a text");
    let time =
        |name: &str| (item[name].as_f64().expect("an item has times") * 1000.0).round() as u64;
    let probability = item["probability"].as_f64();
    assert!(
        probability.is_some_and(|probability| (0.0..=1.0).contains(&probability)),
        "{item}"
    );
    (text.to_owned(), time("start"), time("end"))
}

/// Each word of the speech once, in order, in the metas as in the events that upstream got.
fn check_items(properties: &str) {
    let speech = speech();
    let mut listener = Listener::new(properties, TEXT);
    // Stream time begins with the segment, running time does with the base.
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    segment.set_start(seconds(5));
    segment.set_time(seconds(2));
    segment.set_base(seconds(70));
    listener.push_event(gst::event::Segment::new(&segment));
    listener.push_samples(speech.samples, seconds(5));
    let out = listener.finish();

    let items: Vec<_> = texts(&out)
        .iter()
        .flat_map(|text| &text.items)
        .map(item)
        .collect();
    let text = items
        .iter()
        .map(|item| item.0.to_lowercase())
        .collect::<Vec<_>>()
        .join(" ");
    assert!(text.contains(speech.word), "{text}");
    assert!(
        items.windows(2).all(|pair| pair[0].1 <= pair[1].1),
        "{items:?}"
    );
    assert!(
        items.iter().all(|item| item.1 >= 2000 && item.1 <= item.2),
        "{items:?}"
    );
    let texts = texts(&out);
    let last = texts.last().expect("text");
    assert!(
        last.text.ends_with(&items.last().expect("items").0),
        "{last:?}"
    );

    let announced: Vec<_> = upstream(&mut listener).iter().map(announced).collect();
    let expected: Vec<_> = items
        .into_iter()
        .map(|(text, start, end)| (text, start + 68_000, end - start))
        .collect();
    assert_eq!(announced.len(), expected.len());
    for (announced, expected) in announced.iter().zip(&expected) {
        assert_eq!(announced.0, expected.0);
        assert!(
            announced.1.abs_diff(expected.1) <= 1,
            "{announced:?} {expected:?}"
        );
        assert!(
            announced.2.abs_diff(expected.2) <= 1,
            "{announced:?} {expected:?}"
        );
    }
}

/// The events `rstranscribe/new-item` that upstream got.
fn upstream(listener: &mut Listener) -> Vec<gst::Event> {
    let events = std::iter::from_fn(|| listener.harness.try_pull_upstream_event());
    events
        .filter(|event| {
            event
                .structure()
                .is_some_and(|structure| structure.name() == "rstranscribe/new-item")
        })
        .collect()
}

/// Content, running time and duration, in milliseconds.
fn announced(event: &gst::Event) -> (String, u64, u64) {
    let structure = event.structure().expect("the event has a structure");
    let time = |name: &str| structure.get::<ClockTime>(name).expect(name).mseconds();
    assert_eq!(structure.get::<Option<String>>("speaker"), Ok(None));
    let content = structure.get("content").expect("content");
    (content, time("running-time"), time("duration"))
}

#[test]
fn live_words_reach_metas_and_upstream_once() {
    check_items("mode=live");
    check_items("mode=live granularity=word");
}

#[test]
fn offline_words_reach_metas_and_upstream_once() {
    check_items("mode=offline");
    check_items("mode=offline granularity=word");
}

fn new_words(message: &gst::Message) -> Option<String> {
    let structure = message.structure()?;
    (structure.name() == "whispernpu/partial")
        .then(|| structure.get("new-words").expect("new-words is a string"))
}

fn language(event: &gst::Event) -> Option<String> {
    let gst::EventView::Tag(tags) = event.view() else {
        return None;
    };
    let code = tags.tag().get::<gst::tags::LanguageCode>()?;
    Some(code.get().to_owned())
}

#[test]
#[ignore = "needs the model base"]
fn language_change_applies_from_the_next_buffer() {
    let (english, german) = (speech(), german());
    let pipeline = launch(&format!(
        "{} ! whispernpu name=w model=base language-code=en-US granularity=word ! fakesink async=false sync=false",
        live_source("speech")
    ));
    let element = pipeline.by_name("w").expect("an element named w");
    let source = pipeline
        .by_name("speech")
        .and_downcast()
        .expect("an appsrc");
    let out = recorded(&pipeline);
    pipeline.set_state(gst::State::Playing).expect("playing");
    let end = speak(&source, english.samples, ClockTime::ZERO);
    // What is queued in the source comes before the next buffer of ours, but not before the property.
    while source.current_level_buffers() > 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    element.set_property("language-code", "de-DE");
    speak(&source, german.samples, end);
    source.end_of_stream().expect("EOS");
    run_to_end(&pipeline);
    pipeline.set_state(gst::State::Null).expect("null");

    let out = out.lock().expect("recorder");
    let tag = |wanted: &str| {
        let found = |item: &Out| matches!(item, Out::Event(event) if language(event).as_deref() == Some(wanted));
        let tags: Vec<usize> = (0..out.len()).filter(|&at| found(&out[at])).collect();
        assert_eq!(tags.len(), 1, "{wanted} is told once in {out:#?}");
        tags[0]
    };
    let (en, de) = (tag("en"), tag("de"));
    assert!(texts(&out[..en]).is_empty());
    assert!(said(&out[en..de]).contains(english.word), "{out:#?}");
    assert!(said(&out[de..]).contains(german.word), "{out:#?}");
    let before = texts(&out[en..de]);
    assert!(before.iter().all(|text| text.start < end), "{before:?}");
    let after = texts(&out[de..]);
    assert!(after.iter().all(|text| text.end > end), "{after:?}");
}

/// Whether the delay of text a minute after it was said is told, where upstream has so much latency itself.
fn complains(upstream: ClockTime) -> bool {
    let speech = speech();
    let mut listener = Listener::before_data("mode=live latency=1000", TEXT);
    listener.harness.set_live(true);
    listener.harness.set_upstream_latency(upstream);
    listener
        .harness
        .set_time(seconds(60))
        .expect("a test clock");
    listener.harness.set_src_caps_str(crate::support::AUDIO);
    listener.segment(seconds(0));
    listener.push_samples(speech.samples, seconds(0));
    listener.finish();
    let delay: u32 = listener.element().property("max-observed-delay");
    assert!((30_000..60_000).contains(&delay), "{delay}");
    let complaint = |message: gst::Message| match message.view() {
        gst::MessageView::Warning(warning) => warning
            .details()
            .is_some_and(|details| details.name() == "whispernpu/excessive-delay"),
        _ => false,
    };
    listener.messages().into_iter().any(complaint)
}

#[test]
fn delay_warning_leaves_out_upstreams_latency() {
    assert!(complains(seconds(2)));
    assert!(!complains(seconds(60)));
}

#[test]
fn unsynced_pad_has_each_word_once() {
    let speech = speech();
    let file = wav(speech.samples, 1);
    let pipeline = launch(&format!(
        "filesrc location={} ! wavparse ! whispernpu name=w mode=live granularity=word ! text/x-raw,format=utf8 \
         ! fakesink w.unsynced_src ! queue ! appsink name=unsynced sync=false",
        file.path().display()
    ));
    let out = recorded(&pipeline);
    let sink: gst_app::AppSink = pipeline
        .by_name("unsynced")
        .and_downcast()
        .expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let (mut words, mut previews) = (String::new(), 0);
    while let Ok(sample) = sink.pull_sample() {
        let map = sample
            .buffer()
            .expect("buffer")
            .map_readable()
            .expect("data");
        let object: serde_json::Value = serde_json::from_slice(&map).expect("JSON");
        words += object["new-words"].as_str().expect("new words");
        previews += usize::from(object["text"] != "");
    }
    run_to_end(&pipeline);
    pipeline.set_state(gst::State::Null).expect("null");
    assert_eq!(
        words.trim().to_lowercase(),
        said(&out.lock().expect("recorder"))
    );
    assert!(previews > 3, "words come before they are final");
}
