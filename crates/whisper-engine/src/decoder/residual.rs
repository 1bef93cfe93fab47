// SPDX-License-Identifier: MPL-2.0
//! The residual stream, between one round of tasks and the next.

use rayon::prelude::*;

use whisper_kernels::buffer::AlignedBuffer;
use whisper_kernels::layer_norm::{LayerNorm, normalize_row};
use whisper_kernels::quantize::{QuantizeRows, QuantizedRows};
use whisper_kernels::{GemmKernel, SimdOp, mr};

/// Tokens that pass through the layers at once: a multiple of every kernel's MR.
pub const BLOCK: usize = 96;

/// The residual stream of a block of tokens.
pub struct ResidualStream {
    /// `[BLOCK, d]`
    pub x: AlignedBuffer<f32>,
    /// `[heads, BLOCK, d]`: what the task of each head adds to `x`.
    pub parts: AlignedBuffer<f32>,
    /// `[BLOCK, d]`: `x` normalised for what reads it next.
    pub normed: AlignedBuffer<f32>,
    /// The same in 16 bits.
    pub quantized: QuantizedRows<i16>,
}

/// Whether the round before left something to add.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Nothing: the stream begins here.
    None,
    /// A part of each head.
    All,
}

impl ResidualStream {
    /// Zeros, for a model of this width and so many heads.
    pub fn new<K: GemmKernel>(width: usize, heads: usize) -> Self {
        Self {
            x: AlignedBuffer::new(BLOCK * width),
            parts: AlignedBuffer::new(heads * BLOCK * width),
            normed: AlignedBuffer::new(BLOCK * width),
            quantized: QuantizedRows::new::<K>(BLOCK, width),
        }
    }

    /// The first `count` rows, `[count, d]`, as [`ResidualStream::add_and_normalize`] left them.
    pub fn normed(&self, count: usize) -> &[f32] {
        &self.normed[..count * (self.normed.len() / BLOCK)]
    }

    /// Adds the parts to the first `count` rows, always in the same order, and normalises and
    /// quantises these.
    pub fn add_and_normalize<K: GemmKernel>(
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
            kernel.dispatch(AddAndNormalize {
                norm,
                parts,
                stride: BLOCK * width,
                first: tile * rows,
                x,
                normed,
            });
        });
        let normed = &self.normed[..count * width];
        quantize(kernel, normed, width, &mut self.quantized);
    }
}

/// Rounds rows, `[rows, depth]`, to the left operand of a multiplication.
pub fn quantize<K: GemmKernel>(
    kernel: K,
    rows: &[f32],
    depth: usize,
    out: &mut QuantizedRows<i16>,
) {
    kernel.dispatch(QuantizeRows {
        rows: rows.chunks_exact(depth),
        depth,
        out,
    });
}

/// `x += parts`, then `x` normalised, for some rows of a block.
struct AddAndNormalize<'a> {
    norm: &'a LayerNorm,
    /// One part per head, `stride` apart; may be empty.
    parts: &'a [f32],
    stride: usize,
    /// Where these rows begin in each part.
    first: usize,
    x: &'a mut [f32],
    normed: &'a mut [f32],
}

impl<K: GemmKernel> SimdOp<K> for AddAndNormalize<'_> {
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
