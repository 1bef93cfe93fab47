// SPDX-License-Identifier: MPL-2.0
//! What belongs to one window and to the tokens that are decoded from it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::error::DecoderError;
use super::kv_cache::{CrossKvCache, KvCache};
use super::workspace::Workspace;
use whisper_frontend::EncoderFrame;
use whisper_frontend::pool::Pooled;

/// Tells decoders apart, also two of one model and instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DecoderId(u64);

impl DecoderId {
    /// One that no other decoder of this process has.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

/// A window's cross-attention keys and values, as the decoder that prepared them reads them.
pub struct EncodedWindow {
    decoder: DecoderId,
    frames: usize,
    cross: Pooled<CrossKvCache>,
}

impl EncodedWindow {
    pub(super) fn new(decoder: DecoderId, frames: usize, cross: Pooled<CrossKvCache>) -> Self {
        Self {
            decoder,
            frames,
            cross,
        }
    }

    /// Encoder frames, 20 ms each, that the decoder may attend to.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The frame after the last one, with the silence behind the audio.
    pub fn end(&self) -> EncoderFrame {
        EncoderFrame::new(self.frames as u64)
    }

    /// Keys and values, if `decoder` prepared them.
    pub(super) fn cross(&self, decoder: DecoderId) -> Result<&CrossKvCache, DecoderError> {
        if self.decoder != decoder {
            return Err(DecoderError::ForeignWindow);
        }
        Ok(&self.cross)
    }
}

/// The tokens that a decoder was fed so far, with their keys and values: of one sequence, or of
/// several that are decoded side by side. It belongs to the decoder that it is first used with.
pub struct DecodeSession {
    /// Tokens of each sequence.
    lens: Vec<usize>,
    /// Tokens that were fed last, of all sequences.
    fed: usize,
    state: Option<(DecoderId, Pooled<SessionState>)>,
}

/// A session's memory, which the decoder lends.
pub(super) struct SessionState {
    /// Keys and values of the tokens so far.
    pub cache: KvCache,
    /// What tokens pass through.
    pub workspace: Workspace,
}

impl Default for DecodeSession {
    fn default() -> Self {
        Self::new(1)
    }
}

impl DecodeSession {
    /// No tokens, of so many sequences.
    pub(super) fn new(sequences: usize) -> Self {
        Self {
            lens: vec![0; sequences],
            fed: 0,
            state: None,
        }
    }

    /// How many sequences.
    pub(super) fn sequences(&self) -> usize {
        self.lens.len()
    }

    /// Tokens of the first sequence that were fed so far.
    pub fn tokens(&self) -> usize {
        self.len(0)
    }

    /// Tokens of a sequence that were fed so far.
    pub(super) fn len(&self, sequence: usize) -> usize {
        self.lens[sequence]
    }

    /// Tokens that were fed last.
    pub(super) fn fed(&self) -> usize {
        self.fed
    }

    /// Forgets all tokens of a sequence but the first `len`.
    pub(super) fn truncate(&mut self, sequence: usize, len: usize) {
        self.lens[sequence] = self.lens[sequence].min(len);
    }

    /// Counts what was fed: so many tokens of each of these sequences.
    pub(super) fn advance(&mut self, fed: impl Iterator<Item = (usize, usize)>) {
        self.fed = 0;
        for (sequence, tokens) in fed {
            self.lens[sequence] += tokens;
            self.fed += tokens;
        }
    }

    /// The memory that `decoder` lends, from the first use on.
    pub(super) fn state(
        &mut self,
        decoder: DecoderId,
        lend: impl FnOnce() -> Pooled<SessionState>,
    ) -> Result<&mut SessionState, DecoderError> {
        let (owner, state) = self.state.get_or_insert_with(|| (decoder, lend()));
        if *owner != decoder {
            return Err(DecoderError::ForeignSession);
        }
        Ok(state)
    }
}
