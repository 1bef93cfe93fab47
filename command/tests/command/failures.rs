// SPDX-License-Identifier: MPL-2.0
//! What goes wrong is told with its remedy, and the rest of the batch goes on.

use std::path::Path;

use crate::support::Folder;

#[test]
#[ignore = "needs the model tiny.en"]
fn file_that_is_no_media_fails_and_the_rest_goes_on() {
    let folder = Folder::with_clip();
    folder.put("notes.md", "# not media\n");
    let run = folder.run("notes.md missing.mp3 speech.flac").expect(1);
    let run = run
        .says("notes.md: not a media file")
        .says("missing.mp3: cannot be read");
    assert!(run.stderr.contains("speech.srt"), "{}", run.stderr);
    assert_eq!(folder.files(), ["notes.md", "speech.flac", "speech.srt"]);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn output_that_cannot_be_written_is_told() {
    let folder = Folder::with_clip();
    folder.put("file", "");
    folder
        .run("--output file/speech.srt speech.flac")
        .expect(1)
        .says("cannot write file/speech");
    assert_eq!(folder.files(), ["file", "speech.flac"]);
    let full = std::fs::File::options()
        .write(true)
        .open(Path::new("/dev/full"))
        .unwrap();
    let output = folder
        .command("--output - speech.flac")
        .stdout(full)
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("No space left"), "{message}");
    assert!(message.contains("Make room"), "{message}");
}

#[test]
#[ignore = "needs the model tiny.en"]
fn silence_has_no_subtitles() {
    let folder = Folder::new();
    folder.add_silence("silence.wav");
    folder
        .run("silence.wav")
        .expect(1)
        .says("no speech was found");
    assert_eq!(folder.files(), ["silence.wav"]);
}

#[test]
fn wrong_usage_is_told() {
    let folder = Folder::with_clip();
    for arguments in [
        "",
        "--format doc speech.flac",
        "--output - speech.flac speech.flac",
        "--mux --output - speech.flac",
        "--unpinned speech.flac",
    ] {
        folder.run(arguments).expect(2);
    }
    let help = folder.run("--help").expect(0).stdout;
    for word in ["--force", "Exit codes", "partial.srt"] {
        assert!(help.contains(word), "{help}");
    }
}
