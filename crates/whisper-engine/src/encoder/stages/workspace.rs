// SPDX-License-Identifier: MPL-2.0
//! The memory that windows pass through, allocated once per encoder.

use std::sync::{Mutex, PoisonError};

use super::blocks::BLOCK;
use super::mlp::MlpScratch;
use whisper_kernels::EncoderKernel;
use whisper_kernels::buffer::{AlignedBuffer, padded_stride};
use whisper_kernels::encoder_attention::{self, AttentionBlock};
use whisper_model::Config;

/// Activations of a whole window. All row counts are rounded up to whole blocks.
pub struct Workspace<K: EncoderKernel> {
    /// Attention heads of a layer.
    pub head_count: usize,
    width: usize,
    /// `[1 + frames + 1, n_mels]`: a row of zeros before and after the frames, as the convolution
    /// pads; and what the last row of its left operand lacks to [`EncoderKernel::K_ALIGN`].
    pub mel: AlignedBuffer<K::Value>,
    /// `[1 + frames + 1, d]`: the first convolution's output, padded alike for the second one.
    pub stem: AlignedBuffer<K::Value>,
    /// `[rows, d]`: the residual stream.
    pub x: AlignedBuffer<f32>,
    /// `[rows, stride of d]`: the residual stream normalised for what reads it next.
    pub normed: AlignedBuffer<K::Value>,
    /// `[blocks, heads]`: queries, keys and values.
    pub heads: Vec<K::Attention>,
    /// `[heads, rows, head width]`: attention's output.
    pub attended: AlignedBuffer<K::Value>,
}

impl<K: EncoderKernel> Workspace<K> {
    /// For windows of a model of these dimensions.
    pub fn new(config: &Config) -> Self {
        let (rows, width) = (config.audio_ctx.next_multiple_of(BLOCK), config.audio_state);
        let frames = 2 * rows;
        Self {
            head_count: config.audio_heads,
            width,
            mel: AlignedBuffer::new((frames + 2) * config.n_mels + K::K_ALIGN),
            stem: AlignedBuffer::new((frames + 2) * width),
            x: AlignedBuffer::new(rows * width),
            normed: AlignedBuffer::new(rows * padded_stride::<K::Value>(width)),
            heads: (0..config.audio_heads * rows / BLOCK)
                .map(|_| K::Attention::new(BLOCK, width / config.audio_heads))
                .collect(),
            attended: AlignedBuffer::new(rows * width),
        }
    }

    /// Values of a row that belong to one head.
    pub fn head_width(&self) -> usize {
        self.width / self.head_count
    }
}

/// What one task needs besides, small enough for the second-level cache.
pub struct Scratch<K: EncoderKernel> {
    /// For the queries of one head and block.
    pub attention: encoder_attention::Scratch<K, K::Attention>,
    /// What [`AttentionBlock::fill`] needs.
    pub head: AlignedBuffer<K::Value>,
    /// `[BLOCK, stride of d]`: rows whose heads are joined.
    pub rows: AlignedBuffer<K::Value>,
    /// For a slice of the feed-forward half.
    pub mlp: MlpScratch<K>,
}

impl<K: EncoderKernel> Scratch<K> {
    fn new(config: &Config) -> Self {
        let head_width = config.audio_state / config.audio_heads;
        Self {
            attention: encoder_attention::Scratch::new(BLOCK, head_width),
            head: AlignedBuffer::new(K::Attention::scratch_len(BLOCK, head_width)),
            rows: AlignedBuffer::new(BLOCK * padded_stride::<K::Value>(config.audio_state)),
            mlp: MlpScratch::new(config),
        }
    }
}

/// Scratches that no task is using; as many exist as tasks have ever run at once.
pub struct Scratches<K: EncoderKernel> {
    config: Config,
    idle: Mutex<Vec<Scratch<K>>>,
}

impl<K: EncoderKernel> Scratches<K> {
    /// None yet: tasks make them.
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
