// SPDX-License-Identifier: MPL-2.0
//! What can be wrong with a model, in words for the person who has to put it right.

use std::path::{Path, PathBuf};

/// Why a model could not be found or opened.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("no model \"{spec}\" in {}; fetch it with: scripts/fetch-model {spec}", list(.looked))]
    NotFound { spec: String, looked: Vec<PathBuf> },
    #[error("{}: cannot be read: {source}", .path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{}: not a Whisper model in a known format (Hugging Face directory with model.safetensors, \
         CTranslate2 directory with model.bin, or ggml .bin file)", .path.display()
    )]
    Unrecognised { path: PathBuf },
    #[error("{}: {what}; the file is damaged or not a Whisper model, fetch it again", .path.display())]
    Malformed { path: PathBuf, what: String },
    #[error("{}: {what}", .path.display())]
    Unsupported { path: PathBuf, what: String },
    #[error("{}: the model has no weight \"{name}\"", .path.display())]
    NoWeight { path: PathBuf, name: String },
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

/// What a parser found wrong with the bytes it was given. It becomes a [`ModelError`] where the file is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The bytes contradict themselves or the format.
    #[error("{0}")]
    Malformed(String),
    /// The bytes are sound but hold something that is not implemented.
    #[error("{0}")]
    Unsupported(String),
}

impl ParseError {
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        ParseError::Malformed(what.into())
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        ParseError::Unsupported(what.into())
    }

    /// Names the file that the fault is in.
    pub(super) fn at(self, path: &Path) -> ModelError {
        let path = path.to_owned();
        match self {
            ParseError::Malformed(what) => ModelError::Malformed { path, what },
            ParseError::Unsupported(what) => ModelError::Unsupported { path, what },
        }
    }
}
