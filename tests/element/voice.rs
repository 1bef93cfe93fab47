// SPDX-License-Identifier: MPL-2.0
//! The voice detector that cannot be used. It is found through the environment, so a process of its own looks for it.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::*;

/// Set in the process of its own.
const CHILD: &str = "WHISPERNPU_DAMAGED_VOICE";
const NAME: &str = "voice::damaged_voice_detector_is_a_warning";

/// Runs this test again, where the models directory holds a damaged voice detector.
fn run_in_child() {
    let data = tempfile::tempdir().expect("directory");
    let models = data.path().join("whispernpu/models");
    std::fs::create_dir_all(models.join("silero-vad")).expect("directory");
    std::fs::write(models.join("silero-vad/model.safetensors"), b"damaged").expect("file");
    let installed = test_support::model("tiny.en");
    symlink(installed, models.join("tiny.en")).expect("link");
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", NAME, "--nocapture"])
        .env("XDG_DATA_HOME", data.path())
        .env(CHILD, "1")
        .output()
        .expect("a process");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
}

#[test]
fn damaged_voice_detector_is_a_warning() {
    if std::env::var_os(CHILD).is_none() {
        return run_in_child();
    }
    let mut listener = Listener::new("mode=live", "ANY");
    let messages = listener.messages();
    let warning = messages.iter().find_map(|message| match message.view() {
        gst::MessageView::Warning(warning) => Some(warning.error()),
        _ => None,
    });
    let warning = warning.expect("a warning");
    assert!(warning.matches(gst::ResourceError::OpenRead), "{warning:?}");
    for part in [
        "silero-vad/model.safetensors",
        "scripts/fetch-model silero-vad",
    ] {
        assert!(warning.message().contains(part), "{warning}");
    }
    // The stream goes on with the detector that needs no file.
    listener.segment(seconds(0));
    listener.push_samples(&[0; RATE], seconds(0));
    listener.finish();

    // Offline text needs no voice detector.
    let listener = Listener::new("mode=offline", "ANY");
    let mut messages = listener.messages().into_iter();
    assert!(messages.all(|message| message.type_() != gst::MessageType::Warning));
}
