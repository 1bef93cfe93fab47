// SPDX-License-Identifier: MPL-2.0
//! The rounds of self-attention and cross-attention. Rows of all sequences are multiplied together;
//! then each sequence attends to what is its own.

use std::ops::Range;

use rayon::prelude::*;

use super::batch::{KernelState, TokenBatch, token_count, with_rows};
use super::graph::CpuTextDecoder;
use super::product::{contribute, multiply};
use super::weights::{CrossHead, SelfHead};
use crate::decoder::alignment::Attention;
use crate::decoder::kv_cache::{CrossKvCache, KvCache};
use crate::decoder::residual::{BLOCK, ResidualStream};
use crate::decoder::workspace::{HeadScratch, Workspace};
use whisper_kernels::GemmKernel;
use whisper_kernels::decoder_attention::DecoderAttention;
use whisper_kernels::epilogue::{
    Identity, PackKeys, PackValues, StoreF32, StoreValues, TilesFromRows,
};
use whisper_kernels::gemm::Rows;

impl<K: GemmKernel> CpuTextDecoder<K> {
    /// Self-attention of layer `index`: every head of all tokens.
    pub(super) fn attend_self(
        &self,
        index: usize,
        batches: &[TokenBatch<'_, K>],
        state: &mut KernelState<'_, K>,
    ) {
        let (kernel, width, head_width) = (self.kernel, self.config.text_state, self.head_width());
        let count = token_count(batches);
        let heads = self.config.text_layers * self.config.text_heads;
        let (head_len, sequence_len) = (
            state.keys.len() / heads,
            KvCache::sequence_len::<K>(&self.config),
        );
        let layer = index * self.config.text_heads * head_len..;
        let ResidualStream {
            parts, quantized, ..
        } = &mut *state.residual;
        let tasks = (
            &self.weights.layers[index].self_heads,
            &mut *state.heads,
            state.queries.par_chunks_mut(BLOCK * head_width),
            state
                .probabilities
                .par_chunks_mut(Workspace::tile_len::<K>(&self.config)),
            parts.par_chunks_mut(BLOCK * width),
            state.keys[layer.clone()].par_chunks_mut(head_len),
            state.values[layer].par_chunks_mut(head_len),
        );
        tasks.into_par_iter().for_each(
            |(head, scratch, queries, probabilities, part, keys, values)| {
                let SelfHead { q, k, v, out } = head;
                let own = |batch: &TokenBatch<K>| {
                    batch.sequence * sequence_len..(batch.sequence + 1) * sequence_len
                };
                let epilogue = StoreValues::new(queries, head_width, Identity);
                multiply(kernel, quantized, count, q.view(), epilogue);

                let rows = &mut scratch.rows[..count * head_width];
                multiply(kernel, quantized, count, k.view(), floats(rows, head_width));
                for (batch, range) in with_rows(batches) {
                    let epilogue = PackKeys {
                        out: &mut keys[own(batch)],
                        head_width,
                        first: batch.past,
                    };
                    kernel.dispatch(transfer(rows, range, head_width, epilogue));
                }
                multiply(kernel, quantized, count, v.view(), floats(rows, head_width));
                for (batch, range) in with_rows(batches) {
                    let epilogue = PackValues {
                        out: &mut values[own(batch)],
                        head_width,
                        first: batch.past,
                    };
                    kernel.dispatch(transfer(rows, range, head_width, epilogue));
                }

                let mut task = HeadTask {
                    head_width,
                    queries,
                    probabilities,
                    scratch,
                };
                for (batch, range) in with_rows(batches) {
                    let attention = HeadAttention {
                        keys: &keys[own(batch)],
                        values: &values[own(batch)],
                        context: batch.past + range.len(),
                        past: Some(batch.past),
                    };
                    task.attend(kernel, range, attention, &mut []);
                }
                let HeadScratch {
                    rows, quantized, ..
                } = scratch;
                let rows = &rows[..count * head_width];
                contribute(
                    kernel,
                    rows,
                    quantized,
                    out.view(),
                    &mut part[..count * width],
                );
            },
        );
    }

    /// Cross-attention of layer `index`: every head of all tokens. `attention` is given what
    /// alignment heads attend to.
    pub(super) fn attend_cross(
        &self,
        index: usize,
        batches: &[TokenBatch<'_, K>],
        state: &mut KernelState<'_, K>,
        attention: Option<&mut Attention>,
    ) {
        let (kernel, width, head_width) = (self.kernel, self.config.text_state, self.head_width());
        let heads = self.config.text_heads;
        let window_len = CrossKvCache::head_len::<K>(&self.config);
        let count = token_count(batches);
        let alignment_len = match (&attention, batches) {
            (Some(_), [batch]) => count * batch.window.frames,
            _ => 1,
        };
        state.alignment.resize(heads * alignment_len, 0.0);
        let ResidualStream {
            parts, quantized, ..
        } = &mut *state.residual;
        let tasks = (
            &self.weights.layers[index].cross_heads,
            &mut *state.heads,
            state.queries.par_chunks_mut(BLOCK * head_width),
            state
                .probabilities
                .par_chunks_mut(Workspace::tile_len::<K>(&self.config)),
            parts.par_chunks_mut(BLOCK * width),
            state.alignment.par_chunks_mut(alignment_len),
        );
        let tasks = tasks.into_par_iter().enumerate();
        tasks.for_each(
            |(number, (head, scratch, queries, probabilities, part, alignment))| {
                let CrossHead { q, out } = head;
                let epilogue = StoreValues::new(queries, head_width, Identity);
                multiply(kernel, quantized, count, q.view(), epilogue);
                let is_watched =
                    attention.is_some() && self.alignment_heads.contains(&(index, number));
                let mut task = HeadTask {
                    head_width,
                    queries,
                    probabilities,
                    scratch,
                };
                for (batch, range) in with_rows(batches) {
                    let at = (index * heads + number) * window_len;
                    let own = at + batch.window.first * head_width..at + window_len;
                    let attention = HeadAttention {
                        keys: &batch.window.keys[own.clone()],
                        values: &batch.window.values[own],
                        context: batch.window.frames,
                        past: None,
                    };
                    let alignment = if is_watched { &mut *alignment } else { &mut [] };
                    task.attend(kernel, range, attention, alignment);
                }
                let HeadScratch {
                    rows, quantized, ..
                } = scratch;
                let rows = &rows[..count * head_width];
                contribute(
                    kernel,
                    rows,
                    quantized,
                    out.view(),
                    &mut part[..count * width],
                );
            },
        );
        if let Some(attention) = attention {
            self.record(index, alignment_len, state.alignment, attention);
        }
    }

    /// Hands the rows of this layer's alignment heads, each `len` numbers, to `attention`.
    fn record(&self, layer: usize, len: usize, alignment: &[f32], attention: &mut Attention) {
        for (slot, (of, head)) in self.alignment_heads.iter().enumerate() {
            if *of == layer {
                attention.record(slot, &alignment[head * len..][..len]);
            }
        }
    }
}

fn floats(out: &mut [f32], width: usize) -> StoreF32<'_> {
    StoreF32 { out, width }
}

/// The rows `range` of one head, to where keys or values are kept.
fn transfer<S>(
    rows: &[f32],
    range: Range<usize>,
    head_width: usize,
    epilogue: S,
) -> TilesFromRows<'_, S> {
    TilesFromRows {
        rows: range.len(),
        from: &rows[range.start * head_width..range.end * head_width],
        stride: head_width,
        columns: 0..head_width,
        epilogue,
    }
}

