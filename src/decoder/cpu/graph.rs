// SPDX-License-Identifier: MPL-2.0
//! The order of the decoder's operations (openai/whisper `model.py`, class `TextDecoder`).
//!
//! Rounds run on whatever rayon pool is current.

use rayon::prelude::*;

use super::heard::{Heard, Hearing};
use super::memory::{BLOCK, Memory, Scratch};
use super::stream::{Parts, Stream, round};
use super::weights::{CrossHead, Layer, SelfHead, Slice, Weights};
use crate::decoder::graph::{Audio, Cache, Graph, alignment_heads};
use crate::decoder::{Attention, DecoderError};
use crate::encoder::AudioFeatures;
use crate::kernel::Kernel;
use crate::kernel::gemm::{Rows, Sink};
use crate::kernel::norm::Norm;
use crate::kernel::quantized::{Digits, Outputs, Product};
use crate::kernel::recall::{Recall, scores_width};
use crate::kernel::sink::{GeluFloats, Identity, Keys, ToFloats, ToValues, Values};
use crate::model::{Config, Model, ModelError};
use crate::pool::{Pool, Pooled};

/// Windows and memories that are kept for reuse.
const KEPT: usize = 2;
/// Outputs of the vocabulary, in panels, that one task computes.
const PANELS: usize = 64;

pub struct CpuGraph<K: Kernel> {
    kernel: K,
    config: Config,
    weights: Weights<K>,
    alignment_heads: Vec<(usize, usize)>,
    memories: Pool<Memory<K>>,
    windows: Pool<Heard<K>>,
}

impl<K: Kernel> CpuGraph<K> {
    pub fn new(kernel: K, model: &Model) -> Result<Self, ModelError> {
        let config = model.config.clone();
        let head_width = config.text_state / config.text_heads;
        if !head_width.is_multiple_of(K::COLUMNS) {
            let what = format!("attention heads {head_width} wide, Whisper models have 64");
            return Err(ModelError::Unsupported {
                path: model.path.clone(),
                what,
            });
        }
        let (memory, window) = (config.clone(), config.clone());
        Ok(Self {
            kernel,
            weights: Weights::load(model)?,
            alignment_heads: alignment_heads(&config),
            memories: Pool::new(KEPT, move || Memory::new(&memory)),
            windows: Pool::new(KEPT, move || Heard::new(&window)),
            config,
        })
    }

