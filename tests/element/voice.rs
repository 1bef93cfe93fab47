// SPDX-License-Identifier: MPL-2.0
//! The voice detector that cannot be used, or is not there. It is found through the environment, so each
//! test runs again in another process.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::*;

/// Set in that process.
const CHILD: &str = "WHISPERNPU_OTHER_MODELS";

/// Whether this is the other process. Else runs the test there: the models directory holds tiny.en,
/// and a voice detector of these bytes, if any.
fn runs_elsewhere(test: &str, detector: Option<&[u8]>) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return false;
    }
    let data = tempfile::tempdir().expect("directory");
    let models = data.path().join("whispernpu/models");
    std::fs::create_dir_all(models.join("silero-vad")).expect("directory");
    if let Some(bytes) = detector {
        std::fs::write(models.join("silero-vad/model.safetensors"), bytes).expect("file");
    } else {
        std::fs::remove_dir(models.join("silero-vad")).expect("removed");
    }
    let installed = test_support::model("tiny.en");
    symlink(installed, models.join("tiny.en")).expect("link");
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", &format!("voice::{test}"), "--nocapture"])
        .env("XDG_DATA_HOME", data.path())
        .env(CHILD, "1")
        .output()
        .expect("a process");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    true
}

fn warnings(listener: &Listener) -> Vec<gst::glib::Error> {
    let messages = listener.messages().into_iter();
    messages
        .filter_map(|message| match message.view() {
            gst::MessageView::Warning(warning) => Some(warning.error()),
            _ => None,
        })
        .collect()
}

/// What is right of the warning, and that the stream goes on with the built-in detector.
fn warns(code: gst::ResourceError, parts: &[&str]) {
    for mode in ["mode=live", "mode=offline", ""] {
        let mut listener = Listener::new(mode, "ANY");
        let warnings = warnings(&listener);
        let [warning] = &warnings[..] else {
            panic!("{mode}: {warnings:?}");
        };
        assert!(warning.matches(code), "{warning:?}");
        for part in parts {
            assert!(warning.message().contains(part), "{warning}");
        }
        listener.segment(seconds(0));
        listener.push_samples(&[0; RATE], seconds(0));
        listener.finish();
    }
    // Switched off, it is missed by no one.
    let listener = Listener::new("mode=live vad-threshold=0", "ANY");
    assert!(warnings(&listener).is_empty());
}

#[test]
fn damaged_voice_detector_is_a_warning() {
    if runs_elsewhere("damaged_voice_detector_is_a_warning", Some(b"damaged")) {
        return;
    }
    let file = "silero-vad/model.safetensors";
    let command = "scripts/fetch-model silero-vad";
    warns(gst::ResourceError::OpenRead, &[file, command]);
}

#[test]
fn missing_voice_detector_warning_names_the_command() {
    if runs_elsewhere("missing_voice_detector_warning_names_the_command", None) {
        return;
    }
    let command = "scripts/fetch-model silero-vad";
    warns(gst::ResourceError::NotFound, &[command]);
}
