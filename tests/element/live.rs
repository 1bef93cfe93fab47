// SPDX-License-Identifier: MPL-2.0
//! Live text: words while they are said.

use gst::ClockTime;

use crate::support::{Listener, Out, events, said, seconds, speech, texts};

const TEXT: &str = "text/x-raw, format=utf8";

fn is_final_transcript(event: &gst::Event) -> bool {
    event
        .structure()
        .is_some_and(|structure| structure.name() == "rstranscribe/final-transcript")
}

#[test]
fn a_live_stream_gives_words_in_order_and_says_where_utterances_end() {
    let Some(speech) = speech() else { return };
    let mut listener = Listener::new("mode=live granularity=word", TEXT);
    listener.segment(seconds(0));
    listener.push_samples(&speech.samples, seconds(5));
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
    let partial = |message: &gst::Message| {
        message
            .structure()
            .is_some_and(|s| s.name() == "whispernpu/partial")
    };
    assert!(listener.messages().iter().any(partial));
}

#[test]
fn silence_in_a_live_stream_is_never_encoded_and_flows_as_gaps() {
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