    fn memory<'a>(&self, cache: &'a mut Cache) -> Result<&'a mut Memory<K>, DecoderError> {
        let lend = || {
            let mut memory = self.memories.acquire();
            memory.clear();
            memory
        };
        Ok(&mut **cache.memory::<Pooled<Memory<K>>>(lend)?)
    }

    fn head_width(&self) -> usize {
        self.config.text_state / self.config.text_heads
    }

    /// Tokens after `past` others, as rows of the residual stream.
    fn embed(&self, tokens: &[u32], past: usize, x: &mut [f32]) {
        let width = self.config.text_state;
        let positions = self.weights.positions[past * width..].chunks_exact(width);
        for ((x, token), position) in x.chunks_exact_mut(width).zip(tokens).zip(positions) {
            self.weights.embedding.get(*token as usize, x);
            x.iter_mut()
                .zip(position)
                .for_each(|(x, position)| *x += position);
        }
    }

    /// A block of tokens, after `past` others, through all layers.
    fn feed(
        &self,
        tokens: &[u32],
        past: usize,
        memory: &mut Memory<K>,
        heard: Hearing<'_, K>,
        mut attention: Option<&mut Attention>,
    ) {
        let count = tokens.len();
        self.embed(tokens, past, &mut memory.stream.x);
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let parts = if index == 0 { Parts::None } else { Parts::All };
            self.settle(memory, count, &layer.self_norm, parts);
            self.attend_self(index, past, count, memory);
            self.settle(memory, count, &layer.cross_norm, Parts::All);
            self.attend_audio(index, count, memory, heard, attention.is_some());
            if let Some(attention) = attention.as_deref_mut() {
                self.record(index, count * heard.frames, &memory.looks, attention);
            }
            self.settle(memory, count, &layer.feed_forward_norm, Parts::All);
            self.feed_forward(layer, count, memory);
        }
        self.settle(memory, count, &self.weights.norm, Parts::All);
    }

    fn settle(&self, memory: &mut Memory<K>, count: usize, norm: &Norm, parts: Parts) {
        memory.stream.settle(self.kernel, count, norm, parts);
    }

    /// Every head of layer `index`: what the tokens say to those before them.
    fn attend_self(&self, index: usize, past: usize, count: usize, memory: &mut Memory<K>) {
        let (kernel, width, head_width) = (self.kernel, self.config.text_state, self.head_width());
        let cached = Memory::<K>::capacity(&self.config) * head_width;
        let layer_len = self.config.text_heads * cached;
        let Stream { parts, digits, .. } = &mut memory.stream;
        let tasks = (
            &self.weights.layers[index].self_heads,
            &mut memory.scratches,
            parts.par_chunks_mut(BLOCK * width),
            memory.keys[index * layer_len..][..layer_len].par_chunks_mut(cached),
            memory.values[index * layer_len..][..layer_len].par_chunks_mut(cached),
        );
        tasks
            .into_par_iter()
            .for_each(|(head, scratch, part, keys, values)| {
                let SelfHead { q, k, v, out } = head;
                let Scratch {
                    queries,
                    rows,
                    digits: rounded,
                    ..
                } = scratch;
                let first = past;
                let sink = ToValues::new(queries, head_width, Identity);
                multiply(kernel, digits, count, q.all(), sink);
                let sink = Keys {
                    out: keys,
                    head_width,
                    first,
                };
                multiply(kernel, digits, count, k.all(), sink);
                let sink = Values {
                    out: values,
                    head_width,
                    first,
                };
                multiply(kernel, digits, count, v.all(), sink);
                kernel.vectorize(Recall {
                    queries: Rows {
                        values: queries,
                        stride: head_width,
                        count,
                    },
                    keys,
                    values,
                    context: past + count,
                    past: Some(past),
                    head_width,
                    out: &mut rows[..count * head_width],
                    looks: &mut [],
                    scores: &mut scratch.scores,
                    weights: &mut scratch.weights,
                });
                contribute(kernel, rows, head_width, count, rounded, out.all(), part);
            });
    }

    /// Every head of layer `index`: what the tokens hear. With `looking`, the weights of alignment heads are kept in
    /// `memory.looks`.
    fn attend_audio(
        &self,
        index: usize,
        count: usize,
        memory: &mut Memory<K>,
        Hearing { heard, frames }: Hearing<'_, K>,
        looking: bool,
    ) {
        let (kernel, width, head_width) = (self.kernel, self.config.text_state, self.head_width());
        let heads = self.config.text_heads;
        let heard_len = scores_width::<K>(self.config.audio_ctx) * head_width;
        let look_len = if looking { count * frames } else { 1 };
        memory.looks.resize(heads * look_len, 0.0);
        let Stream { parts, digits, .. } = &mut memory.stream;
        let tasks = (
            &self.weights.layers[index].cross_heads,
            &mut memory.scratches,
            parts.par_chunks_mut(BLOCK * width),
            memory.looks.par_chunks_mut(look_len),
            heard.keys[index * heads * heard_len..].par_chunks(heard_len),
            heard.values[index * heads * heard_len..].par_chunks(heard_len),
        );
        tasks.into_par_iter().enumerate().for_each(
            |(number, (head, scratch, part, looks, keys, values))| {
                let CrossHead { q, out } = head;
                let Scratch {
                    queries,
                    rows,
                    digits: rounded,
                    ..
                } = scratch;
                let sink = ToValues::new(queries, head_width, Identity);
                multiply(kernel, digits, count, q.all(), sink);
                let watched = looking && self.alignment_heads.contains(&(index, number));
                kernel.vectorize(Recall {
                    queries: Rows {
                        values: queries,
                        stride: head_width,
                        count,
                    },
                    keys,
                    values,
                    context: frames,
                    past: None,
                    head_width,
                    out: &mut rows[..count * head_width],
                    looks: if watched { looks } else { &mut [] },
                    scores: &mut scratch.scores,
                    weights: &mut scratch.weights,
                });
                contribute(kernel, rows, head_width, count, rounded, out.all(), part);
            },
        );
    }

    /// Hands the rows of this layer's alignment heads, each `len` numbers, to `attention`.
    fn record(&self, layer: usize, len: usize, looks: &[f32], attention: &mut Attention) {
        for (slot, (of, head)) in self.alignment_heads.iter().enumerate() {
            if *of == layer {
                attention.record(slot, &looks[head * len..][..len]);
            }
        }
    }

    fn feed_forward(&self, layer: &Layer<K>, count: usize, memory: &mut Memory<K>) {
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
                let sink = GeluFloats {
                    out: &mut rows[..count * slice_width],
                    width: slice_width,
                };
                multiply(kernel, digits, count, fc1.all(), sink);
                contribute(kernel, rows, slice_width, count, rounded, fc2.all(), part);
            });
    }
}

