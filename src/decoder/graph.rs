// SPDX-License-Identifier: MPL-2.0
//! What every graph of the decoder offers, and what belongs to one window.

use std::any::Any;

use super::{Attention, DecoderError};
use crate::encoder::AudioFeatures;

/// The decoder's network (openai/whisper `model.py`, class `TextDecoder`).
///
/// Any number of tokens may be fed at once: a prompt is one batched pass, generation feeds one token at a time.
pub(super) trait Graph: Send + Sync {
    /// Number of logits.
    fn vocab(&self) -> usize;

    /// Prepares a window's cross-attention keys and values.
    fn listen(&self, features: &AudioFeatures) -> Result<Audio, DecoderError>;

    /// Feeds `tokens` after those in `cache`.
    fn forward(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        audio: &Audio,
        attention: Option<&mut Attention>,
    ) -> Result<(), DecoderError>;

    /// The logits that follow token `index` of those fed last.
    fn project(
        &self,
        cache: &mut Cache,
        index: usize,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecoderError>;
}

/// Cross-attention operands of one window, in the form of the graph that made them.
pub struct Audio {
    frames: usize,
    operands: Box<dyn Any + Send + Sync>,
}

impl Audio {
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

/// What the decoder remembers of the tokens fed so far, in the form of the graph that it is used with.
#[derive(Default)]
pub struct Cache {
    len: usize,
    memory: Option<Box<dyn Any + Send>>,
}

impl Cache {
    /// Tokens fed so far.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens but the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
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
pub(super) fn alignment_heads(config: &crate::model::Config) -> Vec<(usize, usize)> {
    if !config.alignment_heads.is_empty() {
        return config.alignment_heads.clone();
    }
    (config.text_layers / 2..config.text_layers)
        .flat_map(|layer| (0..config.text_heads).map(move |head| (layer, head)))
        .collect()
}
