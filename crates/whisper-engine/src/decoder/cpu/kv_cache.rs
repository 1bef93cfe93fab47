// SPDX-License-Identifier: MPL-2.0
//! What belongs to the texts of some windows, allocated once and lent to window after window.

use super::residual::Stream;
use crate::decoder::MOST_TEXTS;
use whisper_kernels::buffer::AlignedBuffer;
use whisper_kernels::decoder_attention::padded_keys;
use whisper_kernels::quantize::QuantizedRows;
use whisper_kernels::{GemmKernel, mr};
use whisper_model::Config;

/// Tokens that pass through the layers at once: a multiple of every kernel's tile rows.
pub const BLOCK: usize = 96;
const _: () = assert!(MOST_TEXTS <= BLOCK);

/// The decoder's memory of the tokens of some texts, and room for those that pass through.
pub struct KvCache<K: GemmKernel> {
    /// How many.
    pub texts: usize,
    /// (layers, heads, texts, [`KvCache::capacity`], head width), in the layouts of [`whisper_kernels::epilogue::PackKeys`] and
    /// [`whisper_kernels::epilogue::PackValues`].
    pub keys: AlignedBuffer<K::Value>,
    pub values: AlignedBuffer<K::Value>,
    /// (text_ctx, d): the tokens fed last, after the last normalisation.
    pub hidden: AlignedBuffer<f32>,
    /// Logits of some of them: (tasks of the projection, tokens, outputs of a task).
    pub logits: Vec<f32>,
    pub stream: Stream,
    /// One per head.
    pub scratches: Vec<Scratch<K>>,
    /// (heads, tokens, frames): the softened weights of a layer's alignment heads; empty until somebody asks.
    pub looks: Vec<f32>,
}

/// What the task of one head needs.
pub struct Scratch<K: GemmKernel> {
    /// (BLOCK, head width)
    pub queries: AlignedBuffer<K::Value>,
    /// (tile rows, keys)
    pub scores: AlignedBuffer<f32>,
    /// (tile rows, keys)
    pub weights: AlignedBuffer<K::Value>,
    /// (BLOCK, 4 head widths): attention's result, or a slice of the feed-forward half's hidden rows.
    pub rows: AlignedBuffer<f32>,
    /// The same, rounded.
    pub digits: QuantizedRows<i16>,
}

impl<K: GemmKernel> KvCache<K> {
    pub fn new(config: &Config, texts: usize) -> Self {
        let (width, heads) = (config.text_state, config.text_heads);
        let cached = config.text_layers * texts * Self::capacity(config) * width;
        Self {
            texts,
            keys: AlignedBuffer::new(cached),
            values: AlignedBuffer::new(cached),
            hidden: AlignedBuffer::new(config.text_ctx * width),
            logits: Vec::new(),
            stream: Stream::new::<K>(width, heads),
            scratches: (0..heads).map(|_| Scratch::new(config)).collect(),
            looks: Vec::new(),
        }
    }

    /// Tokens of a text that the keys and values have room for: all positions, in whole panels.
    pub fn capacity(config: &Config) -> usize {
        config.text_ctx.next_multiple_of(K::NR)
    }

    /// Keeps the last rows that passed through, `count` of them, in `hidden` from `at` on.
    pub fn keep(&mut self, at: usize, count: usize) {
        let rows = self.stream.normed(count);
        self.hidden[at..][..rows.len()].copy_from_slice(rows);
    }

    /// Forgets the windows before. Values beyond the tokens fed are multiplied by zero, so they must be numbers.
    pub fn clear(&mut self) {
        self.values.fill(K::Value::default());
    }
}

impl<K: GemmKernel> Scratch<K> {
    fn new(config: &Config) -> Self {
        let head_width = config.text_state / config.text_heads;
        let keys = padded_keys::<K>(config.audio_ctx.max(KvCache::<K>::capacity(config)));
        Self {
            queries: AlignedBuffer::new(BLOCK * head_width),
            scores: AlignedBuffer::new(mr::<K>() * keys),
            weights: AlignedBuffer::new(mr::<K>() * keys),
            rows: AlignedBuffer::new(BLOCK * 4 * head_width),
            digits: QuantizedRows::new::<K>(BLOCK, 4 * head_width),
        }
    }
}
