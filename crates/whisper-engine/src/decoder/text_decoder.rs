// SPDX-License-Identifier: MPL-2.0
//! The network whatever instruction set it runs on, behind [`super::Decoder`].

use std::ops::Range;

use super::alignment::Attention;
use super::error::DecoderError;
use super::kv_cache::CrossKvCache;
use super::session::{DecodeSession, EncodedWindow};
use crate::encoder::AudioFeatures;
use whisper_frontend::pool::Pool;
use whisper_model::Config;

/// Sequences that may be decoded side by side, so that weights are read once for a token of each.
/// With more of them the time goes into the windows' keys and values, which each token of each
/// sequence reads anew.
pub const MAX_SEQUENCES: usize = 4;

/// Tokens that come next in a sequence.
#[derive(Clone, Copy)]
pub(super) struct SequenceTokens<'a> {
    /// Which sequence of the session.
    pub sequence: usize,
    /// They follow those that were fed before.
    pub tokens: &'a [u32],
    /// What the sequence is decoded from.
    pub window: &'a EncodedWindow,
    /// The frames of the window that tokens attend to; `None` for all. The first may be some frames
    /// earlier, where keys begin that lie together.
    pub frames: Option<(usize, usize)>,
}

/// The decoder's network (openai/whisper `model.py`, class `TextDecoder`).
///
/// Any number of tokens of one sequence may be fed at once: a prompt is one batched pass.
/// Generation feeds one token of each sequence at a time.
pub(super) trait TextDecoder: Send + Sync {
    /// Number of logits that follow a token.
    fn vocab(&self) -> usize;

    /// Where the memory of windows comes from.
    fn window_memory(&self) -> Pool<CrossKvCache>;

    /// Prepares a window's cross-attention keys and values.
    fn prepare(&self, features: &AudioFeatures) -> Result<EncodedWindow, DecoderError>;

    /// Feeds tokens of one sequence.
    fn forward(
        &self,
        tokens: SequenceTokens,
        session: &mut DecodeSession,
        attention: Option<&mut Attention>,
    ) -> Result<(), DecoderError>;

    /// Feeds one token of each of at most [`MAX_SEQUENCES`] sequences.
    fn step(
        &self,
        steps: &[SequenceTokens],
        session: &mut DecodeSession,
    ) -> Result<(), DecoderError>;

    /// The logits that follow some of the tokens fed last, `[tokens, vocab]`, in place of what
    /// `logits` holds.
    fn project(
        &self,
        session: &mut DecodeSession,
        tokens: Range<usize>,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecoderError>;
}

/// (Decoder layer, head) pairs whose cross-attention follows the audio; without known ones, all
/// heads of the upper half of the layers (openai/whisper `model.py`, class `Whisper`).
pub fn alignment_heads(config: &Config) -> Vec<(usize, usize)> {
    if !config.alignment_heads.is_empty() {
        return config.alignment_heads.clone();
    }
    (config.text_layers / 2..config.text_layers)
        .flat_map(|layer| (0..config.text_heads).map(move |head| (layer, head)))
        .collect()
}
