// SPDX-License-Identifier: MPL-2.0
//! The memory that windows pass through, allocated once per encoder.

use std::sync::{Mutex, PoisonError};

use super::weights::slice_width;
use whisper_kernels::GemmKernel;
use whisper_kernels::attention::{self, Block};
use whisper_kernels::buffer::{Buffer, stride};
use whisper_kernels::linear::Linear;
use whisper_model::Config;

/// Rows that one task works on: a multiple of every kernel's tile rows and columns.
pub const BLOCK: usize = 96;

/// Activations of a whole window. All row counts are rounded up to whole blocks.
pub struct Workspace<K: GemmKernel> {
    /// (1 + frames + 1, n_mels): a row of zeros before and after the frames, as the convolution pads; and what the last
    /// row of its left operand lacks to [`GemmKernel::K_ALIGN`].
    pub mel: Buffer<K::Value>,
    /// (1 + frames + 1, d): the first convolution's output, padded alike for the second one.
    pub stem: Buffer<K::Value>,
    /// (rows, d): the residual stream.
    pub x: Buffer<f32>,
    /// (rows, [`stride`] of d): the residual stream normalised for what reads it next.
    pub normed: Buffer<K::Value>,
    /// (blocks, heads): queries, keys and values.
    pub heads: Vec<K::Attention>,
    /// (heads, rows, head width), row-major: attention's output.
    pub mixed: Buffer<K::Value>,
}

impl<K: GemmKernel> Workspace<K> {
    pub fn new(config: &Config) -> Self {
        let (rows, width) = (config.audio_ctx.next_multiple_of(BLOCK), config.audio_state);
        let frames = 2 * rows;
        Self {
            mel: Buffer::new((frames + 2) * config.n_mels + K::K_ALIGN),
            stem: Buffer::new((frames + 2) * width),
            x: Buffer::new(rows * width),
            normed: Buffer::new(rows * stride::<K::Value>(width)),
            heads: (0..config.audio_heads * rows / BLOCK)
                .map(|_| K::Attention::new(BLOCK, width / config.audio_heads))
                .collect(),
            mixed: Buffer::new(rows * width),
        }
    }
}

/// What one task needs besides, small enough for the second-level cache.
pub struct Scratch<K: GemmKernel> {
    pub attention: attention::Scratch<K>,
    /// What [`Block::fill`] needs.
    pub head: Buffer<K::Value>,
    /// (BLOCK, [`stride`] of d)
    pub rows: Buffer<K::Value>,
    /// (BLOCK, [`stride`] of a slice's width)
    pub hidden: Buffer<K::Value>,
    /// Either of them as the left operand of the feed-forward layers, where that is not the values themselves.
    pub left: Buffer<<K::Linear as Linear<K>>::Element>,
}

impl<K: GemmKernel> Scratch<K> {
    fn new(config: &Config) -> Self {
        let head_width = config.audio_state / config.audio_heads;
        let slice = slice_width::<K>(config);
        Self {
            attention: attention::Scratch::new(BLOCK, head_width),
            head: Buffer::new(K::Attention::room(BLOCK, head_width)),
            rows: Buffer::new(BLOCK * stride::<K::Value>(config.audio_state)),
            hidden: Buffer::new(BLOCK * stride::<K::Value>(slice)),
            left: Buffer::new(K::Linear::room(BLOCK, slice.max(config.audio_state))),
        }
    }
}

/// Scratches that no task is using; as many exist as tasks have ever run at once.
pub struct Scratches<K: GemmKernel> {
    config: Config,
    idle: Mutex<Vec<Scratch<K>>>,
}

impl<K: GemmKernel> Scratches<K> {
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            idle: Mutex::default(),
        }
    }

    /// Lends a scratch to `task`.
    pub fn with<R>(&self, task: impl FnOnce(&mut Scratch<K>) -> R) -> R {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = idle().pop();
        let mut scratch = scratch.unwrap_or_else(|| Scratch::new(&self.config));
        let result = task(&mut scratch);
        idle().push(scratch);
        result
    }
}
