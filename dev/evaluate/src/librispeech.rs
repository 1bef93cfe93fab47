// SPDX-License-Identifier: MPL-2.0
//! LibriSpeech as <https://www.openslr.org/12> has it: beside the FLAC files is a
//! `SET/READER/CHAPTER/READER-CHAPTER.trans.txt` with a line about each (Panayotov, Chen, Povey,
//! Khudanpur, "LibriSpeech: an ASR corpus based on public domain audio books", 2015).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::manifest::Clip;

/// Whether the file says what is said in the FLAC files beside it.
pub fn is_transcript(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().ends_with(".trans.txt")
}

/// The clips of all transcripts among the files.
pub fn clips(files: &[PathBuf]) -> Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for transcript in files.iter().filter(|file| is_transcript(file)) {
        let at = || transcript.display().to_string();
        let text = fs::read_to_string(transcript).with_context(at)?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            clips.push(clip(transcript, line).with_context(at)?);
        }
    }
    Ok(clips)
}

/// `READER-CHAPTER-NUMBER TEXT` as a clip.
fn clip(transcript: &Path, line: &str) -> Result<Clip> {
    let (id, text) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let path = transcript.with_file_name(format!("{id}.flac"));
    let reader = claxon::FlacReader::open(&path).with_context(|| path.display().to_string())?;
    let info = reader.streaminfo();
    let samples = info.samples.unwrap_or_default();
    Ok(Clip {
        id: id.to_owned(),
        language: "en".into(),
        seconds: samples as f64 / f64::from(info.sample_rate),
        kind: format!("en-{}", set(transcript)),
        reference: text.trim().to_owned(),
        path,
    })
}

/// `test-clean` or the like: the directory above readers and chapters.
fn set(transcript: &Path) -> String {
    let directory = transcript.ancestors().nth(3).and_then(Path::file_name);
    directory.map_or_else(|| "read".into(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sets::{self, Layout};

    /// A tree as the archives hold it; each clip is the eleven seconds of `tests/data`.
    fn tree(transcripts: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let recording = test_support::repository().join("tests/data/jfk-inaugural.flac");
        for (path, text) in transcripts {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            for line in text.lines() {
                let id = line.split_once(' ').unwrap().0;
                fs::copy(&recording, path.with_file_name(format!("{id}.flac"))).unwrap();
            }
        }
        directory
    }

    #[test]
    fn sets_are_told_apart_by_their_directories() {
        let tree = tree(&[
            (
                "LibriSpeech/test-other/7/8/7-8.trans.txt",
                "7-8-0000 ASK NOT\n",
            ),
            (
                "LibriSpeech/test-clean/1/2/1-2.trans.txt",
                "1-2-0000 AND SO\n1-2-0001 MY FELLOW AMERICANS\n",
            ),
        ]);
        let (layout, clips) = sets::read(tree.path(), "de").unwrap();
        assert_eq!(layout, Layout::LibriSpeech);
        let found: Vec<_> = clips
            .iter()
            .map(|clip| (&*clip.id, &*clip.kind, &*clip.reference))
            .collect();
        assert_eq!(
            found,
            [
                ("1-2-0000", "en-test-clean", "AND SO"),
                ("1-2-0001", "en-test-clean", "MY FELLOW AMERICANS"),
                ("7-8-0000", "en-test-other", "ASK NOT"),
            ]
        );
        assert_eq!((&*clips[0].language, clips[0].seconds), ("en", 11.0));
        assert_eq!(clips[0].samples().unwrap().len(), 11 * 16_000);
        let one = tree.path().join("LibriSpeech/test-other");
        assert_eq!(sets::read(&one, "en").unwrap().1[0].kind, "en-test-other");
    }

    #[test]
    fn missing_recording_is_named() {
        let tree = tree(&[("dev-clean/1/2/1-2.trans.txt", "1-2-0000 AND SO\n")]);
        fs::remove_file(tree.path().join("dev-clean/1/2/1-2-0000.flac")).unwrap();
        let error = sets::read(tree.path(), "en").unwrap_err();
        assert!(format!("{error:#}").contains("1-2-0000.flac"), "{error:#}");
    }
}