impl<K: Kernel> Graph for CpuGraph<K> {
    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn listen(&self, features: &AudioFeatures) -> Result<Audio, DecoderError> {
        let frames = features.context;
        if frames == 0 || frames > self.config.audio_ctx {
            return Err(DecoderError::Frames(frames));
        }
        let mut window = self.windows.acquire();
        window.fill(self.kernel, &self.config, features)?;
        Ok(Audio::new(frames, window))
    }

    fn forward(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        audio: &Audio,
        mut attention: Option<&mut Attention>,
    ) -> Result<(), DecoderError> {
        let (past, context) = (cache.len(), self.config.text_ctx);
        if past + tokens.len() > context {
            return Err(DecoderError::TooLong {
                tokens: past + tokens.len(),
                context,
            });
        }
        if let Some(token) = tokens.iter().find(|t| **t as usize >= self.config.vocab) {
            return Err(DecoderError::UnknownToken(*token));
        }
        let heard: &Pooled<Heard<K>> = audio.operands()?;
        let heard = Hearing {
            heard,
            frames: audio.frames(),
        };
        let memory = self.memory(cache)?;
        let rows = BLOCK * self.config.text_state;
        for (block, tokens) in tokens.chunks(BLOCK).enumerate() {
            let attention = attention.as_deref_mut();
            self.feed(tokens, past + block * BLOCK, memory, heard, attention);
            let hidden = memory.stream.normed(tokens.len());
            memory.hidden[block * rows..][..hidden.len()].copy_from_slice(hidden);
        }
        cache.advance(tokens.len());
        Ok(())
    }

    fn project(
        &self,
        cache: &mut Cache,
        index: usize,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecoderError> {
        let (kernel, width, vocab) = (self.kernel, self.config.text_state, self.config.vocab);
        let memory = self.memory(cache)?;
        let digits = &mut memory.stream.digits;
        round(
            kernel,
            &memory.hidden[index * width..][..width],
            width,
            digits,
        );
        logits.resize(vocab.next_multiple_of(K::COLUMNS), 0.0);
        logits
            .par_chunks_mut(PANELS * K::COLUMNS)
            .enumerate()
            .for_each(|(task, out)| {
                let right = self.weights.embedding.panels(task * PANELS, PANELS);
                let width = out.len();
                multiply(kernel, digits, 1, right, ToFloats { out, width });
            });
        logits.truncate(vocab);
        Ok(())
    }
}

fn multiply<K: Kernel>(
    kernel: K,
    left: &Digits,
    count: usize,
    right: Outputs<'_, K>,
    sink: impl Sink<K>,
) {
    kernel.vectorize(Product {
        left,
        count,
        right,
        sink,
    });
}

/// What `count` rows of one head, `depth` wide, add to the residual stream.
fn contribute<K: Kernel>(
    kernel: K,
    rows: &[f32],
    depth: usize,
    count: usize,
    digits: &mut Digits,
    out: Outputs<'_, K>,
    part: &mut [f32],
) {
    round(kernel, &rows[..count * depth], depth, digits);
    let width = out.columns();
    let sink = ToFloats {
        out: &mut part[..count * width],
        width,
    };
    multiply(kernel, digits, count, out, sink);
}
