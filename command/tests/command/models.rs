// SPDX-License-Identifier: MPL-2.0
//! Models that are missing.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Folder, Run};

/// The command in an environment without models.
fn without_models(folder: &Folder, arguments: &str) -> Command {
    let mut command = folder.command(arguments);
    let home = folder.path("home");
    for variable in ["HOME", "XDG_DATA_HOME", "XDG_DATA_DIRS", "XDG_CACHE_HOME"] {
        command.env(variable, &home);
    }
    for variable in ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
        command.env_remove(variable);
    }
    // No test leaves the machine.
    command.env(
        "HF_ENDPOINT",
        format!("file://{}", folder.path("mirror").display()),
    );
    command.env("PIP_NO_INDEX", "1");
    command
}

fn run(mut command: Command) -> Run {
    let output: Output = command.output().expect("the command runs");
    output.into()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for file in std::fs::read_dir(from).expect("a model").flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
}

#[test]
fn model_that_is_missing_is_told_at_once() {
    let folder = Folder::with_clip();
    folder.put("speech.srt", "mine");
    let command = without_models(&folder, "--force speech.flac");
    let run = run(command)
        .expect(4)
        .says("whispernpu --fetch --model tiny.en");
    assert!(!run.stderr.contains("scripts/"), "{}", run.stderr);
    assert_eq!(folder.read("speech.srt"), "mine");
}

#[test]
fn model_of_unknown_sums_is_not_fetched_unasked() {
    let folder = Folder::with_clip();
    let command = without_models(&folder, "--fetch --model small speech.flac");
    run(command).expect(4).says("--unpinned");
}

#[test]
#[ignore = "needs the model tiny.en, and silero-vad"]
fn model_is_fetched_and_compared() {
    let folder = Folder::with_clip();
    let mirror = "mirror/Systran/faster-whisper-tiny.en/resolve/main";
    copy(&test_support::model("tiny.en"), &folder.path(mirror));
    let voice = "home/whispernpu/models/silero-vad";
    copy(&test_support::model("silero-vad"), &folder.path(voice));

    let config = folder.path(mirror).join("config.json");
    let right = std::fs::read(&config).unwrap();
    std::fs::write(&config, "{}").unwrap();
    run(without_models(&folder, "--fetch"))
        .expect(4)
        .says("not the one that is known");
    std::fs::write(&config, right).unwrap();
    run(without_models(&folder, "--fetch")).expect(0);
    run(without_models(&folder, "speech.flac")).expect(0);
    assert!(folder.read("speech.srt").contains("fellow Americans"));
}
