// SPDX-License-Identifier: MPL-2.0
//! Whisper's text decoder: what the encoder heard, to tokens, to words with times.
//!
//! [`Decoder`] holds the weights and is shared by all streams; everything that belongs to one window
//! ([`EncodedWindow`], [`DecodeSession`]) is the caller's.

mod align_att;
mod alignment;
mod cpu;
mod graph;
mod quality;
mod sampling;
mod suppress;
mod words;

pub use align_att::{AlignAttRequest, AlignAttResult, Stop};
pub use alignment::{Attention, token_frames};
pub use graph::{DecodeSession, EncodedWindow, MOST_TEXTS, alignment_heads};
pub use quality::{Decision, FallbackThresholds, compression_ratio, is_known_hallucination};
pub use sampling::{Hypothesis, Task};
pub use suppress::TokenSuppressor;
pub use words::{TimedWord, Transcript, is_unspaced, split_words};

use crate::encoder::AudioFeatures;
use graph::Graph;
use whisper_kernels::{Isa, UnknownIsa};
use whisper_model::{Model, ModelError};

/// Why a window could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Isa(#[from] UnknownIsa),
    #[error("{tokens} tokens do not fit the decoder's context of {context}")]
    TooLong { tokens: usize, context: usize },
    #[error("the model has no token {0}")]
    UnknownToken(u32),
    #[error("a window of {0} frames, Whisper hears 1 to 1500")]
    Frames(usize),
    #[error("the window or the cache belongs to another decoder")]
    Foreign,
}

/// The decoder of one model.
pub struct Decoder {
    graph: Box<dyn Graph>,
}

impl Decoder {
    /// For the fastest instruction set that this machine has, or what the environment names.
    pub fn new(model: &Model) -> Result<Self, DecoderError> {
        Self::with_isa(model, Isa::choose()?)
    }

    /// For `isa`, which must be [available](Isa::available).
    pub fn with_isa(model: &Model, isa: Isa) -> Result<Self, DecoderError> {
        Ok(Self {
            graph: cpu::load(model, isa)?,
        })
    }

    /// Prepares a window's cross-attention keys and values.
    pub fn listen(&self, features: &AudioFeatures) -> Result<EncodedWindow, DecoderError> {
        self.graph.listen(features)
    }

    /// Feeds `tokens` after those of the first text in `cache` and returns the logits that follow each: (tokens, vocab),
    /// row-major.
    pub fn logits(
        &self,
        tokens: &[u32],
        cache: &mut DecodeSession,
        audio: &EncodedWindow,
        attention: Option<&mut Attention>,
    ) -> Result<Vec<f32>, DecoderError> {
        self.forward(tokens, cache, audio, attention)?;
        let mut logits = Vec::new();
        self.graph.project(cache, 0..tokens.len(), &mut logits)?;
        Ok(logits)
    }

    /// Feeds `tokens` after those of the first text in `cache`; spares the projection to the vocabulary.
    pub fn forward(
        &self,
        tokens: &[u32],
        cache: &mut DecodeSession,
        audio: &EncodedWindow,
        attention: Option<&mut Attention>,
    ) -> Result<(), DecoderError> {
        self.graph.forward(0, tokens, cache, audio, attention)
    }

    /// The logits that follow token `index` of those fed last, in place of what `logits` holds.
    pub fn row(
        &self,
        cache: &mut DecodeSession,
        index: usize,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecoderError> {
        self.graph.project(cache, index..index + 1, logits)
    }

    /// Number of logits.
    pub fn vocab(&self) -> usize {
        self.graph.vocab()
    }
}
