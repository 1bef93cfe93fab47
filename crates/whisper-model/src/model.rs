// SPDX-License-Identifier: MPL-2.0
//! An opened model.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Config;
use crate::error::ModelError;
use crate::locate::SearchPaths;
use crate::tensor::Tensor;
use crate::tokenizer::Tokenizer;
use crate::weight::Weight;
use crate::weight_file::WeightFile;

/// The format of a model's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A directory with `config.json`, a tokenizer and safetensors files.
    HuggingFace,
    /// A directory with `model.bin` and a vocabulary, as faster-whisper reads it.
    CTranslate2,
    /// A single `.bin` file, as whisper.cpp reads it.
    Ggml,
}

/// An opened model. Weights are read from its files, which stay open, when they are wanted.
pub struct Model {
    /// Dimensions.
    pub config: Config,
    /// Tokens to text and back; shared with the decoder that is made of this model.
    pub tokenizer: Arc<Tokenizer>,
    /// The file or directory that was opened.
    pub path: PathBuf,
    /// The format of the files.
    pub format: Format,
    /// What the files say wrongly and was ignored, in words for the user.
    pub warning: Option<String>,
    pub(crate) files: Vec<WeightFile>,
    pub(crate) tensors: HashMap<String, Tensor>,
}

/// What a file of weights says, not yet checked for completeness.
pub struct Checkpoint {
    /// Tensors by canonical name.
    pub tensors: HashMap<String, Tensor>,
    /// Dimensions.
    pub config: Config,
    /// The tokens as bytes, where the file has them (ggml).
    pub vocabulary: Option<Vec<Box<[u8]>>>,
}

impl Model {
    /// The file or directory of a model, by its name, path or repository. Nothing is read.
    ///
    /// What contains a `/` is a path or, where nothing is at that path, a repository of the Hugging
    /// Face cache, such as `openai/whisper-tiny`. A name (`tiny.en`, `large-v3`, `turbo`) is looked up as
    /// `whispernpu/models/NAME` (directory), `NAME.bin` and `ggml-NAME.bin` in `$XDG_DATA_HOME` and
    /// `$XDG_DATA_DIRS`, then in the Hugging Face cache, then in the current directory.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] lists the directories; [`ModelError::NoSuchFile`] names a path that
    /// does not exist.
    pub fn find(spec: &str) -> Result<PathBuf, ModelError> {
        SearchPaths::from_environment().find(spec)
    }

    /// A weight by its canonical name, which is Hugging Face's:
    /// `model.encoder.layers.0.self_attn.q_proj.weight`.
    ///
    /// # Errors
    /// [`ModelError::NoWeight`] if the model has none of that name; [`ModelError::Io`] if its file
    /// changed since it was opened.
    pub fn weight(&self, name: &str) -> Result<Weight, ModelError> {
        self.read(self.tensor(name)?)
    }

    /// Some rows of a weight: what lies at `rows` of its first dimension. The whole may be large.
    ///
    /// # Errors
    /// As [`weight`](Self::weight); a weight with fewer rows is none.
    pub fn weight_rows(&self, name: &str, rows: Range<usize>) -> Result<Weight, ModelError> {
        let part = self.tensor(name)?.rows(rows);
        self.read(&part.ok_or_else(|| self.no_weight(name))?)
    }

    /// The dimensions of a weight, the slowest first.
    ///
    /// # Errors
    /// [`ModelError::NoWeight`] if the model has none of that name.
    pub fn weight_shape(&self, name: &str) -> Result<&[usize], ModelError> {
        self.tensor(name).map(Tensor::shape)
    }

    /// Whether there is such a weight. Key projections have no bias; it is to be taken as zero.
    pub fn has_weight(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, ModelError> {
        self.tensors.get(name).ok_or_else(|| self.no_weight(name))
    }

    fn read(&self, tensor: &Tensor) -> Result<Weight, ModelError> {
        let file = &self.files[tensor.file];
        Ok(tensor.weight(file.read(tensor.bytes())?))
    }

    fn no_weight(&self, name: &str) -> ModelError {
        ModelError::NoWeight {
            path: self.path.clone(),
            name: name.to_owned(),
        }
    }
}
