// SPDX-License-Identifier: MPL-2.0
//! The rounds in which tokens look at others and at the audio: rows of all texts are multiplied together, then each text
//! looks at what is its own.

use std::ops::Range;

use rayon::prelude::*;

use super::cross_kv::Hearing;
use super::graph::{CpuGraph, TokenBatch, contribute, multiply};
use super::kv_cache::{BLOCK, KvCache, Scratch};
use super::residual::Stream;
use super::weights::{CrossHead, SelfHead};
use crate::decoder::Attention;
use whisper_kernels::GemmKernel;
use whisper_kernels::decoder_attention::{DecoderAttention, padded_keys};
use whisper_kernels::epilogue::{
    Identity, PackKeys, PackValues, StoreF32, StoreValues, TilesFromRows,
};
use whisper_kernels::gemm::Rows;

/// Each piece, and which rows are its own.
fn with_rows<'a, K: GemmKernel>(
    pieces: &'a [TokenBatch<'a, K>],
) -> impl Iterator<Item = (&'a TokenBatch<'a, K>, Range<usize>)> {
    pieces.iter().scan(0, |end, piece| {
        let start = *end;
        *end += piece.tokens.len();
        Some((piece, start..*end))
    })
}

impl<K: GemmKernel> CpuGraph<K> {
    /// Every head of layer `index`: what the tokens say to those before them.
    pub(super) fn attend_self(
        &self,
        index: usize,
        pieces: &[TokenBatch<'_, K>],
        memory: &mut KvCache<K>,
    ) {
        let (kernel, width, head_width) = (self.kernel, self.config.text_state, self.head_width());
        let text_len = KvCache::<K>::capacity(&self.config) * head_width;
        let head_len = memory.texts * text_len;
        let layer = index * self.config.text_heads * head_len..;
        let Stream { parts, digits, .. } = &mut memory.stream;
        let tasks = (
            &self.weights.layers[index].self_heads,
            &mut memory.scratches,
            parts.par_chunks_mut(BLOCK * width),
            memory.keys[layer.clone()].par_chunks_mut(head_len),
            memory.values[layer].par_chunks_mut(head_len),
        );
        tasks
            .into_par_iter()
            .for_each(|(head, scratch, part, keys, values)| {
                let SelfHead { q, k, v, out } = head;
                let count = pieces.iter().map(|piece| piece.tokens.len()).sum();
                let texts =
                    |piece: &TokenBatch<K>| piece.text * text_len..(piece.text + 1) * text_len;
                let epilogue = StoreValues::new(&mut scratch.queries, head_width, Identity);
                multiply(kernel, digits, count, q.view(), epilogue);

                let rows = &mut scratch.rows[..count * head_width];
                multiply(kernel, digits, count, k.view(), floats(rows, head_width));
                for (piece, own) in with_rows(pieces) {
                    let epilogue = PackKeys {
                        out: &mut keys[texts(piece)],
                        head_width,
                        first: piece.past,
                    };
                    kernel.dispatch(transfer(rows, own, head_width, epilogue));
                }
                multiply(kernel, digits, count, v.view(), floats(rows, head_width));
                for (piece, own) in with_rows(pieces) {
                    let epilogue = PackValues {
                        out: &mut values[texts(piece)],
                        head_width,
                        first: piece.past,
                    };
                    kernel.dispatch(transfer(rows, own, head_width, epilogue));
                }

                for (piece, own) in with_rows(pieces) {
                    let look = Look {
                        keys: &keys[texts(piece)],
                        values: &values[texts(piece)],
                        context: piece.past + own.len(),
                        past: Some(piece.past),
                    };
                    look.recall(kernel, own, head_width, scratch, &mut []);
                }
                let Scratch { rows, digits, .. } = scratch;
                contribute(kernel, rows, head_width, count, digits, out.view(), part);
            });
    }

    /// Every head of layer `index`: what the tokens hear. What alignment heads look at goes to `attention`.
    pub(super) fn attend_audio(
        &self,
        index: usize,
        pieces: &[TokenBatch<'_, K>],
        memory: &mut KvCache<K>,
        attention: Option<&mut Attention>,
    ) {
        let (kernel, width, head_width) = (self.kernel, self.config.text_state, self.head_width());
        let heads = self.config.text_heads;
        let heard_len = padded_keys::<K>(self.config.audio_ctx) * head_width;
        let count = pieces.iter().map(|piece| piece.tokens.len()).sum();
        let look_len = match (&attention, pieces) {
            (Some(_), [piece]) => count * piece.hearing.frames,
            _ => 1,
        };
        memory.looks.resize(heads * look_len, 0.0);
        let Stream { parts, digits, .. } = &mut memory.stream;
        let tasks = (
            &self.weights.layers[index].cross_heads,
            &mut memory.scratches,
            parts.par_chunks_mut(BLOCK * width),
            memory.looks.par_chunks_mut(look_len),
        );
        let tasks = tasks.into_par_iter().enumerate();
        tasks.for_each(|(number, (head, scratch, part, looks))| {
            let CrossHead { q, out } = head;
            let epilogue = StoreValues::new(&mut scratch.queries, head_width, Identity);
            multiply(kernel, digits, count, q.view(), epilogue);
            let is_watched = attention.is_some() && self.alignment_heads.contains(&(index, number));
            for (piece, own) in with_rows(pieces) {
                let Hearing { heard, frames } = piece.hearing;
                let at = (index * heads + number) * heard_len..;
                let look = Look {
                    keys: &heard.keys[at.clone()][..heard_len],
                    values: &heard.values[at][..heard_len],
                    context: frames,
                    past: None,
                };
                let looks = if is_watched { &mut *looks } else { &mut [] };
                look.recall(kernel, own, head_width, scratch, looks);
            }
            let Scratch { rows, digits, .. } = scratch;
            contribute(kernel, rows, head_width, count, digits, out.view(), part);
        });
        if let Some(attention) = attention {
            self.record(index, look_len, &memory.looks, attention);
        }
    }

    /// Hands the rows of this layer's alignment heads, each `len` numbers, to `attention`.
    fn record(&self, layer: usize, len: usize, looks: &[f32], attention: &mut Attention) {
        for (slot, (of, head)) in self.alignment_heads.iter().enumerate() {
            if *of == layer {
                attention.record(slot, &looks[head * len..][..len]);
            }
        }
    }
}

fn floats(out: &mut [f32], width: usize) -> StoreF32<'_> {
    StoreF32 { out, width }
}

/// Some rows of one head, to where keys or values are kept.
fn transfer<S>(
    rows: &[f32],
    own: Range<usize>,
    head_width: usize,
    epilogue: S,
) -> TilesFromRows<'_, S> {
    TilesFromRows {
        rows: own.len(),
        from: &rows[own.start * head_width..own.end * head_width],
        stride: head_width,
        columns: 0..head_width,
        epilogue,
    }
}

/// What some tokens of a text look at with one head.
struct Look<'a, K: GemmKernel> {
    keys: &'a [K::Value],
    values: &'a [K::Value],
    context: usize,
    past: Option<usize>,
}

impl<K: GemmKernel> Look<'_, K> {
    /// What the queries of the rows `own` find, to these rows of `scratch.rows`.
    fn recall(
        self,
        kernel: K,
        own: Range<usize>,
        head_width: usize,
        scratch: &mut Scratch<K>,
        looks: &mut [f32],
    ) {
        kernel.dispatch(DecoderAttention {
            queries: Rows {
                values: &scratch.queries[own.start * head_width..],
                stride: head_width,
                count: own.len(),
            },
            keys: self.keys,
            values: self.values,
            context: self.context,
            past: self.past,
            head_width,
            out: &mut scratch.rows[own.start * head_width..own.end * head_width],
            weights_out: looks,
            scores: &mut scratch.scores,
            weights: &mut scratch.weights,
        });
    }
}
