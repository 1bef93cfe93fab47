// SPDX-License-Identifier: MPL-2.0
//! What the CPU does with the rows of a half between one product and the next.

use std::ops::Range;

use ndarray::Array2;
use rayon::prelude::*;

use super::row_half::{RowHalf, sync_from_device};
use super::rows::{HeadColumns, NormalizeRow};
use crate::encoder::stages::{BLOCK, Scratches, Stem, Workspace, attend, rows_in_block};
use crate::encoder::{CrossKv, EncoderError};
use whisper_kernels::EncoderKernel;
use whisper_kernels::encoder_attention::AttentionBlock;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_model::Config;
use xdna::NpuError;
use xdna::device::NpuBuffer;
use xdna::rows::{Columns, add_bf16, write_bf16};

/// The CPU's part of the encoder, and its memory.
pub struct CpuStage<K: EncoderKernel> {
    kernel: K,
    config: Config,
    workspace: Workspace<K>,
    scratches: Scratches<K>,
    /// Rows of the window.
    context: usize,
}

impl<K: EncoderKernel> CpuStage<K> {
    pub fn new(kernel: K, config: &Config) -> Self {
        Self {
            kernel,
            config: config.clone(),
            workspace: Workspace::new(config),
            scratches: Scratches::new(config),
            context: 0,
        }
    }

    /// Both convolutions, from `mel`, `[2 * context, n_mels]`, to the residual stream.
    pub fn convolve(&mut self, stem: &Stem<K>, mel: &[f32], context: usize) {
        self.context = context;
        stem.apply(self.kernel, mel, None, &mut self.workspace);
    }

    /// Adds the device's `narrow` rows of the half to the residual stream.
    fn add_residual(&mut self, half: &mut RowHalf) -> Result<(), NpuError> {
        let width = self.config.audio_state;
        sync_from_device(&mut *half.narrow, half.rows.len(), width)?;
        let x =
            self.workspace.x[width * half.rows.start..width * half.rows.end].par_chunks_mut(width);
        let narrow = half.narrow.bytes().par_chunks_exact(2 * width);
        x.zip(narrow).for_each(|(x, row)| add_bf16(row, x));
        Ok(())
    }

    /// Normalises the half's rows of the residual stream to the device's `input`, and to their
    /// place in `hidden`, which has all rows of the window.
    pub fn normalize(
        &mut self,
        norm: &LayerNorm,
        half: &mut RowHalf,
        hidden: Option<&mut [f32]>,
    ) -> Result<(), NpuError> {
        let (kernel, width) = (self.kernel, self.config.audio_state);
        let values = width * half.rows.start..width * half.rows.end;
        let x = self.workspace.x[values.clone()].par_chunks(width);
        let rows = x.zip(half.input.bytes_mut().par_chunks_mut(2 * width));
        match hidden {
            None => rows.for_each(|(x, input)| {
                let write = |at, values: &[f32]| write_bf16(values, &mut input[2 * at..]);
                kernel.dispatch(NormalizeRow { norm, x, write });
            }),
            Some(hidden) => {
                let hidden = hidden[values].par_chunks_mut(width);
                rows.zip(hidden).for_each(|((x, input), hidden)| {
                    let write = |at, values: &[f32]| {
                        write_bf16(values, &mut input[2 * at..]);
                        hidden[at..][..values.len()].copy_from_slice(values);
                    };
                    kernel.dispatch(NormalizeRow { norm, x, write });
                });
            }
        }
        half.sync_to_device()
    }

    /// Adds the device's rows of the half to the residual stream, then
    /// [normalises](CpuStage::normalize) it.
    pub fn add_and_normalize(
        &mut self,
        norm: &LayerNorm,
        half: &mut RowHalf,
        hidden: Option<&mut [f32]>,
    ) -> Result<(), NpuError> {
        self.add_residual(half)?;
        self.normalize(norm, half, hidden)
    }

