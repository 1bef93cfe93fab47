// SPDX-License-Identifier: MPL-2.0
//! The order of the decoder's operations (openai/whisper `model.py`, class `TextDecoder`).
//!
//! Rounds run on whatever rayon pool is current.

use std::ops::Range;

use rayon::prelude::*;
use smallvec::SmallVec;

use super::cross_kv::{CrossKvCache, Hearing};
use super::kv_cache::{BLOCK, KvCache, Scratch};
use super::residual::{Parts, Stream, round};
use super::weights::{Layer, Slice, Weights};
use crate::decoder::graph::{DecodeSession, EncodedWindow, Graph, Step, alignment_heads};
use crate::decoder::{Attention, DecoderError, MOST_TEXTS};
use crate::encoder::AudioFeatures;
use whisper_frontend::pool::{Pool, Pooled};
use whisper_kernels::GemmKernel;
use whisper_kernels::epilogue::{StoreF32, StoreGeluF32};
use whisper_kernels::gemm::Epilogue;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_kernels::quantize::QuantizedRows;
use whisper_kernels::w8a16::{GemmW8A16, PackedW8A16View};
use whisper_model::{Config, Model, ModelError};

/// Memories that are kept for reuse: a live update and an offline stream's windows may be decoded in turns.
const KEPT: usize = 2;
/// Outputs of the vocabulary, in panels, that one task computes.
const PANELS: usize = 64;

pub struct CpuGraph<K: GemmKernel> {
    pub(super) kernel: K,
    pub(super) config: Config,
    pub(super) weights: Weights<K>,
    pub(super) alignment_heads: Vec<(usize, usize)>,
    /// For one text, and for [`MOST_TEXTS`].
    memories: [Pool<KvCache<K>>; 2],
    windows: Pool<CrossKvCache<K>>,
}

/// Tokens of one text that pass through the layers together.
pub(super) struct TokenBatch<'a, K: GemmKernel> {
    /// Which text of the cache.
    pub text: usize,
    pub tokens: &'a [u32],
    /// Tokens of the text that came before.
    pub past: usize,
    pub hearing: Hearing<'a, K>,
}

impl<K: GemmKernel> CpuGraph<K> {
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
        let memories = [1, MOST_TEXTS].map(|texts| {
            let config = config.clone();
            Pool::new(KEPT, move || KvCache::new(&config, texts))
        });
        Ok(Self {
            kernel,
            weights: Weights::load(model)?,
            alignment_heads: alignment_heads(&config),
            memories,
            windows: Pool::new(MOST_TEXTS, move || CrossKvCache::new(&window)),
            config,
        })
    }

    fn memory<'a>(&self, cache: &'a mut DecodeSession) -> Result<&'a mut KvCache<K>, DecoderError> {
        let texts = cache.texts();
        assert!(texts <= MOST_TEXTS);
        let lend = || {
            let mut memory = self.memories[usize::from(texts > 1)].acquire();
            memory.clear();
            memory
        };
        Ok(&mut **cache.memory::<Pooled<KvCache<K>>>(lend)?)
    }

    pub(super) fn head_width(&self) -> usize {
        self.config.text_state / self.config.text_heads
    }

    /// The tokens of a text that come next, if they may.
    fn piece<'a>(
        &self,
        text: usize,
        tokens: &'a [u32],
        cache: &DecodeSession,
        audio: &'a EncodedWindow,
    ) -> Result<TokenBatch<'a, K>, DecoderError> {
        let (past, context) = (cache.len(text), self.config.text_ctx);
        if past + tokens.len() > context {
            return Err(DecoderError::TooLong {
                tokens: past + tokens.len(),
                context,
            });
        }
        if let Some(token) = tokens.iter().find(|t| **t as usize >= self.config.vocab) {
            return Err(DecoderError::UnknownToken(*token));
        }
        let heard: &Pooled<CrossKvCache<K>> = audio.operands()?;
        Ok(TokenBatch {
            text,
            tokens,
            past,
            hearing: Hearing {
                heard,
                frames: audio.frames(),
            },
        })
    }

    /// The tokens as rows of the residual stream.
    fn embed(&self, pieces: &[TokenBatch<'_, K>], x: &mut [f32]) {
        let width = self.config.text_state;
        let mut rows = x.chunks_exact_mut(width);
        for piece in pieces {
            let positions = self.weights.positions[piece.past * width..].chunks_exact(width);
            for ((token, position), x) in piece.tokens.iter().zip(positions).zip(&mut rows) {
                self.weights.embedding.get(*token as usize, x);
                x.iter_mut()
                    .zip(position)
                    .for_each(|(x, position)| *x += position);
            }
        }
    }

    /// At most [`BLOCK`] tokens through all layers: of one text, or one token of each of some. `attention` of a text alone.
    fn feed(
        &self,
        pieces: &[TokenBatch<'_, K>],
        memory: &mut KvCache<K>,
        mut attention: Option<&mut Attention>,
    ) {
        let count = pieces.iter().map(|piece| piece.tokens.len()).sum();
        self.embed(pieces, &mut memory.stream.x);
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let parts = if index == 0 { Parts::None } else { Parts::All };
            self.settle(memory, count, &layer.self_norm, parts);
            self.attend_self(index, pieces, memory);
            self.settle(memory, count, &layer.cross_norm, Parts::All);
            self.attend_audio(index, pieces, memory, attention.as_deref_mut());
            self.settle(memory, count, &layer.feed_forward_norm, Parts::All);
            self.feed_forward(layer, count, memory);
        }
        self.settle(memory, count, &self.weights.norm, Parts::All);
    }

    fn settle(&self, memory: &mut KvCache<K>, count: usize, norm: &LayerNorm, parts: Parts) {
        memory.stream.settle(self.kernel, count, norm, parts);
    }

    /// As [`Graph::project`], at most [`BLOCK`] tokens.
    fn project_block(&self, memory: &mut KvCache<K>, tokens: Range<usize>, logits: &mut [f32]) {
        let (kernel, width, vocab) = (self.kernel, self.config.text_state, self.config.vocab);
        let (count, at_once) = (tokens.len(), PANELS * K::NR);
        let digits = &mut memory.stream.digits;
        let hidden = &memory.hidden[tokens.start * width..tokens.end * width];
        round(kernel, hidden, width, digits);
        memory
            .logits
            .resize(count * vocab.next_multiple_of(K::NR), 0.0);
        let tasks = memory.logits.par_chunks_mut(count * at_once).enumerate();
        tasks.for_each(|(task, out)| {
            let right = self.weights.embedding.panels(task * PANELS, PANELS);
            let width = out.len() / count;
            multiply(kernel, digits, count, right, StoreF32 { out, width });
        });
        let rows = logits.par_chunks_exact_mut(vocab).enumerate();
        rows.for_each(|(row, out)| {
            let tasks = memory.logits.chunks(count * at_once);
            for (out, task) in out.chunks_mut(at_once).zip(tasks) {
                let width = task.len() / count;
                out.copy_from_slice(&task[row * width..][..out.len()]);
            }
        });
    }

    fn feed_forward(&self, layer: &Layer<K>, count: usize, memory: &mut KvCache<K>) {
        let (kernel, width, slice_width) =
            (self.kernel, self.config.text_state, 4 * self.head_width());
        let Stream { parts, digits, .. } = &mut memory.stream;
        let tasks = (
            &layer.slices,
            &mut memory.scratches,
            parts.par_chunks_mut(BLOCK * width),
        );
        tasks
            .into_par_iter()
            .for_each(|(Slice { fc1, fc2 }, scratch, part)| {
                let Scratch {
                    rows,
                    digits: rounded,
                    ..
                } = scratch;
                let epilogue = StoreGeluF32 {
                    out: &mut rows[..count * slice_width],
                    width: slice_width,
                };
                multiply(kernel, digits, count, fc1.view(), epilogue);
                contribute(kernel, rows, slice_width, count, rounded, fc2.view(), part);
            });
    }
}

