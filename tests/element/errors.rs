// SPDX-License-Identifier: MPL-2.0
//! What goes wrong is said on the bus, in words that help.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

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
fn missing_model_names_the_fetching_command() {
    let error = error_of("model=tiny.xx");
    assert!(error.matches(gst::ResourceError::NotFound), "{error:?}");
    assert!(
        error.message().contains("scripts/fetch-model tiny.xx"),
        "{error}"
    );
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
}
