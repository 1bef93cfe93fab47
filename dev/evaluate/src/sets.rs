// SPDX-License-Identifier: MPL-2.0
//! Which clips a directory holds, in whichever way it says so.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::manifest::{self, Clip};
use crate::{librispeech, media};

/// How a set says what is said in its clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `manifest.tsv`, with kinds of speech.
    Manifest,
    /// LibriSpeech's own.
    LibriSpeech,
    /// A text beside each file.
    Media,
}

/// The clips of a directory. `language` is spoken where the set does not tell.
pub fn read(directory: &Path, language: &str) -> Result<(Layout, Vec<Clip>)> {
    if directory.join("manifest.tsv").exists() {
        return Ok((Layout::Manifest, manifest::read(directory)?));
    }
    let at = || directory.display().to_string();
    // The names of directories above may tell what set it is.
    let root = directory.canonicalize().with_context(at)?;
    let mut files = Vec::new();
    collect(&root, &mut files).with_context(at)?;
    files.sort();
    if files.iter().any(|file| librispeech::is_transcript(file)) {
        return Ok((Layout::LibriSpeech, librispeech::clips(&files)?));
    }
    Ok((Layout::Media, media::clips(&root, &files, language)?))
}

/// All files of a directory and those below it.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_without_clips_is_no_error_and_a_missing_one_is() {
        let directory = tempfile::tempdir().unwrap();
        let (layout, clips) = read(directory.path(), "en").unwrap();
        assert_eq!((layout, clips.len()), (Layout::Media, 0));
        assert!(read(&directory.path().join("missing"), "en").is_err());
    }

    #[test]
    fn manifest_comes_before_what_lies_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let header = "id\tfile\tlanguage\tseconds\tkind\treference\n";
        fs::write(directory.path().join("manifest.tsv"), header).unwrap();
        fs::write(directory.path().join("1-2.trans.txt"), "1-2-0000 YES\n").unwrap();
        let (layout, clips) = read(directory.path(), "en").unwrap();
        assert_eq!((layout, clips.len()), (Layout::Manifest, 0));
    }
}
