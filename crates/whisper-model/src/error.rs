// SPDX-License-Identifier: MPL-2.0
//! What can be wrong with a model.

use std::path::{Path, PathBuf};

use crate::published;

/// Why a model cannot be found or opened, in words for the user who has to put it right.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No directory has a model of this name.
    #[error("no model \"{spec}\" in {}; {}", list(.looked), published::advice(.spec))]
    NotFound {
        /// The name.
        spec: String,
        /// The directories, in the order of the search.
        looked: Vec<PathBuf>,
    },
    /// Nothing is at this path.
    #[error("no such file: {}{}", .path.display(), not_cached(.path, .hub.as_deref()))]
    NoSuchFile {
        /// The path, which may also be meant for a repository `OWNER/NAME`.
        path: PathBuf,
        /// The Hugging Face cache, where the repository was looked up.
        hub: Option<PathBuf>,
    },
    /// The system refuses to read a file.
    #[error("{}: cannot be read: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are in none of the formats.
    #[error(
        "{}: not a Whisper model in a known format (Hugging Face directory with model.safetensors, \
         CTranslate2 directory with model.bin, or ggml .bin file)", .path.display()
    )]
    Unrecognised {
        /// The file or directory.
        path: PathBuf,
    },
    /// The bytes contradict themselves or the format.
    #[error("{}: {what}; the file is damaged or not a Whisper model, fetch it again", .path.display())]
    Malformed {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The bytes are sound but hold something that is not implemented.
    #[error("{}: {what}", .path.display())]
    Unsupported {
        /// The file or directory.
        path: PathBuf,
        /// What it holds, and what to use instead.
        what: String,
    },
    /// The model has no weight of this name.
    #[error("{}: the model has no weight \"{name}\"", .path.display())]
    NoWeight {
        /// The model.
        path: PathBuf,
        /// The canonical name.
        name: String,
    },
}

/// Where else a repository was looked up, and how to get it.
fn not_cached(path: &Path, hub: Option<&Path>) -> String {
    let Some(hub) = hub else {
        return String::new();
    };
    let advice = published::repository_advice(&path.to_string_lossy());
    format!(", and no such model in {}; {advice}", hub.display())
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

/// What a parser finds wrong with bytes. It becomes a [`ModelError`] where the file is known.
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
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        ParseError::Malformed(what.into())
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        ParseError::Unsupported(what.into())
    }

    /// The same error with the name of the file.
    pub(crate) fn at(self, path: &Path) -> ModelError {
        let path = path.to_owned();
        match self {
            ParseError::Malformed(what) => ModelError::Malformed { path, what },
            ParseError::Unsupported(what) => ModelError::Unsupported { path, what },
        }
    }
}
