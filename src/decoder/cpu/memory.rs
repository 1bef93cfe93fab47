// SPDX-License-Identifier: MPL-2.0
//! What belongs to one window, allocated once and lent to window after window.

use super::stream::Stream;
use crate::kernel::buffer::Buffer;
use crate::kernel::quantized::Digits;
use crate::kernel::recall::scores_width;
use crate::kernel::{Kernel, MOST_TILE_ROWS, tile_rows};
use crate::model::Config;

/// Tokens that pass through the layers at once: a multiple of every kernel's tile rows.
pub const BLOCK: usize = 96;

/// The decoder's memory of the tokens of one window, and room for those that pass through.
pub struct Memory<K: Kernel> {
    /// (layers, heads, [`Memory::capacity`], head width), in the layouts of [`crate::kernel::sink::Keys`] and
    /// [`crate::kernel::sink::Values`].
    pub keys: Buffer<K::Value>,
    pub values: Buffer<K::Value>,
    /// (text_ctx, d): the tokens fed last, after the last normalisation.
    pub hidden: Buffer<f32>,
    pub stream: Stream,
    /// One per head.
    pub scratches: Vec<Scratch<K>>,
    /// (heads, tokens, frames): the softened weights of a layer's alignment heads; empty until somebody asks.
    pub looks: Vec<f32>,
}

/// What the task of one head needs.
pub struct Scratch<K: Kernel> {
    /// (BLOCK, head width)
    pub queries: Buffer<K::Value>,
    /// (tile rows, keys)
    pub scores: Buffer<f32>,
    /// (tile rows, keys)
    pub weights: Buffer<K::Value>,
    /// (BLOCK, 4 head widths): attention's result, or a slice of the feed-forward half's hidden rows.
    pub rows: Buffer<f32>,
    /// The same, rounded.
    pub digits: Digits,
}

impl<K: Kernel> Memory<K> {
    pub fn new(config: &Config) -> Self {
        let (width, heads) = (config.text_state, config.text_heads);
        let cached = config.text_layers * Self::capacity(config) * width;
        Self {
            keys: Buffer::new(cached),
            values: Buffer::new(cached),
            hidden: Buffer::new(config.text_ctx * width),
            stream: Stream::new::<K>(width, heads),
            scratches: (0..heads).map(|_| Scratch::new(config)).collect(),
            looks: Vec::new(),
        }
    }

    /// Tokens that the keys and values have room for: all positions, and what the last tile writes beyond.
    pub fn capacity(config: &Config) -> usize {
        (config.text_ctx + MOST_TILE_ROWS).next_multiple_of(K::COLUMNS)
    }

    /// Forgets the window before. Values beyond the tokens fed are multiplied by zero, so they must be numbers.
    pub fn clear(&mut self) {
        self.values.fill(K::Value::default());
    }
}

impl<K: Kernel> Scratch<K> {
    fn new(config: &Config) -> Self {
        let head_width = config.text_state / config.text_heads;
        let keys = scores_width::<K>(config.audio_ctx.max(Memory::<K>::capacity(config)));
        Self {
            queries: Buffer::new(BLOCK * head_width),
            scores: Buffer::new(tile_rows::<K>() * keys),
            weights: Buffer::new(tile_rows::<K>() * keys),
            rows: Buffer::new(BLOCK * 4 * head_width),
            digits: Digits::new::<K>(BLOCK, 4 * head_width),
        }
    }
}
