// SPDX-License-Identifier: MPL-2.0
//! Packs the encoder's keys and values for cross-attention.

use rayon::prelude::*;

use crate::decoder::error::DecoderError;
use crate::decoder::kv_cache::CrossKvCache;
use crate::encoder::AudioFeatures;
use whisper_kernels::GemmKernel;
use whisper_kernels::decoder_attention::padded_keys;
use whisper_kernels::epilogue::{PackKeys, PackValues, TilesFromRows};
use whisper_model::Config;

/// Rounds and rearranges what the encoder found; rows beyond become zeros. The features fit the
/// model.
///
/// # Errors
/// Features that are not contiguous, or a cache of another number format.
pub fn pack<K: GemmKernel>(
    kernel: K,
    config: &Config,
    features: &AudioFeatures,
    cache: &mut CrossKvCache,
) -> Result<(), DecoderError> {
    let (heads, width) = (config.text_heads, config.text_state);
    let (head_width, frames) = (width / heads, features.context);
    let len = CrossKvCache::head_len::<K>(config);
    let rows = padded_keys::<K>(frames);
    let (keys, values) = (cache.keys.as_mut_slice(), cache.values.as_mut_slice());
    let (keys, values) = keys.zip(values).ok_or(DecoderError::ForeignWindow)?;
    let tasks = (keys.par_chunks_mut(len), values.par_chunks_mut(len));
    let tasks = tasks.into_par_iter().enumerate();
    tasks.try_for_each(|(task, (keys, values))| {
        let (layer, head) = (task / heads, task % heads);
        let cross = &features.cross[layer];
        let whole = cross.k.as_slice().zip(cross.v.as_slice());
        let (k, v) = whole.ok_or(DecoderError::NonContiguous)?;
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
