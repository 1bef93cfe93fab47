// SPDX-License-Identifier: MPL-2.0
//! What the decoder hears of one window.

use rayon::prelude::*;

use crate::decoder::DecoderError;
use crate::encoder::AudioFeatures;
use whisper_kernels::GemmKernel;
use whisper_kernels::buffer::AlignedBuffer;
use whisper_kernels::decoder_attention::padded_keys;
use whisper_kernels::epilogue::{PackKeys, PackValues, TilesFromRows};
use whisper_model::Config;

/// Cross-attention operands of one window: (layers, heads, audio_ctx in whole panels, head width), in the layouts of
/// [`whisper_kernels::epilogue::PackKeys`] and [`whisper_kernels::epilogue::PackValues`].
pub struct CrossKvCache<K: GemmKernel> {
    pub keys: AlignedBuffer<K::Value>,
    pub values: AlignedBuffer<K::Value>,
}

impl<K: GemmKernel> CrossKvCache<K> {
    pub fn new(config: &Config) -> Self {
        let len = config.text_layers * padded_keys::<K>(config.audio_ctx) * config.text_state;
        Self {
            keys: AlignedBuffer::new(len),
            values: AlignedBuffer::new(len),
        }
    }

    /// Rounds and rearranges what the encoder found; rows beyond become zeros.
    pub fn fill(
        &mut self,
        kernel: K,
        config: &Config,
        features: &AudioFeatures,
    ) -> Result<(), DecoderError> {
        let (heads, width) = (config.text_heads, config.text_state);
        let (head_width, frames) = (width / heads, features.context);
        let len = padded_keys::<K>(config.audio_ctx) * head_width;
        let rows = padded_keys::<K>(frames);
        let tasks = (
            self.keys.par_chunks_mut(len),
            self.values.par_chunks_mut(len),
        );
        let tasks = tasks.into_par_iter().enumerate();
        tasks.try_for_each(|(task, (keys, values))| {
            let (layer, head) = (task / heads, task % heads);
            let cross = features.cross.get(layer).ok_or(DecoderError::Foreign)?;
            let whole = cross.k.as_slice().zip(cross.v.as_slice());
            let (k, v) = whole.ok_or(DecoderError::Foreign)?;
            let columns = head * head_width..(head + 1) * head_width;
            kernel.dispatch(TilesFromRows {
                from: &k[..frames * width],
                stride: width,
                columns: columns.clone(),
                rows,
                epilogue: PackKeys {
                    out: keys,
                    head_width,
                    first: 0,
                },
            });
            kernel.dispatch(TilesFromRows {
                from: &v[..frames * width],
                stride: width,
                columns,
                rows,
                epilogue: PackValues {
                    out: values,
                    head_width,
                    first: 0,
                },
            });
            Ok(())
        })
    }
}

/// A window, and how many of its rows count.
pub struct Hearing<'a, K: GemmKernel> {
    pub heard: &'a CrossKvCache<K>,
    pub frames: usize,
}

// Not derived: that would ask for `K`'s own bounds in vain.
impl<K: GemmKernel> Clone for Hearing<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: GemmKernel> Copy for Hearing<'_, K> {}
