// SPDX-License-Identifier: MPL-2.0
//! Model files of any supported format to dimensions, weights and tokenizer.
//!
//! Three formats, told apart by content: a Hugging Face directory (safetensors), a CTranslate2 directory, a ggml file.
//! Each parser turns bytes into a [`Checkpoint`]: canonical names and places of the tensors, nothing copied. What the
//! files say is not trusted: all arithmetic is checked, all lengths are compared with the file before anything is
//! allocated, and a model is only handed out when each tensor is there with its exact shape.
//!
//! Weights stay in the mapped files. A file that is truncated while it is mapped kills the process with SIGBUS when the
//! lost part is touched, so put a new model in place by renaming, as `scripts/fetch-model` does, never by overwriting.

mod config;
pub mod ctranslate2;
mod cursor;
mod error;
pub mod ggml;
mod layout;
mod locate;
mod open;
pub mod safetensors;
pub(crate) mod tokenizer;
mod weights;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use config::Config;
pub use error::{ModelError, ParseError};
pub use locate::data_directories;
pub use tokenizer::{Special, Tokenizer};
pub use weights::{ElementType, Tensor, Weight, WeightData};

use weights::Weights;

/// In which format a model's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    HuggingFace,
    CTranslate2,
    Ggml,
}

/// An opened model. Opening maps the files; pages are read when weights are used.
pub struct Model {
    pub config: Config,
    pub tokenizer: Tokenizer,
    weights: Weights,
    /// The file or directory that was opened.
    pub path: PathBuf,
    pub format: Format,
}

/// What a file of weights says, not yet checked for completeness.
pub struct Checkpoint {
    pub tensors: HashMap<String, Tensor>,
    pub config: Config,
    /// The tokens as bytes, where the file has them (ggml).
    pub vocabulary: Option<Vec<Box<[u8]>>>,
}

impl Model {
    /// From a name or path to the file or directory, without reading it.
    ///
    /// What contains a `/` is a path. A name (`tiny.en`, `large-v3`, `turbo`) is looked up as
    /// `whispernpu/models/NAME` (directory), `NAME.bin` and `ggml-NAME.bin` in `$XDG_DATA_HOME` and
    /// `$XDG_DATA_DIRS`, then in the Hugging Face cache, then in the current directory.
    pub fn find(spec: &str) -> Result<PathBuf, ModelError> {
        locate::find(spec, &locate::SearchPaths::from_environment())
    }

    /// Maps and checks the model in a directory or file. Takes milliseconds: headers and vocabulary are read, weights not.
    pub fn open(path: &Path) -> Result<Model, ModelError> {
        open::open(path)
    }

    /// A weight by its canonical name, Hugging Face's: `model.encoder.layers.0.self_attn.q_proj.weight`.
    pub fn weight(&self, name: &str) -> Result<Weight<'_>, ModelError> {
        let absent = || ModelError::NoWeight {
            path: self.path.clone(),
            name: name.to_owned(),
        };
        self.weights.get(name).ok_or_else(absent)
    }

    /// Gives back the memory that weights took by being read. They can be read again.
    pub fn release(&self) {
        self.weights.release();
    }

    /// Whether there is such a weight. Key projections have no bias; it is to be taken as zero.
    pub fn has_weight(&self, name: &str) -> bool {
        self.weights.tensors.contains_key(name)
    }
}
