// SPDX-License-Identifier: MPL-2.0
//! The order of the decoder's operations (openai/whisper `model.py`, class `TextDecoder`).
//!
//! Rounds run on whatever rayon pool is current.

use std::ops::Range;

use rayon::prelude::*;
use smallvec::SmallVec;

use super::batch::{CrossKv, KernelState, TokenBatch, token_count};
use super::cross_kv;
use super::product::{contribute, multiply};
use super::weights::{Layer, MlpSlice, Weights};
use crate::decoder::alignment::Attention;
use crate::decoder::error::DecoderError;
use crate::decoder::kv_cache::{CrossKvCache, KvCache};
use crate::decoder::residual::{BLOCK, Parts, ResidualStream, quantize};
use crate::decoder::session::{DecodeSession, DecoderId, EncodedWindow, SessionState};
use crate::decoder::text_decoder::{MAX_SEQUENCES, SequenceTokens, TextDecoder, alignment_heads};
use crate::decoder::workspace::{HeadScratch, Workspace};
use crate::encoder::AudioFeatures;
use whisper_frontend::pool::Pool;
use whisper_kernels::GemmKernel;
use whisper_kernels::epilogue::{StoreF32, StoreGeluF32};
use whisper_kernels::layer_norm::LayerNorm;
use whisper_model::{Config, Model, ModelError};

/// Session memories that are kept for reuse: a live update and an offline stream's windows may be
/// decoded in turns.
const KEPT: usize = 2;
/// Panels of the vocabulary that one task computes.
const PANELS: usize = 64;
const _: () = assert!(MAX_SEQUENCES <= BLOCK);

/// The decoder for one instruction set.
pub struct CpuTextDecoder<K: GemmKernel> {
    id: DecoderId,
    pub(super) kernel: K,
    pub(super) config: Config,
    pub(super) weights: Weights<K>,
    pub(super) alignment_heads: Vec<(usize, usize)>,
    /// For one sequence, and for [`MAX_SEQUENCES`].
    states: [Pool<SessionState>; 2],
    windows: Pool<CrossKvCache>,
}

impl<K: GemmKernel> CpuTextDecoder<K> {
    /// Packs the model's weights.
    ///
    /// # Errors
    /// A weight that the model lacks, or heads that do not fit the kernel's tiles.
    pub fn new(kernel: K, model: &Model) -> Result<Self, ModelError> {
        let config = model.config.clone();
        let head_width = config.text_state / config.text_heads;
        if !head_width.is_multiple_of(K::NR) {
            let what = format!("attention heads {head_width} wide, Whisper models have 64");
            return Err(ModelError::Unsupported {
                path: model.path.clone(),
                what,
            });
        }
        let window = config.clone();
        let states = [1, MAX_SEQUENCES].map(|sequences| {
            let config = config.clone();
            Pool::new(KEPT, move || SessionState {
                cache: KvCache::new::<K>(&config, sequences),
                workspace: Workspace::new::<K>(&config),
            })
        });
        Ok(Self {
            id: DecoderId::unique(),
            kernel,
            weights: Weights::load(model)?,
            alignment_heads: alignment_heads(&config),
            states,
            windows: Pool::new(MAX_SEQUENCES, move || CrossKvCache::new::<K>(&window)),
            config,
        })
    }

    pub(super) fn head_width(&self) -> usize {
        self.config.text_state / self.config.text_heads
    }

