// SPDX-License-Identifier: MPL-2.0
//! Opens a model: recognises the format, collects the files that belong to it, and checks that they
//! agree.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::config::{Config, GenerationConfig, HuggingFaceConfig};
use crate::error::{ModelError, ParseError};
use crate::model::{Format, Model};
use crate::tensor::Tensor;
use crate::tokenizer::{Tokenizer, Vocabulary};
use crate::weight_file::WeightFile;
use crate::{ctranslate2, ggml, safetensors, tensors};

/// tokenizer.json of large-v3 has 2.5 MB, with merges as pairs 4 MB.
const MAX_JSON: u64 = 64 << 20;

impl Model {
    /// Opens and checks the model in a directory or file. Takes milliseconds: headers and vocabulary
    /// are read, weights are not.
    ///
    /// # Errors
    /// The files cannot be read, are no Whisper model, contradict themselves, or are stored in a
    /// way that is not implemented.
    pub fn open(path: &Path) -> Result<Model, ModelError> {
        let io = |source| ModelError::Io {
            path: path.to_owned(),
            source,
        };
        if !fs::metadata(path).map_err(io)?.is_dir() {
            return open_file(path);
        }
        if path.join("model.safetensors").is_file()
            || path.join("model.safetensors.index.json").is_file()
        {
            return open_hugging_face(path);
        }
        if path.join("model.bin").is_file() {
            return open_file(&path.join("model.bin"));
        }
        if path.join("pytorch_model.bin").is_file() {
            let what = "holds PyTorch weights only; get or convert to model.safetensors".to_owned();
            return Err(ModelError::Unsupported {
                path: path.to_owned(),
                what,
            });
        }
        Err(ModelError::Unrecognised {
            path: path.to_owned(),
        })
    }
}

