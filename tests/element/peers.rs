// SPDX-License-Identifier: MPL-2.0
//! Inside the bins of gst-plugins-rs that make closed captions and translations, as `scripts/peer-plugins` builds them.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use gst::ClockTime;
use gst::prelude::*;

use crate::pipelines::{launch, run_to_end};
use crate::support::{PATIENCE, RATE, init, live_source, speak, speech, wav};

/// Registers the bins, which `scripts/peer-plugins` builds.
fn register_peers() {
    static REGISTERED: LazyLock<()> = LazyLock::new(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("target directory");
        gst::Registry::get().scan_path(target.join("peers/plugins"));
        // The bin makes one of these when it is made itself, long before it is told what to use.
        let stand_in = gst::ElementFactory::make("whispernpu")
            .build()
            .expect("our element");
        gst::Element::register(None, "awstranscriber", gst::Rank::NONE, stand_in.type_())
            .expect("registered");
    });
    init();
    *REGISTERED;
    assert!(
        gst::ElementFactory::find("transcriberbin").is_some(),
        "this test needs plugins of gst-plugins-rs: scripts/peer-plugins"
    );
}

/// Text that came out of a pipeline's appsink called `out`.
fn collected(pipeline: &gst::Pipeline) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let collected = text.clone();
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let map = sample
            .buffer()
            .and_then(|buffer| buffer.map_readable().ok());
        let mut text = collected.lock().expect("text");
        text.push_str(&String::from_utf8_lossy(&map.ok_or(gst::FlowError::Error)?).to_lowercase());
        text.push('\n');
        Ok(gst::FlowSuccess::Ok)
    };
    let sink: gst_app::AppSink = pipeline
        .by_name("out")
        .and_downcast()
        .expect("an appsink called out");
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(new_sample)
            .build(),
    );
    text
}

/// Plays, speaks in real time into the live source `speech`, and waits until the word that is said comes out.
/// `change` is called after a second of silence.
fn hear(pipeline: &gst::Pipeline, change: impl FnOnce()) {
    let speech = speech();
    let text = collected(pipeline);
    let source = pipeline
        .by_name("speech")
        .and_downcast()
        .expect("an appsrc called speech");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let position = speak(&source, &[0; RATE], ClockTime::ZERO);
    change();
    let mut position = speak(&source, speech.samples, position);
    let deadline = Instant::now() + Duration::from(PATIENCE);
    while !text.lock().expect("text").contains(speech.word) {
        position = speak(&source, &[0; RATE / 2], position);
        let bus = pipeline.bus().expect("bus");
        let error = bus.pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{error:?}");
        assert!(
            Instant::now() < deadline,
            "only this came out: {:?}",
            text.lock()
        );
    }
    pipeline.set_state(gst::State::Null).expect("null");
}

fn transcriber() -> gst::Element {
    let transcriber =
        gst::ElementFactory::make("whispernpu").property_from_str("granularity", "word");
    transcriber.build().expect("our element")
}

#[test]
#[ignore = "needs gst-plugins-rs: scripts/peer-plugins"]
fn transcriberbin_makes_cea_608_of_live_speech() {
    register_peers();
    // cea608mux, the default, came to GStreamer with 1.24; what cea708mux makes carries CEA-608 as well.
    let pipeline = launch(&format!(
        "transcriberbin name=bin mux-method=cea708 {} ! bin.sink_audio bin.src_audio ! fakesink async=false sync=true \
         videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! bin.sink_video \
         bin.src_video ! ccextractor name=captions ! fakesink async=false sync=true \
         captions.caption ! queue ! ccconverter ! closedcaption/x-cea-608,format=raw ! cea608tott ! text/x-raw \
         ! appsink name=out async=false sync=false",
        live_source("speech")
    ));
    let bin = pipeline.by_name("bin").expect("the bin");
    let pad = bin.static_pad("sink_audio").expect("its pad");
    let transcriber = transcriber();
    pad.set_property("transcriber", &transcriber);
    // Takes the transcriber to NULL and back to PLAYING while audio flows.
    hear(&pipeline, || pad.set_property("language-code", "en-GB"));
    let language = transcriber.property::<Option<String>>("language-code");
    assert_eq!(language.as_deref(), Some("en-GB"));
    // The bin's own.
    assert_eq!(transcriber.property::<u32>("latency"), 4000);
}

#[test]
#[ignore = "needs gst-plugins-rs: scripts/peer-plugins"]
fn transcriberbin_passes_words_on_at_once() {
    register_peers();
    let pipeline = launch(&format!(
        "transcriberbin name=bin mux-method=cea708 {} ! bin.sink_audio bin.src_audio ! fakesink async=false sync=true \
         videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! bin.sink_video \
         bin.src_video ! fakesink async=false sync=true \
         queue name=words ! appsink name=out async=false sync=false",
        live_source("speech")
    ));
    let bin = pipeline.by_name("bin").expect("the bin");
    let words = pipeline.by_name("words").expect("the queue");
    bin.connect_pad_added(move |_, pad| {
        if pad.name() == "unsynced_src" {
            let sink = words.static_pad("sink").expect("sink pad");
            pad.link(&sink).expect("linked");
        }
    });
    let pad = bin.static_pad("sink_audio").expect("its pad");
    pad.set_property("transcriber", transcriber());
    hear(&pipeline, || ());
}

#[test]
#[ignore = "needs gst-plugins-rs: scripts/peer-plugins"]
fn translationbin_transcribes_live_speech() {
    register_peers();
    let pipeline = launch(&format!(
        "{} ! translationbin name=bin ! appsink name=out async=false sync=false",
        live_source("speech")
    ));
    let transcriber = transcriber();
    pipeline
        .by_name("bin")
        .expect("the bin")
        .set_property("transcriber", &transcriber);
    hear(&pipeline, || ());
    assert_eq!(
        transcriber
            .property::<Option<String>>("language-code")
            .as_deref(),
        Some("en-US")
    );
}

#[test]
#[ignore = "needs gst-plugins-rs: scripts/peer-plugins"]
fn textaccumulate_makes_sentences_of_live_words() {
    register_peers();
    let pipeline = launch(&format!(
        "{} ! whispernpu granularity=word ! textaccumulate latency=1000 ! appsink name=out async=false sync=false",
        live_source("speech")
    ));
    hear(&pipeline, || ());
}

#[test]
#[ignore = "needs gst-plugins-rs: scripts/peer-plugins"]
fn textwrap_wraps_cues() {
    register_peers();
    let speech = speech();
    let file = wav(speech.samples, 1);
    let pipeline = launch(&format!(
        "filesrc location={} ! wavparse ! whispernpu max-line-length=200 max-lines=1 ! textwrap columns=16 \
         ! appsink name=out sync=false",
        file.path().display()
    ));
    let text = collected(&pipeline);
    pipeline.set_state(gst::State::Playing).expect("playing");
    run_to_end(&pipeline);
    pipeline.set_state(gst::State::Null).expect("null");
    let text = text.lock().expect("text");
    assert!(text.lines().all(|line| line.len() <= 16), "{text}");
    assert!(text.contains(speech.word), "{text}");
}