impl<K: GemmKernel> Graph for CpuGraph<K> {
    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn listen(&self, features: &AudioFeatures) -> Result<EncodedWindow, DecoderError> {
        let frames = features.context;
        if frames == 0 || frames > self.config.audio_ctx {
            return Err(DecoderError::Frames(frames));
        }
        let mut window = self.windows.acquire();
        window.fill(self.kernel, &self.config, features)?;
        Ok(EncodedWindow::new(frames, window))
    }

    fn forward(
        &self,
        text: usize,
        tokens: &[u32],
        cache: &mut DecodeSession,
        audio: &EncodedWindow,
        mut attention: Option<&mut Attention>,
    ) -> Result<(), DecoderError> {
        let whole = self.piece(text, tokens, cache, audio)?;
        let memory = self.memory(cache)?;
        let rows = BLOCK * self.config.text_state;
        for (block, tokens) in tokens.chunks(BLOCK).enumerate() {
            let piece = TokenBatch {
                tokens,
                past: whole.past + block * BLOCK,
                ..whole
            };
            self.feed(&[piece], memory, attention.as_deref_mut());
            memory.keep(block * rows, tokens.len());
        }
        cache.advance(text, tokens.len());
        Ok(())
    }

    fn step(&self, steps: &[Step], cache: &mut DecodeSession) -> Result<(), DecoderError> {
        let pieces = steps.iter().map(|step| {
            let token = std::slice::from_ref(&step.token);
            self.piece(step.text, token, cache, step.audio)
        });
        let pieces: SmallVec<[_; MOST_TEXTS]> = pieces.collect::<Result<_, _>>()?;
        let memory = self.memory(cache)?;
        self.feed(&pieces, memory, None);
        memory.keep(0, pieces.len());
        steps.iter().for_each(|step| cache.advance(step.text, 1));
        Ok(())
    }

    fn project(
        &self,
        cache: &mut DecodeSession,
        tokens: Range<usize>,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecoderError> {
        let vocab = self.config.vocab;
        let memory = self.memory(cache)?;
        logits.resize(tokens.len() * vocab, 0.0);
        let blocks = tokens.clone().step_by(BLOCK);
        for (first, logits) in blocks.zip(logits.chunks_mut(BLOCK * vocab)) {
            self.project_block(memory, first..tokens.end.min(first + BLOCK), logits);
        }
        Ok(())
    }
}

pub(super) fn multiply<K: GemmKernel>(
    kernel: K,
    left: &QuantizedRows<i16>,
    count: usize,
    right: PackedW8A16View<'_, K>,
    epilogue: impl Epilogue<K>,
) {
    kernel.dispatch(GemmW8A16 {
        left,
        count,
        right,
        epilogue,
    });
}

/// What `count` rows of one head, `depth` wide, add to the residual stream.
pub(super) fn contribute<K: GemmKernel>(
    kernel: K,
    rows: &[f32],
    depth: usize,
    count: usize,
    digits: &mut QuantizedRows<i16>,
    out: PackedW8A16View<'_, K>,
    part: &mut [f32],
) {
    round(kernel, &rows[..count * depth], depth, digits);
    let width = out.columns();
    let epilogue = StoreF32 {
        out: &mut part[..count * width],
        width,
    };
    multiply(kernel, digits, count, out, epilogue);
}
