// SPDX-License-Identifier: MPL-2.0
//! What the decoder hears of one window.

use rayon::prelude::*;

use crate::decoder::DecoderError;
use crate::encoder::AudioFeatures;
use whisper_kernels::GemmKernel;
use whisper_kernels::buffer::Buffer;
use whisper_kernels::decoder_attention::scores_width;
use whisper_kernels::epilogue::{Keys, Transfer, Values};
use whisper_model::Config;

/// Cross-attention operands of one window: (layers, heads, audio_ctx in whole panels, head width), in the layouts of
/// [`whisper_kernels::epilogue::Keys`] and [`whisper_kernels::epilogue::Values`].
pub struct CrossKvCache<K: GemmKernel> {
    pub keys: Buffer<K::Value>,
    pub values: Buffer<K::Value>,
}

impl<K: GemmKernel> CrossKvCache<K> {
    pub fn new(config: &Config) -> Self {
        let len = config.text_layers * scores_width::<K>(config.audio_ctx) * config.text_state;
        Self {
            keys: Buffer::new(len),
            values: Buffer::new(len),
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
        let len = scores_width::<K>(config.audio_ctx) * head_width;
        let rows = scores_width::<K>(frames);
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
            kernel.dispatch(Transfer {
                from: &k[..frames * width],
                stride: width,
                columns: columns.clone(),
                rows,
                sink: Keys {
                    out: keys,
                    head_width,
                    first: 0,
                },
            });
            kernel.dispatch(Transfer {
                from: &v[..frames * width],
                stride: width,
                columns,
                rows,
                sink: Values {
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
