// SPDX-License-Identifier: MPL-2.0
//! What goes wrong is said on the bus, in words that help.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use gst::ClockTime;
use gst::prelude::*;

use crate::support::*;

/// The error that going to PLAYING ends in.
fn error_of(properties: &str) -> gst::glib::Error {
    init();
    let element = gst::parse::launch(&format!("whispernpu {properties}")).expect("element");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Playing).is_err());
    let message = bus
        .pop_filtered(&[gst::MessageType::Error])
        .expect("an error");
    element.set_state(gst::State::Null).expect("null");
    let gst::MessageView::Error(error) = message.view() else {
        panic!("no error")
    };
    error.error()
}

#[test]
fn missing_model_names_the_command_or_the_names() {
    for (properties, expected) in [
        // Named by a command that works, or not at all.
        ("model=large-v1", "scripts/fetch-model --unpinned large-v1"),
        (
            "model=tinyen",
            "is tiny.en meant? The names are tiny.en, base, ",
        ),
        ("model=tiny.xx", "knows the names tiny.en, base, "),
        (
            "model=someone/whisper-welsh",
            "hf download someone/whisper-welsh",
        ),
        (
            "model=/no/such/model.bin",
            "no such file: /no/such/model.bin",
        ),
    ] {
        let error = error_of(properties);
        assert!(error.matches(gst::ResourceError::NotFound), "{error:?}");
        assert!(error.message().contains(expected), "{error}");
        assert!(!error.message().contains("entity"), "{error}");
    }
}

#[test]
fn damaged_model_is_refused_and_named() {
    let directory = tempfile::tempdir().expect("directory");
    std::fs::write(directory.path().join("model.bin"), [6, 0, 0, 0, 9, 9, 9]).expect("file");
    let error = error_of(&format!("model={}", directory.path().display()));
    assert!(error.matches(gst::StreamError::Format), "{error:?}");
    assert!(
        error
            .message()
            .contains(&directory.path().display().to_string()),
        "{error}"
    );
}

#[test]
fn device_npu_without_an_npu_is_an_error() {
    let error = error_of("device=npu");
    assert!(error.matches(gst::ResourceError::NotFound), "{error:?}");
    assert!(error.message().contains("device=cpu"), "{error}");
}

#[test]
fn english_model_refuses_languages_and_translation() {
    for properties in ["language-code=de", "language-code=zz-top", "task=translate"] {
        let error = error_of(properties);
        assert!(error.matches(gst::LibraryError::Settings), "{error:?}");
    }
}

#[test]
fn refused_language_says_what_is_wanted() {
    for code in ["english", "de"] {
        let error = error_of(&format!("language-code={code}"));
        for part in ["tiny.en", code, "\"en\"", "unset"] {
            assert!(error.message().contains(part), "{error}");
        }
    }
}

/// Texts of the warnings so far.
fn warnings(bus: &gst::Bus) -> Vec<String> {
    let messages = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning]));
    messages
        .filter_map(|message| match message.view() {
            gst::MessageView::Warning(warning) => Some(warning.error().message().to_owned()),
            _ => None,
        })
        .collect()
}

#[test]
fn change_that_comes_too_late_is_a_warning() {
    let listener = Listener::new("", "ANY");
    let element = listener.element();
    let bus = element.bus().expect("a bus");
    warnings(&bus);
    element.set_property("model", "tiny.en");
    element.set_property("initial-prompt", "Names.");
    element.set_property("lateness", 10u32);
    assert_eq!(warnings(&bus), [""; 0], "no change, or one that has effect");
    for (name, value) in [
        ("model", "no-such-model"),
        ("mode", "live"),
        ("threads", "1"),
        ("granularity", "word"),
        ("max-lines", "1"),
    ] {
        element.set_property_from_str(name, value);
        let warnings = warnings(&bus);
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
        assert!(warnings[0].contains(name), "{name}: {warnings:?}");
    }
    // What runs is still the first model.
    element.set_property("language-code", "de");
    let warnings = warnings(&bus);
    assert!(
        warnings.len() == 1 && warnings[0].contains("The model tiny.en "),
        "{warnings:?}"
    );
}

#[test]
fn audio_of_another_rate_is_refused_in_words() {
    let listener = Listener::new("", "ANY");
    let element = listener.element();
    let bus = element.bus().expect("a bus");
    let pad = element.static_pad("sink").expect("sink pad");
    for (refused, caps) in [
        (1, "audio/x-raw, format=S16LE, rate=44100, channels=1"),
        (1, "audio/x-raw, format=S16LE, rate=16000, channels=2"),
        (0, "video/x-raw, format=I420"),
        (0, AUDIO),
    ] {
        warnings(&bus);
        pad.query_accept_caps(&caps.parse::<gst::Caps>().expect("caps"));
        let warnings = warnings(&bus);
        assert_eq!(warnings.len(), refused, "{caps}: {warnings:?}");
        let advice = "audioconvert ! audioresample";
        assert!(
            warnings.iter().all(|text| text.contains(advice)),
            "{warnings:?}"
        );
    }
}

