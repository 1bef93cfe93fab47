// SPDX-License-Identifier: MPL-2.0
//! Multiplications by 8-bit weights, which rounds consist of.

use crate::decoder::residual::quantize;
use whisper_kernels::GemmKernel;
use whisper_kernels::epilogue::StoreF32;
use whisper_kernels::gemm::Epilogue;
use whisper_kernels::{
    quantize::QuantizedRows,
    w8a16::{GemmW8A16, PackedW8A16View},
};

/// `left · rightᵀ + bias` of the first `count` rows, to `epilogue`.
pub fn multiply<K: GemmKernel>(
    kernel: K,
    left: &QuantizedRows<i16>,
    count: usize,
    right: PackedW8A16View<'_, K>,
    epilogue: impl Epilogue<K>,
) {
    kernel.dispatch(GemmW8A16 {
        left,
        count,
        right,
        epilogue,
    });
}

/// Ends the task of a head: takes its rows, `[count, depth]`, through its share of the output layer
/// to what they add to the residual stream, `part`, `[count, d]`.
pub fn contribute<K: GemmKernel>(
    kernel: K,
    rows: &[f32],
    quantized: &mut QuantizedRows<i16>,
    out: PackedW8A16View<'_, K>,
    part: &mut [f32],
) {
    let width = out.columns();
    let count = part.len() / width;
    quantize(kernel, rows, rows.len() / count, quantized);
    let epilogue = StoreF32 { out: part, width };
    multiply(kernel, quantized, count, out, epilogue);
}
