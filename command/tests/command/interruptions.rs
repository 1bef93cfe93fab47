// SPDX-License-Identifier: MPL-2.0
//! A command that is stopped loses nothing.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

use crate::support::{Folder, wait_until};

/// A run over a long file, stopped by a signal once it has text.
fn stopped_by(folder: &Folder, signal: &str) -> std::process::ExitStatus {
    let mut command = folder.command("--force speech.wav");
    let mut child: Child = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let partial = folder.path("speech.partial.srt");
    wait_until("a cue in the partial file", || {
        std::fs::metadata(&partial).is_ok_and(|file| file.len() > 0)
    });
    let id = child.id().to_string();
    let killed = std::process::Command::new("kill")
        .args([signal, &id])
        .status();
    assert!(killed.expect("the command runs").success());
    child.wait().expect("the command runs")
}

#[test]
#[ignore = "needs the model tiny.en"]
fn interrupt_keeps_the_text_so_far() {
    let folder = Folder::with_minutes(60);
    folder.put("speech.srt", "mine");
    let status = stopped_by(&folder, "-INT");
    assert_eq!(status.code(), Some(130));
    assert_eq!(folder.read("speech.srt"), "mine");
    let text = folder.read("speech.partial.srt");
    assert!(
        text.starts_with("1\n00:00:0") && text.ends_with("\n\n"),
        "{text}"
    );
}

#[test]
#[ignore = "needs the model tiny.en"]
fn kill_loses_nothing() {
    let folder = Folder::with_minutes(60);
    folder.put("speech.srt", "mine");
    let status = stopped_by(&folder, "-KILL");
    assert_eq!(status.signal(), Some(9));
    assert_eq!(folder.read("speech.srt"), "mine");
    let text = folder.read("speech.partial.srt");
    assert!(text.starts_with("1\n00:00:0"), "{text}");
}
