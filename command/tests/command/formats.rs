// SPDX-License-Identifier: MPL-2.0
//! What the files hold, and where they are.

use crate::support::Folder;

/// What is said at the beginning of the recording.
const BEGINNING: &str = "fellow Americans";

#[test]
#[ignore = "needs the model tiny.en"]
fn subrip_comes_to_lie_beside_the_file() {
    let folder = Folder::with_clip();
    folder.run("speech.flac").expect(0).says("speech.srt");
    assert_eq!(folder.files(), ["speech.flac", "speech.srt"]);
    let text = folder.read("speech.srt");
    assert!(text.starts_with("1\n00:00:0"), "{text}");
    assert!(text.contains(BEGINNING), "{text}");
    assert!(text.contains("\n\n2\n"), "{text}");
}

#[test]
#[ignore = "needs the model tiny.en"]
fn each_format_has_its_frame() {
    let folder = Folder::with_clip();
    for (format, start) in [
        ("vtt", "WEBVTT\n\n00:00:0"),
        ("txt", "And so"),
        ("ass", "[Script Info]\n"),
        ("json", "[\n{\"start\":"),
    ] {
        folder
            .run(&format!("--format {format} speech.flac"))
            .expect(0);
        let text = folder.read(&format!("speech.{format}"));
        assert!(text.starts_with(start), "{text}");
        let plain = text
            .split("{\\k")
            .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
        let plain: String = plain.collect();
        assert!(
            text.contains(BEGINNING) || plain.contains(BEGINNING),
            "{text}"
        );
    }
    let json: serde_json::Value = serde_json::from_str(&folder.read("speech.json")).unwrap();
    let words = json
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|cue| cue["words"].as_array().unwrap());
    assert!(words.count() > 15, "{json}");
    let ass = folder.read("speech.ass");
    assert!(ass.matches("\nDialogue: ").count() >= 2, "{ass}");
    assert!(ass.matches("{\\k").count() > 15, "{ass}");
}

#[test]
#[ignore = "needs the model tiny.en"]
fn output_is_a_file_a_folder_or_standard_output() {
    let folder = Folder::with_clip();
    let run = folder
        .run("--quiet --format vtt --output - speech.flac")
        .expect(0);
    assert!(run.stdout.starts_with("WEBVTT\n") && run.stdout.contains(BEGINNING));
    assert_eq!(run.stderr, "");
    folder.run("--output named.txt speech.flac").expect(0);
    std::fs::create_dir(folder.path("texts")).unwrap();
    folder.run("--output texts speech.flac").expect(0);
    assert_eq!(
        folder.files(),
        ["named.txt", "speech.flac", "texts/speech.srt"]
    );
}

#[test]
#[ignore = "needs the model tiny.en"]
fn existing_subtitles_are_kept_unless_forced() {
    let folder = Folder::with_clip();
    folder.put("speech.srt", "mine");
    folder.run("speech.flac").expect(3).says("--force");
    assert_eq!(folder.read("speech.srt"), "mine");
    folder.run("--force speech.flac").expect(0);
    assert!(folder.read("speech.srt").contains(BEGINNING));
    assert_eq!(folder.files(), ["speech.flac", "speech.srt"]);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn folder_of_mixed_files_is_done_whole() {
    let folder = Folder::new();
    folder.add_clip("in/a.flac");
    folder.add_clip("in/deep/b.flac");
    folder.add_silence("in/silence.wav");
    folder.put("in/notes.md", "# not media\n");
    folder.put("in/broken.mp4", "\0\0\0\x18ftypmp42 and nothing more");
    folder.put("in/empty.mp3", "");
    let run = folder
        .run("in")
        .says("notes.md: left out: not a media file");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("silence.wav: left out: no speech"),
        "{}",
        run.stderr
    );
    assert!(folder.read("in/a.srt").contains(BEGINNING));
    assert!(folder.read("in/deep/b.srt").contains(BEGINNING));
    assert_eq!(
        folder
            .files()
            .iter()
            .filter(|file| file.ends_with(".srt"))
            .count(),
        2
    );
    folder.run("in/a.flac in/deep").expect(3);
    folder
        .run("--quiet --output out in/deep in/a.flac")
        .expect(2);
    std::fs::create_dir(folder.path("out")).unwrap();
    folder.run("--output out in/deep in/a.flac").expect(0);
    folder.run("--format txt --output out in").expect(1);
    let made = folder
        .files()
        .into_iter()
        .filter(|file| file.starts_with("out"));
    let made: Vec<_> = made.collect();
    assert_eq!(
        made,
        ["out/a.srt", "out/a.txt", "out/b.srt", "out/deep/b.txt"]
    );
}
