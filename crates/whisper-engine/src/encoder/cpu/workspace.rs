// SPDX-License-Identifier: MPL-2.0
//! The memory that windows pass through, allocated once per encoder.

use std::sync::{Mutex, PoisonError};

use super::weights::slice_width;
use whisper_kernels::EncoderKernel;
use whisper_kernels::buffer::{AlignedBuffer, padded_stride};
use whisper_kernels::encoder_attention::{self, AttentionBlock};
use whisper_kernels::linear::Linear;
use whisper_model::Config;

/// Rows that one task works on: a multiple of every kernel's tile rows and columns.
pub const BLOCK: usize = 96;

/// Activations of a whole window. All row counts are rounded up to whole blocks.
pub struct Workspace<K: EncoderKernel> {
    /// (1 + frames + 1, n_mels): a row of zeros before and after the frames, as the convolution pads; and what the last
    /// row of its left operand lacks to [`EncoderKernel::K_ALIGN`].
    pub mel: AlignedBuffer<K::Value>,
    /// (1 + frames + 1, d): the first convolution's output, padded alike for the second one.
    pub stem: AlignedBuffer<K::Value>,
    /// (rows, d): the residual stream.
    pub x: AlignedBuffer<f32>,
    /// (rows, [`padded_stride`] of d): the residual stream normalised for what reads it next.
    pub normed: AlignedBuffer<K::Value>,
    /// (blocks, heads): queries, keys and values.
    pub heads: Vec<K::Attention>,
    /// (heads, rows, head width), row-major: attention's output.
    pub mixed: AlignedBuffer<K::Value>,
}

impl<K: EncoderKernel> Workspace<K> {
    pub fn new(config: &Config) -> Self {
        let (rows, width) = (config.audio_ctx.next_multiple_of(BLOCK), config.audio_state);
        let frames = 2 * rows;
        Self {
            mel: AlignedBuffer::new((frames + 2) * config.n_mels + K::K_ALIGN),
            stem: AlignedBuffer::new((frames + 2) * width),
            x: AlignedBuffer::new(rows * width),
            normed: AlignedBuffer::new(rows * padded_stride::<K::Value>(width)),
            heads: (0..config.audio_heads * rows / BLOCK)
                .map(|_| K::Attention::new(BLOCK, width / config.audio_heads))
                .collect(),
            mixed: AlignedBuffer::new(rows * width),
        }
    }
}

/// What one task needs besides, small enough for the second-level cache.
pub struct Scratch<K: EncoderKernel> {
    pub attention: encoder_attention::Scratch<K, K::Attention>,
    /// What [`AttentionBlock::fill`] needs.
    pub head: AlignedBuffer<K::Value>,
    /// (BLOCK, [`padded_stride`] of d)
    pub rows: AlignedBuffer<K::Value>,
    /// (BLOCK, [`padded_stride`] of a slice's width)
    pub hidden: AlignedBuffer<K::Value>,
    /// Either of them as the left operand of the feed-forward layers, where that is not the values themselves.
    pub left: <K::Linear as Linear<K>>::Scratch,
}

impl<K: EncoderKernel> Scratch<K> {
    fn new(config: &Config) -> Self {
        let head_width = config.audio_state / config.audio_heads;
        let slice = slice_width::<K>(config);
        Self {
            attention: encoder_attention::Scratch::new(BLOCK, head_width),
            head: AlignedBuffer::new(K::Attention::scratch_len(BLOCK, head_width)),
            rows: AlignedBuffer::new(BLOCK * padded_stride::<K::Value>(config.audio_state)),
            hidden: AlignedBuffer::new(BLOCK * padded_stride::<K::Value>(slice)),
            left: K::Linear::scratch(BLOCK, slice.max(config.audio_state)),
        }
    }
}

/// Scratches that no task is using; as many exist as tasks have ever run at once.
pub struct Scratches<K: EncoderKernel> {
    config: Config,
    idle: Mutex<Vec<Scratch<K>>>,
}

impl<K: EncoderKernel> Scratches<K> {
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
