// SPDX-License-Identifier: MPL-2.0
//! Whisper's text decoder: what the encoder made of a window, to tokens, to words with times.
//!
//! [`Decoder`] holds the weights and the tokenizer, and is shared by all streams. What belongs to
//! one window is the caller's: an [`EncodedWindow`] and a [`DecodeSession`].
//!
//! | module | what it does |
//! |---|---|
//! | `text_decoder`, `cpu` | the network: tokens to logits |
//! | `session`, `kv_cache`, `workspace`, `residual` | what belongs to a window and to its tokens |
//! | `logits`, `sampling`, `suppress`, `terms`, `quality` | logits to a hypothesis; which tokens; how good |
//! | `align_att`, `align_att/*` | decoding that stops where the audio does |
//! | `alignment`, `words` | when each token was spoken; tokens to words |

mod align_att;
mod alignment;
mod cpu;
mod error;
mod kv_cache;
mod logits;
mod quality;
mod residual;
mod sampling;
mod session;
mod suppress;
mod terms;
mod text_decoder;
mod words;
mod workspace;

pub use align_att::{AlignAttRequest, AlignAttResult, Stop};
pub use alignment::{Attention, TokenFrames, token_frames};
pub use error::DecoderError;
pub(crate) use kv_cache::CrossKvCache;
pub use quality::{compression_ratio, is_known_hallucination};
pub use sampling::{DecodeRequest, Hypothesis};
pub use session::{DecodeSession, EncodedWindow};
pub use suppress::TokenSuppressor;
pub use text_decoder::{MAX_SEQUENCES, alignment_heads};
pub use words::{TimedText, Transcript, WordTokens, is_unspaced, split_words};

use std::sync::Arc;

use crate::encoder::AudioFeatures;
use text_decoder::{SequenceTokens, TextDecoder};
use whisper_frontend::pool::Pool;
use whisper_kernels::Isa;
use whisper_model::{Model, Tokenizer};

/// The decoder of one model.
pub struct Decoder {
    tokenizer: Arc<Tokenizer>,
    network: Box<dyn TextDecoder>,
}

impl Decoder {
    /// For the fastest instruction set that this machine has, or the one that the environment
    /// names.
    ///
    /// # Errors
    /// An unknown instruction set in the environment, or a weight that the model lacks.
    pub fn new(model: &Model) -> Result<Self, DecoderError> {
        Self::with_isa(model, Isa::choose()?)
    }

    /// For `isa`, which must be [available](Isa::available).
    ///
    /// # Errors
    /// An instruction set that this machine does not have, or a weight that the model lacks.
    pub fn with_isa(model: &Model, isa: Isa) -> Result<Self, DecoderError> {
        Ok(Self {
            tokenizer: model.tokenizer.clone(),
            network: cpu::load(model, isa)?,
        })
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Where the memory of windows comes from.
    pub(crate) fn window_memory(&self) -> Pool<CrossKvCache> {
        self.network.window_memory()
    }

    /// A window as cross-attention reads it: keys and values in the order and number format of the
    /// decoder's kernels.
    ///
    /// # Errors
    /// Features of another model, or a context that the model does not have.
    pub fn prepare(&self, features: &AudioFeatures) -> Result<EncodedWindow, DecoderError> {
        self.network.prepare(features)
    }

    /// Feeds `tokens` after those of the session's first sequence, and returns the logits that
    /// follow each of them, `[tokens, vocab]`.
    ///
    /// # Errors
    /// See [`Decoder::forward`].
    pub fn logits(
        &self,
        tokens: &[u32],
        session: &mut DecodeSession,
        window: &EncodedWindow,
        attention: Option<&mut Attention>,
    ) -> Result<Vec<f32>, DecoderError> {
        self.forward(tokens, session, window, attention)?;
        let mut logits = Vec::new();
        self.network
            .project(session, 0..tokens.len(), &mut logits)?;
        Ok(logits)
    }

    /// Feeds `tokens` after those of the session's first sequence, without the projection to the
    /// vocabulary. `attention` is given what the alignment heads attend to.
    ///
    /// # Errors
    /// More tokens than the decoder's context holds, a token that the model does not have, or a
    /// window or session of another decoder.
    pub fn forward(
        &self,
        tokens: &[u32],
        session: &mut DecodeSession,
        window: &EncodedWindow,
        attention: Option<&mut Attention>,
    ) -> Result<(), DecoderError> {
        let tokens = SequenceTokens {
            sequence: 0,
            tokens,
            window,
            frames: None,
        };
        self.network.forward(tokens, session, attention)
    }

    /// The logits that follow token `index` of those fed last, `[vocab]`, in place of what `logits`
    /// holds.
    ///
    /// # Errors
    /// A token that was not fed, or a session of another decoder.
    pub fn logits_after(
        &self,
        session: &mut DecodeSession,
        index: usize,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecoderError> {
        self.network.project(session, index..index + 1, logits)
    }

    /// Number of logits that follow a token.
    pub fn vocab(&self) -> usize {
        self.network.vocab()
    }
}
