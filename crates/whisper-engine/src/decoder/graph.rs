// SPDX-License-Identifier: MPL-2.0
//! What every graph of the decoder offers, and what belongs to one window.

use std::any::Any;
use std::ops::Range;

use super::{Attention, DecoderError};
use crate::encoder::AudioFeatures;

/// Texts that may be decoded side by side, so that weights are read once for a token of each: with more of them the
/// windows' keys and values, which each token of each text reads anew, are what takes the time.
pub const MOST_TEXTS: usize = 4;

/// The next token of a text.
pub(super) struct Step<'a> {
    /// Which text of the cache.
    pub text: usize,
    pub token: u32,
    pub audio: &'a EncodedWindow,
}

/// The decoder's network (openai/whisper `model.py`, class `TextDecoder`).
///
/// Any number of tokens of one text may be fed at once: a prompt is one batched pass, generation feeds one token of each
/// text at a time.
pub(super) trait Graph: Send + Sync {
    /// Number of logits.
    fn vocab(&self) -> usize;

    /// Prepares a window's cross-attention keys and values.
    fn listen(&self, features: &AudioFeatures) -> Result<EncodedWindow, DecoderError>;

    /// Feeds `tokens` after those of a text in `cache`.
    fn forward(
        &self,
        text: usize,
        tokens: &[u32],
        cache: &mut DecodeSession,
        audio: &EncodedWindow,
        attention: Option<&mut Attention>,
    ) -> Result<(), DecoderError>;

    /// Feeds a token of each of at most [`MOST_TEXTS`] texts.
    fn step(&self, steps: &[Step], cache: &mut DecodeSession) -> Result<(), DecoderError>;

    /// The logits that follow some of the tokens fed last, (tokens, vocab), in place of what `logits` holds.
    fn project(
        &self,
        cache: &mut DecodeSession,
        tokens: Range<usize>,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecoderError>;
}

/// Cross-attention operands of one window, in the form of the graph that made them.
pub struct EncodedWindow {
    frames: usize,
    operands: Box<dyn Any + Send + Sync>,
}

impl EncodedWindow {
    pub(super) fn new(frames: usize, operands: impl Any + Send + Sync) -> Self {
        Self {
            frames,
            operands: Box::new(operands),
        }
    }

    /// Rows of 20 ms that the decoder may attend to.
    pub fn frames(&self) -> usize {
        self.frames
    }

    pub(super) fn operands<T: Any>(&self) -> Result<&T, DecoderError> {
        self.operands.downcast_ref().ok_or(DecoderError::Foreign)
    }
}

/// What the decoder remembers of the tokens fed so far, in the form of the graph that it is used with: those of one text,
/// or of several that are decoded side by side.
pub struct DecodeSession {
    /// Tokens of each text.
    lens: Vec<usize>,
    memory: Option<Box<dyn Any + Send>>,
}

impl Default for DecodeSession {
    fn default() -> Self {
        Self::new(1)
    }
}

impl DecodeSession {
    /// Nothing yet, of so many texts.
    pub fn new(texts: usize) -> Self {
        Self {
            lens: vec![0; texts],
            memory: None,
        }
    }

    pub fn texts(&self) -> usize {
        self.lens.len()
    }

    /// Tokens of a text that were fed so far.
    pub fn len(&self, text: usize) -> usize {
        self.lens[text]
    }

    /// Forgets all tokens of a text but the first `len`.
    pub(super) fn truncate(&mut self, text: usize, len: usize) {
        self.lens[text] = self.lens[text].min(len);
    }

    pub(super) fn advance(&mut self, text: usize, tokens: usize) {
        self.lens[text] += tokens;
    }

    /// The graph's own memory, made when it is wanted for the first time.
    pub(super) fn memory<T: Any + Send>(
        &mut self,
        make: impl FnOnce() -> T,
    ) -> Result<&mut T, DecoderError> {
        self.memory
            .get_or_insert_with(|| Box::new(make()))
            .downcast_mut()
            .ok_or(DecoderError::Foreign)
    }
}

/// The heads whose cross-attention follows the audio; without known ones, those of the upper half of the layers
/// (what openai/whisper falls back to).
pub fn alignment_heads(config: &whisper_model::Config) -> Vec<(usize, usize)> {
    if !config.alignment_heads.is_empty() {
        return config.alignment_heads.clone();
    }
    (config.text_layers / 2..config.text_layers)
        .flat_map(|layer| (0..config.text_heads).map(move |head| (layer, head)))
        .collect()
}
