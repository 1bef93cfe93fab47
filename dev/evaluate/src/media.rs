// SPDX-License-Identifier: MPL-2.0
//! Audio and video files with a text or subtitles beside each: `talk.mp4` and `talk.txt` or
//! `talk.srt`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::decode::seconds;
use crate::manifest::Clip;

/// What a text beside a file may end in; the first one counts.
const TEXTS: [&str; 2] = ["txt", "srt"];

/// The clips among the files of a directory: those with a text beside.
pub fn clips(directory: &Path, files: &[PathBuf], language: &str) -> Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for path in files {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if TEXTS.contains(&&*extension) {
            continue;
        }
        let mut texts = TEXTS
            .map(|extension| path.with_extension(extension))
            .into_iter();
        let Some(text) = texts.find(|text| files.binary_search(text).is_ok()) else {
            continue;
        };
        let at = || path.display().to_string();
        clips.push(Clip {
            id: name(directory, path),
            language: language.into(),
            seconds: seconds(path).with_context(at)?,
            kind: format!("{language}-media"),
            reference: reference(&text).with_context(|| text.display().to_string())?,
            path: path.clone(),
        });
    }
    Ok(clips)
}

/// The path within the directory, without its extension.
fn name(directory: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(directory).unwrap_or(path);
    let name = inside.with_extension("").display().to_string();
    name.replace(|c: char| c.is_whitespace(), "_")
}

/// What a text says, in one line.
fn reference(text: &Path) -> Result<String> {
    let said = fs::read_to_string(text)?;
    let said = said.trim_start_matches('\u{feff}');
    let is_subrip = text.extension().is_some_and(|extension| extension == "srt");
    Ok(if is_subrip { subrip(said) } else { line(said) })
}

fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of subtitles, without numbers, times and markup.
fn subrip(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut said = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let is_time = line.contains("-->");
        let is_number = lines
            .get(index + 1)
            .is_some_and(|next| next.contains("-->"))
            && line.chars().all(|c| c.is_ascii_digit());
        if !is_time && !is_number {
            said.push(without_markup(line));
        }
    }
    line(&said.join(" "))
}

/// Without `<i>` and `{\an8}`.
fn without_markup(line: &str) -> String {
    let mut closing = None;
    let mut plain = String::new();
    for (at, c) in line.char_indices() {
        match (closing, c) {
            (Some(end), _) if c == end => closing = None,
            (Some(_), _) => {}
            (None, '<') if line[at..].contains('>') => closing = Some('>'),
            (None, '{') if line[at..].starts_with("{\\") => closing = Some('}'),
            (None, _) => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sets::{self, Layout};

    /// A directory with WAV files of half a second a piece, and texts.
    fn directory(media: &[&str], texts: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for name in media {
            let samples: Vec<i16> = (0..8_000).collect();
            let file = fs::File::create(at(name)).unwrap();
            test_support::wav(file, &samples, samples.len()).unwrap();
        }
        for (name, text) in texts {
            fs::write(at(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn media_are_clips_where_a_text_lies_beside() {
        let directory = directory(
            &["a talk.wav", "deep/b.wav", "alone.wav"],
            &[
                ("a talk.txt", "\u{feff}Ask  not\nwhat.\n"),
                ("deep/b.srt", "1\n00:00:00,000 --> 00:00:01,000\nHallo.\n"),
                ("nothing.txt", "No sound."),
            ],
        );
        let (layout, clips) = sets::read(directory.path(), "de").unwrap();
        assert_eq!(layout, Layout::Media);
        let found: Vec<_> = clips
            .iter()
            .map(|clip| (&*clip.id, &*clip.reference, clip.seconds))
            .collect();
        assert_eq!(
            found,
            [("a_talk", "Ask not what.", 0.5), ("deep/b", "Hallo.", 0.5)]
        );
        assert_eq!((&*clips[0].kind, &*clips[0].language), ("de-media", "de"));
        let samples = clips[0].samples().unwrap();
        assert_eq!((samples.len(), samples[7_999]), (8_000, 7_999));
    }

    #[test]
    fn file_that_is_no_media_is_named() {
        let directory = directory(&[], &[("a.mp3", "no sound"), ("a.txt", "Ask not.")]);
        let error = sets::read(directory.path(), "en").unwrap_err();
        assert!(format!("{error:#}").contains("a.mp3"), "{error:#}");
    }

    #[test]
    fn subrip_gives_its_text_alone() {
        let text = "1\r\n00:00:01,000 --> 00:00:02,500\r\n{\\an8}<i>Ask not</i>\r\n1984 was\r\n\r\n\
                    2\r\n00:00:03,000 --> 00:00:04,000\r\n7\r\n\r\n3 < 4\r\n";
        assert_eq!(subrip(text), "Ask not 1984 was 7 3 < 4");
        assert_eq!(subrip(""), "");
    }
}