#[test]
fn model_that_is_changed_in_ready_takes_effect() {
    init();
    let element = gst::parse::launch("whispernpu").expect("element");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_state(gst::State::Ready).expect("ready");
    element.set_property("model", "no-such-model");
    assert_eq!(warnings(&bus), [""; 0]);
    assert!(element.set_state(gst::State::Paused).is_err());
    element.set_state(gst::State::Null).expect("null");
}

#[test]
fn threads_beyond_the_cores_are_not_started() {
    init();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (threads, expected) in [(0, 0), (cores, 0), (cores + 1, 1), (1000, 1)] {
        let element =
            gst::parse::launch(&format!("whispernpu threads={threads}")).expect("element");
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        element.set_state(gst::State::Ready).expect("ready");
        let warnings = warnings(&bus);
        assert_eq!(warnings.len(), expected, "{threads}: {warnings:?}");
        let used = format!("so {cores} are used");
        assert!(
            warnings.iter().all(|text| text.contains(&used)),
            "{warnings:?}"
        );
        element.set_state(gst::State::Null).expect("null");
    }
}

/// `config.json` of an installed model with other alignment heads.
fn with_alignment_heads(directory: &std::path::Path, heads: &str) {
    let installed = test_support::model("tiny.en");
    for file in std::fs::read_dir(&installed).expect("model").flatten() {
        if file.file_name() != "config.json" {
            symlink(file.path(), directory.join(file.file_name())).expect("link");
        }
    }
    let config = std::fs::read(installed.join("config.json")).expect("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    config["alignment_heads"] = serde_json::from_str(heads).expect("JSON");
    std::fs::write(directory.join("config.json"), config.to_string()).expect("config.json");
}

#[test]
fn alignment_heads_that_do_not_exist_are_a_warning() {
    for (heads, word) in [("[[25, 0]]", "25"), ("[[3, 1], [3, 99]]", "99")] {
        let directory = tempfile::tempdir().expect("directory");
        with_alignment_heads(directory.path(), heads);
        let properties = format!("mode=offline model={}", directory.path().display());
        let mut listener = Listener::new(&properties, "text/x-raw");
        let warnings = warnings(&listener.element().bus().expect("a bus"));
        assert!(
            warnings.len() == 1 && warnings[0].contains(word),
            "{warnings:?}"
        );
        listener.segment(gst::ClockTime::ZERO);
        let speech = speech();
        listener.push_samples(speech.samples, gst::ClockTime::ZERO);
        let out = listener.finish();
        assert!(said(&out).contains(speech.word), "{out:#?}");
        let texts = texts(&out);
        let items = texts.iter().flat_map(|text| &text.items);
        let starts: Vec<_> = items.map(|item| item["start"].as_f64()).collect();
        assert!(
            starts.windows(2).all(|pair| pair[0] <= pair[1]),
            "{starts:?}"
        );
        assert!(starts.last() > starts.first(), "{starts:?}");
    }
}

#[test]
fn unknown_language_while_playing_is_a_warning() {
    let listener = Listener::new("", "ANY");
    listener.element().set_property("language-code", "de");
    assert!(
        listener
            .messages()
            .iter()
            .any(|message| message.type_() == gst::MessageType::Warning)
    );
}

#[test]
fn model_is_opened_once_and_may_go_away_then() {
    init();
    // A path that no other test has loaded.
    let directory = tempfile::tempdir().expect("directory");
    let installed = test_support::model("tiny.en");
    for file in std::fs::read_dir(&installed).expect("model").flatten() {
        symlink(file.path(), directory.path().join(file.file_name())).expect("link");
    }
    let element = gst::parse::launch(&format!("whispernpu model={}", directory.path().display()))
        .expect("element");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_state(gst::State::Ready).expect("ready");
    // Whatever opens it again from here on fails.
    directory.close().expect("remove");
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.play();
    harness.set_src_caps_str(AUDIO);
    let device = || element.property::<Option<String>>("active-device");
    let deadline = Instant::now() + Duration::from_secs(30);
    while device().is_none() && Instant::now() < deadline {
        let error = bus.pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{error:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(device().is_some(), "the engine is not loaded");
}

#[test]
fn segment_in_bytes_is_refused() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    let segment = gst::FormattedSegment::<gst::format::Bytes>::new();
    listener
        .harness
        .push_event(gst::event::Segment::new(&segment));
    assert!(
        listener
            .messages()
            .iter()
            .any(|message| message.type_() == gst::MessageType::Error)
    );
    let refused = listener.harness.push(s16(speech.samples));
    assert_eq!(refused, Err(gst::FlowError::Error));
    listener.segment(ClockTime::ZERO);
    listener.push_samples(speech.samples, ClockTime::ZERO);
    assert!(said(&listener.finish()).contains(speech.word));
}