    /// Splits the device's `wide` rows of the half into queries, keys and values of each head, in
    /// the orders in which attention takes them.
    pub fn unpack_qkv(&mut self, half: &mut RowHalf) -> Result<(), NpuError> {
        let (kernel, width, head_width) = (self.kernel, self.config.audio_state, self.head_width());
        let (number_of_heads, stride) = (self.config.audio_heads, 3 * width);
        sync_from_device(&mut *half.wide, half.rows.len(), stride)?;
        let (rows, wide) = (&half.rows, half.wide.bytes());
        let (scratches, context) = (&self.scratches, self.context);
        let tasks = self.workspace.heads.par_iter_mut().enumerate();
        tasks.for_each(|(task, heads)| {
            let (block, head) = (task / number_of_heads, task % number_of_heads);
            if !rows.contains(&(block * BLOCK)) {
                return;
            }
            let count = rows_in_block(block, context);
            let qkv = [0, 1, 2].map(|part| {
                HeadColumns(Columns {
                    rows: &wide[2 * (block * BLOCK - rows.start) * stride..],
                    stride,
                    first: part * width + head * head_width,
                    width: head_width,
                    count,
                })
            });
            scratches.with(|scratch| heads.fill(kernel, count, qkv, &mut scratch.head));
        });
        Ok(())
    }

    /// Attention of the half's queries to all keys, which must be unpacked, to the device's
    /// `input`.
    pub fn attend(&mut self, half: &mut RowHalf) -> Result<(), NpuError> {
        attend(
            self.kernel,
            &mut self.workspace,
            &self.scratches,
            self.context,
            half.rows.clone(),
        );
        self.join_heads(half);
        half.sync_to_device()
    }

    /// Puts the outputs of attention's heads side by side.
    fn join_heads(&self, half: &mut RowHalf) {
        let (width, head_width) = (self.config.audio_state, self.head_width());
        let head_len = self.config.audio_ctx.next_multiple_of(BLOCK) * head_width;
        let attended = &self.workspace.attended;
        let input = half.input.bytes_mut().par_chunks_exact_mut(2 * width);
        let rows = half.rows.clone().into_par_iter();
        rows.zip(input).for_each(|(row, input)| {
            let heads = attended.chunks_exact(head_len);
            for (input, head) in input.chunks_exact_mut(2 * head_width).zip(heads) {
                write_bf16(&head[row * head_width..][..head_width], input);
            }
        });
    }

    fn head_width(&self) -> usize {
        head_width(&self.config)
    }
}

pub fn head_width(config: &Config) -> usize {
    config.audio_state / config.audio_heads
}

/// Splits `wide`, keys and values of the cross-attention of `layers` side by side, into the rows
/// `rows` of each of them.
pub fn unpack_cross_kv(
    wide: &mut dyn NpuBuffer,
    rows: &Range<usize>,
    layers: &mut [CrossKv],
) -> Result<(), EncoderError> {
    let parts = 2 * layers.len();
    let outputs = layers
        .iter_mut()
        .flat_map(|pair| [&mut pair.k, &mut pair.v]);
    for (part, out) in outputs.enumerate() {
        let width = out.ncols();
        let stride = parts * width;
        if part == 0 {
            sync_from_device(wide, rows.len(), stride)?;
        }
        let out = &mut contiguous(out)?[width * rows.start..width * rows.end];
        let blocks = out
            .par_chunks_mut(BLOCK * width)
            .zip(wide.bytes().par_chunks(2 * BLOCK * stride));
        blocks.for_each(|(out, rows)| {
            let columns = Columns {
                rows,
                stride,
                first: part * width,
                width,
                count: BLOCK,
            };
            columns.to_f32(out);
        });
    }
    Ok(())
}

pub fn contiguous(array: &mut Array2<f32>) -> Result<&mut [f32], EncoderError> {
    array.as_slice_mut().ok_or(EncoderError::NonContiguous)
}
