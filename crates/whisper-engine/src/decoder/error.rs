// SPDX-License-Identifier: MPL-2.0
//! Why a window could not be decoded.

use whisper_kernels::UnknownIsa;
use whisper_model::ModelError;

/// Why a decoder could not be made, or a window not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    /// The model lacks a weight, or has dimensions that no Whisper model has.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The environment asks for an instruction set that this machine does not have.
    #[error(transparent)]
    Isa(#[from] UnknownIsa),
    /// A sequence longer than the decoder has positions.
    #[error("{tokens} tokens do not fit the decoder's context of {context}")]
    TooLong {
        /// Tokens that the sequence would have.
        tokens: usize,
        /// Positions of the model.
        context: usize,
    },
    /// A token beyond the model's vocabulary.
    #[error("the model has no token {0}")]
    UnknownToken(u32),
    /// Logits were asked for after a token that is not among those fed last.
    #[error("logits after token {index} of {fed} that were fed last")]
    NotFed {
        /// The token, counted from the first one that was fed last.
        index: usize,
        /// How many tokens were fed last.
        fed: usize,
    },
    /// A prompt that does not hold more than the committed text at its end.
    #[error("a prompt of {prompt} tokens that ends in {committed} tokens of text")]
    ShortPrompt {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of text at its end.
        committed: usize,
    },
    /// A window of no frames, or of more than the model has.
    #[error("a window of {0} frames, Whisper's have 1 to 1500")]
    Frames(usize),
    /// The features were made for a model of other dimensions.
    #[error("the features belong to another model")]
    ForeignFeatures,
    /// Features whose rows do not lie one after another.
    #[error("the decoder works on contiguous arrays")]
    NonContiguous,
    /// The window was prepared by another decoder.
    #[error("the window belongs to another decoder")]
    ForeignWindow,
    /// The session began with another decoder.
    #[error("the session belongs to another decoder")]
    ForeignSession,
}
