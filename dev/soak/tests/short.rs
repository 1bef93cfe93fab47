// SPDX-License-Identifier: MPL-2.0
//! Each of the long runs, in short: what `scripts/soak` runs for minutes and hours.

use std::process::Command;

/// Runs a mode under GStreamer's leaks tracer; a warning, a leak or a promise that is not kept fails.
fn soak(mode: &str, count: u32) {
    let directory = tempfile::tempdir().expect("directory");
    let speech = directory.path().join("speech.wav");
    let samples = &test_support::clip().samples;
    let file = std::fs::File::create(&speech).expect("file");
    test_support::wav(file, samples, samples.len()).expect("speech");
    let leaks = directory.path().join("leaks");
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .arg(&speech)
        .args([mode, &count.to_string()])
        .env("GST_TRACERS", "leaks")
        .env("GST_DEBUG", "GST_TRACER:7")
        .env("GST_DEBUG_NO_COLOR", "1")
        .env("GST_DEBUG_FILE", &leaks)
        .env("G_DEBUG", "fatal_warnings")
        .output()
        .expect("soak");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{mode}: {}: {said}", output.status);
    let leaks = std::fs::read_to_string(&leaks).expect("what the tracer says");
    let leaked: Vec<_> = leaks
        .lines()
        .filter(|line| line.contains(":: object-alive,"))
        .collect();
    assert!(leaked.is_empty(), "{mode}: {leaked:#?}");
}

#[test]
#[ignore = "needs the model tiny.en"]
fn cycles_leave_nothing_behind() {
    soak("cycles", 6);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn seeks_reach_their_place() {
    soak("seeks", 20);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn requests_at_once_have_the_text_that_each_has_alone() {
    soak("stress", 40);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn states_from_three_threads_are_survived() {
    soak("states", 200);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn words_survive_a_hostile_upstream() {
    soak("timeline", 8);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn hostile_downstreams_are_survived() {
    soak("downstream", 20);
}
