// SPDX-License-Identifier: MPL-2.0
//! The memory that tokens pass through, allocated once and lent to session after session.

use super::kv_cache::KvCache;
use super::residual::{BLOCK, ResidualStream};
use whisper_kernels::buffer::AlignedBuffer;
use whisper_kernels::decoder_attention::padded_keys;
use whisper_kernels::element::ValueBuffer;
use whisper_kernels::quantize::QuantizedRows;
use whisper_kernels::{GemmKernel, mr};
use whisper_model::Config;

/// Activations of a block of tokens.
pub struct Workspace {
    /// The residual stream.
    pub residual: ResidualStream,
    /// `[text_ctx, d]`: the tokens fed last, after the last normalisation.
    pub hidden: AlignedBuffer<f32>,
    /// Logits of some of them: `[tasks of the projection, tokens, outputs of a task]`.
    pub logits: Vec<f32>,
    /// `[heads, BLOCK, head width]`: queries.
    pub queries: ValueBuffer,
    /// `[heads, MR, keys]`: softmax of the scores of a tile of queries.
    pub probabilities: ValueBuffer,
    /// One per head.
    pub heads: Vec<HeadScratch>,
    /// `[heads, tokens, frames]`: what a layer's alignment heads attend to; empty until a caller
    /// asks.
    pub alignment: Vec<f32>,
}

/// What the task of one head needs besides.
pub struct HeadScratch {
    /// `[MR, keys]`: scores of a tile of queries.
    pub scores: AlignedBuffer<f32>,
    /// `[BLOCK, 4 head width]`: attention's result, or a slice of the MLP's hidden rows.
    pub rows: AlignedBuffer<f32>,
    /// The same in 16 bits.
    pub quantized: QuantizedRows<i16>,
}

impl Workspace {
    /// For a model of these dimensions.
    pub fn new<K: GemmKernel>(config: &Config) -> Self {
        let (width, heads) = (config.text_state, config.text_heads);
        Self {
            residual: ResidualStream::new::<K>(width, heads),
            hidden: AlignedBuffer::new(config.text_ctx * width),
            logits: Vec::new(),
            queries: ValueBuffer::new::<K::Value>(BLOCK * width),
            probabilities: ValueBuffer::new::<K::Value>(heads * Self::tile_len::<K>(config)),
            heads: (0..heads).map(|_| HeadScratch::new::<K>(config)).collect(),
            alignment: Vec::new(),
        }
    }

    /// Scores of a tile of queries against the keys of a window or of a sequence.
    pub fn tile_len<K: GemmKernel>(config: &Config) -> usize {
        let keys = config.audio_ctx.max(KvCache::capacity::<K>(config));
        mr::<K>() * padded_keys::<K>(keys)
    }
}

impl HeadScratch {
    fn new<K: GemmKernel>(config: &Config) -> Self {
        let wide = 4 * (config.text_state / config.text_heads);
        Self {
            scores: AlignedBuffer::new(Workspace::tile_len::<K>(config)),
            rows: AlignedBuffer::new(BLOCK * wide),
            quantized: QuantizedRows::new::<K>(BLOCK, wide),
        }
    }
}
