// SPDX-License-Identifier: MPL-2.0
//! What goes wrong, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Debian's packages of decoders.
const DECODERS: &str = "gstreamer1.0-libav gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
                        gstreamer1.0-plugins-ugly";

/// Why there are no subtitles of a file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The input cannot be opened.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// GStreamer does not know what this is.
    #[error("not a media file that GStreamer knows")]
    NotMedia,
    /// Pictures alone, for instance.
    #[error("has no sound")]
    NoAudio,
    /// Music or silence, for instance.
    #[error("no speech was found, so there are no subtitles")]
    NoSpeech,
    /// A decoder or demultiplexer is not installed.
    #[error("GStreamer lacks: {0}. On Debian: apt install {DECODERS}")]
    MissingDecoder(String),
    /// GStreamer lacks an element of the pipeline itself.
    #[error("GStreamer lacks the element {0}. On Debian: apt install {1}")]
    MissingElement(&'static str, &'static str),
    /// The output cannot be made.
    #[error("cannot write {path}: {1}{advice}", path = .0.display(), advice = advice(.1))]
    Output(PathBuf, io::Error),
    /// The output would take the place of what is read.
    #[error("would be replaced by its own subtitles; write elsewhere with --output")]
    SameFile,
    /// An output appeared while its text was being made.
    #[error("{place} is there already, so the new one is {new}", place = .0.display(), new = .1.display())]
    Appeared(PathBuf, PathBuf),
    /// What an element reports.
    #[error("{0}")]
    Element(String),
}

impl Problem {
    /// Whether this says no more than that the file is of another kind: in a folder that is nothing
    /// to complain about.
    pub fn is_other_kind(&self) -> bool {
        matches!(self, Self::NotMedia | Self::NoAudio | Self::NoSpeech)
    }

    /// For an error at a path.
    pub fn output(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Output(path.to_owned(), error)
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ". Make room, or write elsewhere with --output"
        }
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory => ". Write elsewhere with --output",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_says_what_to_do() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let message = Problem::Output("a.srt".into(), full).to_string();
        assert!(message.starts_with("cannot write a.srt: "), "{message}");
        assert!(message.ends_with("elsewhere with --output"), "{message}");
    }
}