/// What tokens of a sequence attend to with one head.
struct HeadAttention<'a, K: GemmKernel> {
    keys: &'a [K::Value],
    values: &'a [K::Value],
    /// How many keys count.
    context: usize,
    /// For a causal mask: query `r` attends to keys `0..past + r + 1`.
    past: Option<usize>,
}

/// What the task of a head works with.
struct HeadTask<'a, K: GemmKernel> {
    head_width: usize,
    queries: &'a [K::Value],
    probabilities: &'a mut [K::Value],
    scratch: &'a mut HeadScratch,
}

impl<K: GemmKernel> HeadTask<'_, K> {
    /// Takes the queries of the rows `range` to these rows of `scratch.rows`. `alignment` is given
    /// the softmax, `[rows, context]`, unless it is empty.
    fn attend(
        &mut self,
        kernel: K,
        range: Range<usize>,
        attention: HeadAttention<'_, K>,
        alignment: &mut [f32],
    ) {
        let head_width = self.head_width;
        kernel.dispatch(DecoderAttention {
            queries: Rows {
                values: &self.queries[range.start * head_width..],
                stride: head_width,
                count: range.len(),
            },
            keys: attention.keys,
            values: attention.values,
            context: attention.context,
            past: attention.past,
            head_width,
            out: &mut self.scratch.rows[range.start * head_width..range.end * head_width],
            weights_out: alignment,
            scores: &mut self.scratch.scores,
            weights: &mut *self.probabilities,
        });
    }
}
