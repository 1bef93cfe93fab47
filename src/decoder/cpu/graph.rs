// SPDX-License-Identifier: MPL-2.0
//! The order of the decoder's operations (openai/whisper `model.py`, class `TextDecoder`).
//!
//! Rounds run on whatever rayon pool is current.

use rayon::prelude::*;

use super::memory::{BLOCK, Heard, Memory, Scratch, Stream};
use super::weights::{CrossHead, Layer, SelfHead, Slice, Weights};
use crate::decoder::graph::{Audio, Cache, Graph, alignment_heads};
use crate::decoder::{Attention, DecoderError};
use crate::encoder::AudioFeatures;
use crate::kernel::attention::{Recall, scores_width};
use crate::kernel::gemm::{Rows, Sink};
use crate::kernel::norm::{Norm, normalize};
use crate::kernel::quantized::{Digits, Outputs, Product, Round};
use crate::kernel::sink::{GeluFloats, Identity, Keys, ToFloats, ToValues, Transfer, Values};
use crate::kernel::{Kernel, Operation, tile_rows};
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

    /// A block of tokens through all layers, to rows of `memory.hidden` from `row` on.
    fn feed(
        &self,
        tokens: &[u32],
        past: usize,
        memory: &mut Memory<K>,
        row: usize,
        heard: &Heard<K>,
        frames: usize,
        mut attention: Option<&mut Attention>,
    ) {
        let (count, width) = (tokens.len(), self.config.text_state);
        self.embed(tokens, past, &mut memory.stream.x);
        let mut settled = true;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            self.settle(&mut memory.stream, count, &layer.self_norm, !settled);
            settled = false;
            self.attend_self(index, layer, past, count, memory);
            self.settle(&mut memory.stream, count, &layer.cross_norm, true);
            let mut looking = Looking {
                frames,
                wanted: attention.is_some(),
            };
            self.attend_audio(index, layer, count, memory, heard, &mut looking);
            if let Some(attention) = attention.as_deref_mut() {
                self.record(index, count * frames, &memory.looks, attention);
            }
            self.settle(&mut memory.stream, count, &layer.feed_forward_norm, true);
            self.feed_forward(layer, count, memory);
        }
        self.settle(&mut memory.stream, count, &self.weights.norm, true);
        memory.hidden[row * width..][..count * width]
            .copy_from_slice(&memory.stream.normed[..count * width]);
    }

    /// Adds the parts of the round before to the residual stream, if there are any, and normalises it.
    fn settle(&self, stream: &mut Stream, count: usize, norm: &Norm, parts: bool) {
        let (kernel, width) = (self.kernel, self.config.text_state);
        let parts = if parts { &stream.parts[..] } else { &[] };
        let rows = tile_rows::<K>() * width;
        let x = stream.x[..count * width].par_chunks_mut(rows);
        let normed = stream.normed[..count * width].par_chunks_mut(rows);
        x.zip(normed).enumerate().for_each(|(tile, (x, normed))| {
            kernel.vectorize(Settle {
                norm,
                parts,
                stride: BLOCK * width,
                first: tile * rows,
                x,
                normed,
            });
        });
        kernel.vectorize(Round {
            rows: &stream.normed[..count * width],
            depth: width,
            out: &mut stream.digits,
        });
    }

    fn attend_self(
        &self,
        index: usize,
        layer: &Layer<K>,
        past: usize,
        count: usize,
        memory: &mut Memory<K>,
    ) {
        let (kernel, width, head_width) = (self.kernel, self.config.text_state, self.head_width());
        let cached = Memory::<K>::capacity(&self.config) * head_width;
        let layer_len = self.config.text_heads * cached;
        let Stream { parts, digits, .. } = &mut memory.stream;
        let tasks = (
            &layer.self_heads,
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

    fn attend_audio(
        &self,
        index: usize,
        layer: &Layer<K>,
        count: usize,
        memory: &mut Memory<K>,
        heard: &Heard<K>,
        looking: &mut Looking,
    ) {
        let (kernel, width, head_width) = (self.kernel, self.config.text_state, self.head_width());
        let (heads, frames) = (self.config.text_heads, looking.frames);
        let heard_len = scores_width::<K>(self.config.audio_ctx) * head_width;
        let look_len = if looking.wanted { count * frames } else { 1 };
        memory.looks.resize(heads * look_len, 0.0);
        let Stream { parts, digits, .. } = &mut memory.stream;
        let tasks = (
            &layer.cross_heads,
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
                let watched = looking.wanted && self.alignment_heads.contains(&(index, number));
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
        let (kernel, frames, head_width) = (self.kernel, features.context, self.head_width());
        let (heads, width) = (self.config.text_heads, self.config.text_state);
        if frames == 0 || frames > self.config.audio_ctx {
            return Err(DecoderError::Frames(frames));
        }
        let len = scores_width::<K>(self.config.audio_ctx) * head_width;
        let rows = scores_width::<K>(frames);
        let mut window = self.windows.acquire();
        let Heard { keys, values } = &mut *window;
        (keys.par_chunks_mut(len), values.par_chunks_mut(len))
            .into_par_iter()
            .enumerate()
            .try_for_each(|(task, (keys, values))| {
                let (layer, head) = (task / heads, task % heads);
                let cross = features.cross.get(layer).ok_or(DecoderError::Foreign)?;
                let (k, v) = (cross.k.as_slice(), cross.v.as_slice());
                let (Some(k), Some(v)) = (k, v) else {
                    return Err(DecoderError::Foreign);
                };
                let sink = Keys {
                    out: keys,
                    head_width,
                    first: 0,
                };
                let columns = head * head_width..(head + 1) * head_width;
                kernel.vectorize(Transfer {
                    from: &k[..frames * width],
                    stride: width,
                    columns: columns.clone(),
                    rows,
                    sink,
                });
                let sink = Values {
                    out: values,
                    head_width,
                    first: 0,
                };
                kernel.vectorize(Transfer {
                    from: &v[..frames * width],
                    stride: width,
                    columns,
                    rows,
                    sink,
                });
                Ok(())
            })?;
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
        let memory = self.memory(cache)?;
        for (block, tokens) in tokens.chunks(BLOCK).enumerate() {
            let row = block * BLOCK;
            let attention = attention.as_deref_mut();
            self.feed(
                tokens,
                past + row,
                memory,
                row,
                heard,
                audio.frames(),
                attention,
            );
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
        kernel.vectorize(Round {
            rows: &memory.hidden[index * width..][..width],
            depth: width,
            out: digits,
        });
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

/// What somebody wants to see of cross-attention.
struct Looking {
    frames: usize,
    wanted: bool,
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
    kernel.vectorize(Round {
        rows: &rows[..count * depth],
        depth,
        out: digits,
    });
    let width = out.columns();
    let sink = ToFloats {
        out: &mut part[..count * width],
        width,
    };
    multiply(kernel, digits, count, out, sink);
}

/// `x += parts`, then `x` normalised, for some rows of a block.
struct Settle<'a> {
    norm: &'a Norm,
    /// One part per head, `stride` apart; may be empty.
    parts: &'a [f32],
    stride: usize,
    /// Where these rows begin in each part.
    first: usize,
    x: &'a mut [f32],
    normed: &'a mut [f32],
}

impl<K: Kernel> Operation<K> for Settle<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let width = self.norm.weight.len();
        for part in self.parts.chunks_exact(self.stride) {
            let part = part[self.first..].chunks_exact(K::LANES);
            for (x, part) in self.x.chunks_exact_mut(K::LANES).zip(part) {
                kernel.store(kernel.add(kernel.load(x), kernel.load(part)), x);
            }
        }
        let rows = self.x.chunks_exact(width);
        for (x, normed) in rows.zip(self.normed.chunks_exact_mut(width)) {
            normalize(kernel, self.norm, x, |i, y| {
                kernel.store(y, &mut normed[i..])
            });
        }
    }
}
