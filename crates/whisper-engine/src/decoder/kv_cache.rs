// SPDX-License-Identifier: MPL-2.0
//! Keys and values that attention reads: of a window, and of the tokens fed so far.
//!
//! They lie in the layouts of [`whisper_kernels::epilogue::PackKeys`] and
//! [`whisper_kernels::epilogue::PackValues`], in the number format of the decoder's kernel.

use whisper_kernels::GemmKernel;
use whisper_kernels::decoder_attention::padded_keys;
use whisper_kernels::element::ValueBuffer;
use whisper_model::Config;

/// Cross-attention's keys and values of one window, each `[layers, heads, audio_ctx in whole
/// panels, head width]`.
pub struct CrossKvCache {
    /// All keys.
    pub keys: ValueBuffer,
    /// All values.
    pub values: ValueBuffer,
}

impl CrossKvCache {
    /// Zeros, for windows of a model of these dimensions.
    pub fn new<K: GemmKernel>(config: &Config) -> Self {
        let len = config.text_layers * config.text_heads * Self::head_len::<K>(config);
        Self {
            keys: ValueBuffer::new::<K::Value>(len),
            values: ValueBuffer::new::<K::Value>(len),
        }
    }

    /// Elements of one layer and head.
    pub fn head_len<K: GemmKernel>(config: &Config) -> usize {
        padded_keys::<K>(config.audio_ctx) * (config.text_state / config.text_heads)
    }
}

/// Self-attention's keys and values of some sequences, each `[layers, heads, sequences, capacity,
/// head width]`.
pub struct KvCache {
    /// All keys.
    pub keys: ValueBuffer,
    /// All values.
    pub values: ValueBuffer,
}

impl KvCache {
    /// Zeros, for so many sequences of a model of these dimensions.
    pub fn new<K: GemmKernel>(config: &Config, sequences: usize) -> Self {
        let sequences = config.text_layers * config.text_heads * sequences;
        let len = sequences * Self::sequence_len::<K>(config);
        Self {
            keys: ValueBuffer::new::<K::Value>(len),
            values: ValueBuffer::new::<K::Value>(len),
        }
    }

    /// Tokens of a sequence: all positions, in whole panels.
    pub fn capacity<K: GemmKernel>(config: &Config) -> usize {
        config.text_ctx.next_multiple_of(K::NR)
    }

    /// Elements of one layer, head and sequence.
    pub fn sequence_len<K: GemmKernel>(config: &Config) -> usize {
        Self::capacity::<K>(config) * (config.text_state / config.text_heads)
    }
}
