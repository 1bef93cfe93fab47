// SPDX-License-Identifier: MPL-2.0
//! Layer normalisation of a block of rows.

use whisper_kernels::EncoderKernel;
use whisper_kernels::buffer::padded_stride;
use whisper_kernels::layer_norm::{LayerNorm, Normalize};

/// Normalises the rows `x`, `[rows, d]`, to the left operand of a multiplication; and to `floats`,
/// `[rows, d]`, as far as that has rows.
pub fn normalize<K: EncoderKernel>(
    kernel: K,
    norm: &LayerNorm,
    x: &[f32],
    out: &mut [K::Value],
    floats: &mut [f32],
) {
    let stride = padded_stride::<K::Value>(norm.weight.len());
    kernel.dispatch(Normalize {
        norm,
        x,
        out,
        stride,
        floats,
    });
}
