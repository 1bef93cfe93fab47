// SPDX-License-Identifier: MPL-2.0
//! Whisper's text decoder: what the encoder heard, to tokens, to words with times.
//!
//! [`Decoder`] holds the weights and is shared by all streams; everything that belongs to one window
//! ([`Audio`], [`Cache`]) is the caller's.

mod alignment;
mod follow;
mod graph;
mod quality;
mod rules;
mod sampling;
mod words;

pub use alignment::{Attention, token_frames};
pub use follow::{Follow, Followed, Stop};
pub use graph::{Audio, Cache};
pub use quality::{Limits, Verdict, compression_ratio};
pub use rules::Rules;
pub use sampling::{Hypothesis, Task};
pub use words::{TimedWord, Transcript, is_unspaced, split_words};

use crate::encoder::AudioFeatures;
use crate::model::{Model, ModelError};
use graph::Graph;

/// Why a window could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    #[error("the decoder failed: {0}")]
    Graph(#[from] candle_core::Error),
    #[error("{tokens} tokens do not fit the decoder's context of {context}")]
    TooLong { tokens: usize, context: usize },
}

/// The decoder of one model.
pub struct Decoder {
    graph: Graph,
}

impl Decoder {
    pub fn new(model: &Model) -> Result<Self, ModelError> {
        Ok(Self {
            graph: Graph::load(model)?,
        })
    }

    /// Prepares a window's cross-attention keys and values.
    pub fn listen(&self, features: &AudioFeatures) -> Result<Audio, DecoderError> {
        Ok(self.graph.listen(features)?)
    }

    /// Feeds `tokens` after those in `cache` and returns the logits that follow each: (tokens, vocab), row-major.
    pub fn logits(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        audio: &Audio,
        attention: Option<&mut Attention>,
    ) -> Result<Vec<f32>, DecoderError> {
        let hidden = self.graph.forward(tokens, cache, audio, attention)?;
        Ok(self.graph.project(&hidden)?.flatten_all()?.to_vec1()?)
    }

    /// Feeds `tokens` for what they attend to; spares the projection to the vocabulary.
    fn forward(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        audio: &Audio,
        attention: &mut Attention,
    ) -> Result<(), DecoderError> {
        self.graph
            .forward(tokens, cache, audio, Some(attention))
            .map(drop)
    }

    /// Number of logits.
    pub fn vocab(&self) -> usize {
        self.graph.vocab()
    }
}
