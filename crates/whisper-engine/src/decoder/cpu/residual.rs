// SPDX-License-Identifier: MPL-2.0
//! The residual stream, between one round of tasks and the next.

use rayon::prelude::*;

use super::kv_cache::BLOCK;
use whisper_kernels::buffer::AlignedBuffer;
use whisper_kernels::layer_norm::{LayerNorm, normalize_row};
use whisper_kernels::quantize::{QuantizeRows, QuantizedRows};
use whisper_kernels::{GemmKernel, SimdOp, mr};

/// The residual stream of a block of tokens.
pub struct Stream {
    /// (BLOCK, d)
    pub x: AlignedBuffer<f32>,
    /// (heads, BLOCK, d): what each head will add to `x`.
    pub parts: AlignedBuffer<f32>,
    /// (BLOCK, d): `x` normalised for what reads it next.
    pub normed: AlignedBuffer<f32>,
    /// The same, rounded.
    pub digits: QuantizedRows<i16>,
}

/// Whether the round before left something to add.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    None,
    All,
}

impl Stream {
    pub fn new<K: GemmKernel>(width: usize, heads: usize) -> Self {
        Self {
            x: AlignedBuffer::new(BLOCK * width),
            parts: AlignedBuffer::new(heads * BLOCK * width),
            normed: AlignedBuffer::new(BLOCK * width),
            digits: QuantizedRows::new::<K>(BLOCK, width),
        }
    }

    /// `count` rows as [`Stream::settle`] has normalised them.
    pub fn normed(&self, count: usize) -> &[f32] {
        &self.normed[..count * (self.normed.len() / BLOCK)]
    }

    /// Adds the parts to the first `count` rows, always in the same order, and normalises and rounds these.
    pub fn settle<K: GemmKernel>(
        &mut self,
        kernel: K,
        count: usize,
        norm: &LayerNorm,
        parts: Parts,
    ) {
        let width = norm.weight.len();
        let parts = match parts {
            Parts::None => &[],
            Parts::All => &self.parts[..],
        };
        let rows = mr::<K>() * width;
        let x = self.x[..count * width].par_chunks_mut(rows);
        let normed = self.normed[..count * width].par_chunks_mut(rows);
        x.zip(normed).enumerate().for_each(|(tile, (x, normed))| {
            kernel.dispatch(Settle {
                norm,
                parts,
                stride: BLOCK * width,
                first: tile * rows,
                x,
                normed,
            });
        });
        round(
            kernel,
            &self.normed[..count * width],
            width,
            &mut self.digits,
        );
    }
}

/// Rounds rows to the left operand of a multiplication.
pub fn round<K: GemmKernel>(kernel: K, rows: &[f32], depth: usize, out: &mut QuantizedRows<i16>) {
    kernel.dispatch(QuantizeRows {
        rows: rows.chunks_exact(depth),
        depth,
        out,
    });
}

/// `x += parts`, then `x` normalised, for some rows of a block.
struct Settle<'a> {
    norm: &'a LayerNorm,
    /// One part per head, `stride` apart; may be empty.
    parts: &'a [f32],
    stride: usize,
    /// Where these rows begin in each part.
    first: usize,
    x: &'a mut [f32],
    normed: &'a mut [f32],
}

impl<K: GemmKernel> SimdOp<K> for Settle<'_> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let width = self.norm.weight.len();
        for part in self.parts.chunks_exact(self.stride) {
            let part = part[self.first..].chunks_exact(K::LANES);
            for (x, part) in self.x.chunks_exact_mut(K::LANES).zip(part) {
                kernel.store(kernel.add(kernel.load(x), kernel.load(part)), x);
            }
        }
        let rows = self.x.chunks_exact(width);
        for (x, normed) in rows.zip(self.normed.chunks_exact_mut(width)) {
            normalize_row(kernel, self.norm, x, |i, y| {
                kernel.store(y, &mut normed[i..])
            });
        }
    }
}
