// SPDX-License-Identifier: MPL-2.0
//! Tokens that pass through the layers together, and the memory that they use, in the kernel's
//! number format.

use std::ops::Range;

use crate::decoder::error::DecoderError;
use crate::decoder::residual::ResidualStream;
use crate::decoder::session::SessionState;
use crate::decoder::workspace::{HeadScratch, Workspace};
use whisper_kernels::GemmKernel;
use whisper_kernels::element::{Element, ValueBuffer};

/// Tokens of one sequence.
pub struct TokenBatch<'a, K: GemmKernel> {
    /// Which sequence of the session.
    pub sequence: usize,
    pub tokens: &'a [u32],
    /// Tokens of the sequence that came before.
    pub past: usize,
    pub window: CrossKv<'a, K>,
}

/// What the tokens attend to in their window.
pub struct CrossKv<'a, K: GemmKernel> {
    /// `[layers, heads, audio_ctx in whole panels, head width]`
    pub keys: &'a [K::Value],
    /// As large.
    pub values: &'a [K::Value],
    /// The first encoder frame that counts, a whole number of panels.
    pub first: usize,
    /// Encoder frames that count.
    pub frames: usize,
}

// Not derived: that would ask for `K`'s own bounds in vain.
impl<K: GemmKernel> Clone for CrossKv<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: GemmKernel> Copy for CrossKv<'_, K> {}

/// Tokens of all batches.
pub fn token_count<K: GemmKernel>(batches: &[TokenBatch<'_, K>]) -> usize {
    batches.iter().map(|batch| batch.tokens.len()).sum()
}

/// Each batch, and its rows among those of all batches.
pub fn with_rows<'a, K: GemmKernel>(
    batches: &'a [TokenBatch<'a, K>],
) -> impl Iterator<Item = (&'a TokenBatch<'a, K>, Range<usize>)> {
    batches.iter().scan(0, |end, batch| {
        let start = *end;
        *end += batch.tokens.len();
        Some((batch, start..*end))
    })
}

/// A session's memory as a kernel reads it. See [`SessionState`], and [`Workspace`] for the shapes.
pub struct KernelState<'a, K: GemmKernel> {
    pub keys: &'a mut [K::Value],
    pub values: &'a mut [K::Value],
    pub queries: &'a mut [K::Value],
    pub probabilities: &'a mut [K::Value],
    pub residual: &'a mut ResidualStream,
    pub heads: &'a mut [HeadScratch],
    pub hidden: &'a mut [f32],
    pub logits: &'a mut Vec<f32>,
    pub alignment: &'a mut Vec<f32>,
}

impl<'a, K: GemmKernel> KernelState<'a, K> {
    /// # Errors
    /// The session was made for another number format.
    pub fn new(state: &'a mut SessionState) -> Result<Self, DecoderError> {
        let SessionState { cache, workspace } = state;
        let Workspace {
            residual,
            hidden,
            logits,
            queries,
            probabilities,
            heads,
            alignment,
        } = workspace;
        Ok(Self {
            keys: typed(&mut cache.keys)?,
            values: typed(&mut cache.values)?,
            queries: typed(queries)?,
            probabilities: typed(probabilities)?,
            residual,
            heads,
            hidden,
            logits,
            alignment,
        })
    }

    /// Keeps the last rows that passed through, `count` of them, in `hidden` from value `at` on.
    pub fn keep(&mut self, at: usize, count: usize) {
        let rows = self.residual.normed(count);
        self.hidden[at..][..rows.len()].copy_from_slice(rows);
    }
}

fn typed<V: Element>(buffer: &mut ValueBuffer) -> Result<&mut [V], DecoderError> {
    buffer.as_mut_slice().ok_or(DecoderError::ForeignSession)
}
