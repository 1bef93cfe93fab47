// SPDX-License-Identifier: MPL-2.0
//! Whisper model files: dimensions, weights and tokenizer, from any of three formats.
//!
//! | format | told by | weights | parser |
//! |---|---|---|---|
//! | Hugging Face directory | `model.safetensors` or its index | f32, f16, bf16 | [`safetensors`] |
//! | CTranslate2 directory | `model.bin` | f32, f16, bf16, int8 | [`ctranslate2`] |
//! | ggml file | its magic number | f32, f16, [quantised](#features) | [`ggml`] |
//!
//! [`Model::find`] turns a name into a path and [`Model::open`] opens the files. [`Model::weight`]
//! then reads tensors, under one set of names for all formats, and [`Tokenizer`] turns tokens into
//! text and back.
//!
//! # Examples
//!
//! ```
//! use whisper_model::{Format, Model};
//!
//! # use test_support::synthetic::{Stored, write_ggml};
//! # let root = tempfile::tempdir()?;
//! # let path = write_ggml(&root.path().join("ggml-small.bin"), Stored::F16);
//! // `path` is a file or directory, for instance from `Model::find("tiny.en")?`.
//! let model = Model::open(&path)?;
//! assert_eq!(model.format, Format::Ggml);
//! assert_eq!(model.config.n_mels, 80);
//!
//! let tokens = model.tokenizer.encode("hello");
//! assert_eq!(model.tokenizer.decode(&tokens), "hello");
//!
//! let weight = model.weight("model.encoder.conv1.weight")?;
//! assert_eq!(weight.shape, [model.config.audio_state, 80, 3]);
//! assert_eq!(weight.to_f32().len(), weight.shape.iter().product::<usize>());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Untrusted files
//!
//! What the files say is not trusted. All arithmetic is checked, all lengths are compared with the
//! file before memory is allocated, and a model is only handed out when each tensor is there with
//! its exact shape. The parsers are public so that fuzzers can reach them; applications need
//! [`Model`] alone.
//!
//! Weights stay in the open files until they are read. A file that is truncated meanwhile is an error
//! then; one that is overwritten may give wrong weights. So put a new model in place by renaming, as
//! `scripts/fetch-model` does, never by overwriting.
//!
//! # Features
//!
//! `quantized` (off by default) reads quantised ggml files by way of candle-core: q4_0, q4_1, q5_0,
//! q5_1, q8_0 and the k-quants. Without it they are refused. Each read of a weight dequantises it
//! to f32, so such a model saves disk, but not yet memory.

mod bounded;
mod config;
pub mod ctranslate2;
mod cursor;
mod error;
pub mod ggml;
mod locate;
mod model;
mod open;
mod published;
#[cfg(feature = "quantized")]
mod quantized;
pub mod safetensors;
mod tensor;
mod tensors;
mod tokenizer;
mod weight;
mod weight_file;

pub use config::Config;
pub use error::{ModelError, ParseError};
pub use locate::data_directories;
pub use model::{Checkpoint, Format, Model};
pub use published::FETCH_MODEL;
#[cfg(feature = "quantized")]
pub use quantized::BlockType;
pub use tensor::{ElementType, Tensor};
pub use tokenizer::{SpecialTokens, Tokenizer};
pub use weight::{Weight, WeightData};
