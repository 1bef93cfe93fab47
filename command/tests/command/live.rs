// SPDX-License-Identifier: MPL-2.0
//! Words while they are said.

use crate::support::Folder;

#[test]
#[ignore = "needs the model tiny.en, and silero-vad"]
fn live_words_are_printed_and_written() {
    let folder = Folder::with_clip();
    let run = folder.run("--live --output live.srt speech.flac").expect(0);
    assert!(run.stdout.contains("fellow Americans"), "{}", run.stdout);
    assert!(run.stdout.ends_with('\n'), "{}", run.stdout);
    let text = folder.read("live.srt");
    assert!(text.starts_with("1\n00:00:0"), "{text}");
    assert!(text.contains("country"), "{text}");
    assert_eq!(folder.files(), ["live.srt", "speech.flac"]);
    folder.run("--live --output live.srt speech.flac").expect(3);
    folder.run("--live --output - speech.flac").expect(2);
}