    /// The session's memory, which is lent when it is wanted for the first time.
    fn state<'a>(
        &self,
        session: &'a mut DecodeSession,
    ) -> Result<KernelState<'a, K>, DecoderError> {
        let pool = &self.states[usize::from(session.sequences() > 1)];
        let state = session.state(self.id, || {
            let mut state = pool.acquire();
            // Values beyond the tokens fed are multiplied by zero, so they must be numbers.
            if let Some(values) = state.cache.values.as_mut_slice() {
                values.fill(K::Value::default());
            }
            state
        })?;
        KernelState::new(state)
    }

    /// The tokens that come next in a sequence, if they may.
    fn batch<'a>(
        &self,
        next: SequenceTokens<'a>,
        session: &DecodeSession,
    ) -> Result<TokenBatch<'a, K>, DecoderError> {
        let SequenceTokens {
            sequence,
            tokens,
            window,
            frames,
        } = next;
        let (past, context) = (session.len(sequence), self.config.text_ctx);
        if past + tokens.len() > context {
            return Err(DecoderError::TooLong {
                tokens: past + tokens.len(),
                context,
            });
        }
        if let Some(token) = tokens.iter().find(|t| **t as usize >= self.config.vocab) {
            return Err(DecoderError::UnknownToken(*token));
        }
        let (first, end) = frames.unwrap_or((0, window.frames()));
        // Where a panel of keys begins.
        let first = first - first % K::NR;
        if first >= end || end > window.frames() {
            return Err(DecoderError::Frames(end.saturating_sub(first)));
        }
        let cross = window.cross(self.id)?;
        let (keys, values) = (cross.keys.as_slice(), cross.values.as_slice());
        Ok(TokenBatch {
            sequence,
            tokens,
            past,
            window: CrossKv {
                keys: keys.ok_or(DecoderError::ForeignWindow)?,
                values: values.ok_or(DecoderError::ForeignWindow)?,
                first,
                frames: end - first,
            },
        })
    }

    /// The tokens as rows of the residual stream.
    fn embed(&self, batches: &[TokenBatch<'_, K>], x: &mut [f32]) {
        let width = self.config.text_state;
        let mut rows = x.chunks_exact_mut(width);
        for batch in batches {
            let positions = self.weights.positions[batch.past * width..].chunks_exact(width);
            for ((token, position), x) in batch.tokens.iter().zip(positions).zip(&mut rows) {
                self.weights.embedding.get(*token as usize, x);
                x.iter_mut()
                    .zip(position)
                    .for_each(|(x, position)| *x += position);
            }
        }
    }

    /// Takes at most [`BLOCK`] tokens through all layers: of one sequence, or one token of each of
    /// some. `attention` is that of a sequence alone.
    fn feed(
        &self,
        batches: &[TokenBatch<'_, K>],
        state: &mut KernelState<'_, K>,
        mut attention: Option<&mut Attention>,
    ) {
        let count = token_count(batches);
        self.embed(batches, &mut state.residual.x);
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let parts = if index == 0 { Parts::None } else { Parts::All };
            self.normalize(state, count, &layer.self_norm, parts);
            self.attend_self(index, batches, state);
            self.normalize(state, count, &layer.cross_norm, Parts::All);
            self.attend_cross(index, batches, state, attention.as_deref_mut());
            self.normalize(state, count, &layer.mlp_norm, Parts::All);
            self.mlp(layer, count, state);
        }
        self.normalize(state, count, &self.weights.norm, Parts::All);
    }

    /// See [`ResidualStream::add_and_normalize`].
    fn normalize(
        &self,
        state: &mut KernelState<'_, K>,
        count: usize,
        norm: &LayerNorm,
        parts: Parts,
    ) {
        state
            .residual
            .add_and_normalize(self.kernel, count, norm, parts);
    }

    /// As [`TextDecoder::project`], at most [`BLOCK`] tokens.
    fn project_block(
        &self,
        state: &mut KernelState<'_, K>,
        tokens: Range<usize>,
        logits: &mut [f32],
    ) {
        let (kernel, width, vocab) = (self.kernel, self.config.text_state, self.config.vocab);
        let (count, at_once) = (tokens.len(), PANELS * K::NR);
        let quantized = &mut state.residual.quantized;
        let hidden = &state.hidden[tokens.start * width..tokens.end * width];
        quantize(kernel, hidden, width, quantized);
        let parts = &mut *state.logits;
        parts.resize(count * vocab.next_multiple_of(K::NR), 0.0);
        let tasks = parts.par_chunks_mut(count * at_once).enumerate();
        tasks.for_each(|(task, out)| {
            let right = self.weights.embedding.panels(task * PANELS, PANELS);
            let width = out.len() / count;
            multiply(kernel, quantized, count, right, StoreF32 { out, width });
        });
        let rows = logits.par_chunks_exact_mut(vocab).enumerate();
        rows.for_each(|(row, out)| {
            let tasks = parts.chunks(count * at_once);
            for (out, task) in out.chunks_mut(at_once).zip(tasks) {
                let width = task.len() / count;
                out.copy_from_slice(&task[row * width..][..out.len()]);
            }
        });
    }

    /// The MLP of a layer, slice by slice.
    fn mlp(&self, layer: &Layer<K>, count: usize, state: &mut KernelState<'_, K>) {
        let (kernel, width) = (self.kernel, self.config.text_state);
        let slice_width = 4 * self.head_width();
        let ResidualStream {
            parts, quantized, ..
        } = &mut *state.residual;
        let tasks = (
            &layer.mlp,
            &mut *state.heads,
            parts.par_chunks_mut(BLOCK * width),
        );
        tasks.into_par_iter().for_each(|(slice, scratch, part)| {
            let MlpSlice { fc1, fc2 } = slice;
            let HeadScratch {
                rows,
                quantized: hidden,
                ..
            } = scratch;
            let rows = &mut rows[..count * slice_width];
            let epilogue = StoreGeluF32 {
                out: &mut *rows,
                width: slice_width,
            };
            multiply(kernel, quantized, count, fc1.view(), epilogue);
            contribute(kernel, rows, hidden, fc2.view(), &mut part[..count * width]);
        });
    }
}

