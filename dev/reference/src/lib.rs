// SPDX-License-Identifier: MPL-2.0
//! Whisper's encoder and decoder in f32 on candle-core, as plain as the paper: what the kernels of
//! `whisper-engine` are measured against.
//!
//! | type | network |
//! |---|---|
//! | [`ReferenceEncoder`] | openai/whisper `model.py`, class `AudioEncoder`, behind the engine's trait |
//! | [`ReferenceDecoder`] | class `TextDecoder`; all tokens through all layers in each call |
//!
//! Tests compare outputs by their cosine, benches by their time. This crate is not published, and
//! the plugin does not depend on it.
//!
//! # Examples
//!
//! The logits after two tokens of a made-up window, with a very small model of random weights:
//!
//! ```
//! use test_support::synthetic::{Stored, write_hugging_face};
//! use whisper_engine::encoder::{AudioFeatures, Encoder};
//! use whisper_model::Model;
//! use whisper_reference::{ReferenceDecoder, ReferenceEncoder};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let model = Model::open(&write_hugging_face(directory.path(), Stored::F32))?;
//!
//! let mut encoder = ReferenceEncoder::new(&model)?;
//! encoder.input().fill(0.1);
//! let mut features = AudioFeatures::new(&model.config);
//! encoder.encode(50, &mut features)?;
//!
//! let decoder = ReferenceDecoder::new(&model)?;
//! let logits = decoder.logits(&[1, 2], &features, None)?;
//! assert_eq!(logits.len(), 2 * decoder.vocab());
//! # Ok(())
//! # }
//! ```

mod decoder;
mod encoder;
mod nn;

pub use decoder::ReferenceDecoder;
pub use encoder::ReferenceEncoder;