/// Opens a file of weights; CTranslate2 and safetensors have their vocabulary beside it.
fn open_file(path: &Path) -> Result<Model, ModelError> {
    let file = WeightFile::open(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    if file.with_reader(|file| ggml::recognises(file))? {
        open_ggml(path, file)
    } else if file.with_reader(|file| ctranslate2::recognises(file))? {
        open_ctranslate2(directory, path, file)
    } else if file.with_reader(|file| safetensors::recognises(file))? {
        open_hugging_face(directory)
    } else {
        Err(ModelError::Unrecognised {
            path: path.to_owned(),
        })
    }
}

fn open_ggml(path: &Path, file: WeightFile) -> Result<Model, ModelError> {
    let checkpoint = file
        .with_reader(|file| ggml::parse(file))?
        .map_err(|error| error.at(path))?;
    let vocabulary = Vocabulary::from_bytes(checkpoint.vocabulary.unwrap_or_default());
    let tokenizer =
        Tokenizer::new(vocabulary, checkpoint.config.vocab).map_err(|error| error.at(path))?;
    let parts = Parts {
        path: path.to_owned(),
        files: vec![file],
        tensors: checkpoint.tensors,
        config: checkpoint.config,
        warning: None,
    };
    parts.assemble(tokenizer, Format::Ggml)
}

fn open_ctranslate2(directory: &Path, path: &Path, file: WeightFile) -> Result<Model, ModelError> {
    let checkpoint = file
        .with_reader(|file| ctranslate2::parse(file))?
        .map_err(|error| error.at(path))?;
    let mut config = checkpoint.config;
    let warning = read_alignment_heads(&directory.join("config.json"), &mut config)?;
    let tokenizer = read_tokenizer(directory, config.vocab)?;
    let parts = Parts {
        path: directory.to_owned(),
        files: vec![file],
        tensors: checkpoint.tensors,
        config,
        warning,
    };
    parts.assemble(tokenizer, Format::CTranslate2)
}

fn open_hugging_face(directory: &Path) -> Result<Model, ModelError> {
    let config_path = directory.join("config.json");
    let config: HuggingFaceConfig =
        read_json(&config_path)?.ok_or_else(|| ModelError::Malformed {
            path: directory.to_owned(),
            what: "config.json is missing".to_owned(),
        })?;
    let mut config = Config::from(config);
    config.check().map_err(|error| error.at(&config_path))?;
    let warning = read_alignment_heads(&directory.join("generation_config.json"), &mut config)?;
    let tokenizer = read_tokenizer(directory, config.vocab)?;
    let mut parts = Parts {
        path: directory.to_owned(),
        files: Vec::new(),
        tensors: HashMap::new(),
        config,
        warning,
    };
    for path in safetensors_files(directory)? {
        let file = WeightFile::open(&path)?;
        for (name, mut tensor) in file
            .with_reader(|file| safetensors::parse(file))?
            .map_err(|error| error.at(&path))?
        {
            tensor.file = parts.files.len();
            if parts.tensors.contains_key(&name) {
                return Err(ParseError::malformed(format!(
                    "\"{name}\" is in another part of the model too"
                ))
                .at(&path));
            }
            parts.tensors.insert(name, tensor);
        }
        parts.files.push(file);
    }
    parts.assemble(tokenizer, Format::HuggingFace)
}

/// The only file, or the parts that the index names.
fn safetensors_files(directory: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let single = directory.join("model.safetensors");
    let index_path = directory.join("model.safetensors.index.json");
    if single.is_file() {
        return Ok(vec![single]);
    }
    match read_json::<safetensors::Index>(&index_path)? {
        Some(index) => {
            let files = index.files().map_err(|error| error.at(&index_path))?;
            Ok(files.into_iter().map(|file| directory.join(file)).collect())
        }
        None => Err(ModelError::Unrecognised {
            path: directory.to_owned(),
        }),
    }
}

/// What belongs to a model, before the last checks.
struct Parts {
    path: PathBuf,
    files: Vec<WeightFile>,
    tensors: HashMap<String, Tensor>,
    config: Config,
    warning: Option<String>,
}

impl Parts {
    fn assemble(mut self, tokenizer: Tokenizer, format: Format) -> Result<Model, ModelError> {
        self.config
            .assume_alignment_heads(tokenizer.is_multilingual());
        self.config.check().map_err(|error| error.at(&self.path))?;
        let tensors =
            tensors::validate(&self.config, self.tensors).map_err(|error| error.at(&self.path))?;
        Ok(Model {
            config: self.config,
            tokenizer: Arc::new(tokenizer),
            path: self.path,
            format,
            warning: self.warning,
            files: self.files,
            tensors,
        })
    }
}

/// Takes the alignment heads from a file, if it is there. Says what it ignored.
fn read_alignment_heads(path: &Path, config: &mut Config) -> Result<Option<String>, ModelError> {
    let read: Option<GenerationConfig> = read_json(path)?;
    let Some(listed) = read.and_then(|read| read.alignment_heads) else {
        return Ok(None);
    };
    let ignored = config.take_alignment_heads(&listed);
    Ok(ignored.map(|what| format!("{}: {what}", path.display())))
}

/// The tokenizer from whichever vocabulary is there. CTranslate2's comes first: it was written with
/// the weights.
fn read_tokenizer(directory: &Path, rows: usize) -> Result<Tokenizer, ModelError> {
    type Reader = fn(&[u8]) -> Result<Vocabulary, ParseError>;
    let readers: [(&str, Reader); 4] = [
        ("vocabulary.json", Vocabulary::from_json_list),
        ("vocabulary.txt", Vocabulary::from_lines),
        ("tokenizer.json", Vocabulary::from_tokenizer_json),
        ("vocab.json", Vocabulary::from_vocab_json),
    ];
    for (name, read) in readers {
        let path = directory.join(name);
        if let Some(bytes) = read_file(&path)? {
            let vocabulary = read(&bytes).and_then(|vocabulary| Tokenizer::new(vocabulary, rows));
            return vocabulary.map_err(|error| error.at(&path));
        }
    }
    let names: Vec<_> = readers.iter().map(|(name, _)| *name).collect();
    let what = format!("has no vocabulary ({})", names.join(", "));
    Err(ModelError::Malformed {
        path: directory.to_owned(),
        what,
    })
}

/// A whole small file; `None` if there is none.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, ModelError> {
    if !path.is_file() {
        return Ok(None);
    }
    let io = |source| ModelError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(io)?
        .take(MAX_JSON + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_JSON {
        return Err(ParseError::malformed(format!("larger than {MAX_JSON} bytes")).at(path));
    }
    Ok(Some(bytes))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ModelError> {
    let Some(bytes) = read_file(path)? else {
        return Ok(None);
    };
    let value = serde_json::from_slice(&bytes);
    value
        .map(Some)
        .map_err(|error| ParseError::malformed(format!("not as expected: {error}")).at(path))
}