impl<K: GemmKernel> TextDecoder for CpuTextDecoder<K> {
    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn window_memory(&self) -> Pool<CrossKvCache> {
        self.windows.clone()
    }

    fn prepare(&self, features: &AudioFeatures) -> Result<EncodedWindow, DecoderError> {
        let frames = features.context;
        if frames == 0 || frames > self.config.audio_ctx {
            return Err(DecoderError::Frames(frames));
        }
        if !features.fits(&self.config) {
            return Err(DecoderError::ForeignFeatures);
        }
        let mut cross = self.windows.acquire();
        cross_kv::pack(self.kernel, &self.config, features, &mut cross)?;
        Ok(EncodedWindow::new(self.id, frames, cross))
    }

    fn forward(
        &self,
        tokens: SequenceTokens,
        session: &mut DecodeSession,
        mut attention: Option<&mut Attention>,
    ) -> Result<(), DecoderError> {
        let whole = self.batch(tokens, session)?;
        let mut state = self.state(session)?;
        let rows = BLOCK * self.config.text_state;
        for (block, tokens) in whole.tokens.chunks(BLOCK).enumerate() {
            let batch = TokenBatch {
                tokens,
                past: whole.past + block * BLOCK,
                ..whole
            };
            self.feed(&[batch], &mut state, attention.as_deref_mut());
            state.keep(block * rows, tokens.len());
        }
        session.advance([(tokens.sequence, tokens.tokens.len())].into_iter());
        Ok(())
    }

    fn step(
        &self,
        steps: &[SequenceTokens],
        session: &mut DecodeSession,
    ) -> Result<(), DecoderError> {
        let batches = steps.iter().map(|step| self.batch(*step, session));
        let batches: SmallVec<[_; MAX_SEQUENCES]> = batches.collect::<Result<_, _>>()?;
        let mut state = self.state(session)?;
        self.feed(&batches, &mut state, None);
        state.keep(0, batches.len());
        session.advance(steps.iter().map(|step| (step.sequence, step.tokens.len())));
        Ok(())
    }

    fn project(
        &self,
        session: &mut DecodeSession,
        tokens: Range<usize>,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecoderError> {
        let (vocab, fed) = (self.config.vocab, session.fed());
        if tokens.end > fed {
            let index = tokens.end - 1;
            return Err(DecoderError::NotFed { index, fed });
        }
        let mut state = self.state(session)?;
        logits.resize(tokens.len() * vocab, 0.0);
        let blocks = tokens.clone().step_by(BLOCK);
        for (first, logits) in blocks.zip(logits.chunks_mut(BLOCK * vocab)) {
            let block = first..tokens.end.min(first + BLOCK);
            self.project_block(&mut state, block, logits);
        }
        Ok(())
    }
}
