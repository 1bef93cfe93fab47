// SPDX-License-Identifier: MPL-2.0
//! What the CPU does with the rows of a lane between one product and the next.

use std::ops::Range;

use ndarray::Array2;
use rayon::prelude::*;

use super::row_half::{RowHalf, fetch};
use super::rows::{NormalizeRow, Part, add, narrow};
use crate::encoder::stages::{BLOCK, Scratches, Stem, Workspace, attend, rows_in_block};
use crate::encoder::{CrossKv, EncoderError};
use whisper_kernels::EncoderKernel;
use whisper_kernels::encoder_attention::AttentionBlock;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_model::Config;
use xdna::device::{NpuBuffer, NpuError};

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

    /// Both convolutions, to the residual stream.
    pub fn convolve(&mut self, stem: &Stem<K>, mel: &[f32], context: usize) {
        self.context = context;
        stem.apply(self.kernel, mel, None, &mut self.workspace);
    }

    /// Adds what the device made of the lane's rows to the residual stream.
    pub fn add(&mut self, lane: &mut RowHalf) -> Result<(), NpuError> {
        let width = self.config.audio_state;
        fetch(&mut *lane.narrow, lane.rows.len(), width)?;
        let x =
            self.workspace.x[width * lane.rows.start..width * lane.rows.end].par_chunks_mut(width);
        let narrow = lane.narrow.bytes().par_chunks_exact(2 * width);
        x.zip(narrow).for_each(|(x, from)| add(from, x));
        Ok(())
    }

    /// The lane's rows of the residual stream, normalised, to the device; and to `hidden`, which has all rows of the
    /// window.
    pub fn normalize(
        &mut self,
        norm: &LayerNorm,
        lane: &mut RowHalf,
        hidden: Option<&mut [f32]>,
    ) -> Result<(), NpuError> {
        let (kernel, width) = (self.kernel, self.config.audio_state);
        let values = width * lane.rows.start..width * lane.rows.end;
        let x = self.workspace.x[values.clone()].par_chunks(width);
        let rows = x.zip(lane.left.bytes_mut().par_chunks_mut(2 * width));
        match hidden {
            None => rows.for_each(|(x, left)| {
                let write = |at, values: &[f32]| narrow(values, &mut left[2 * at..]);
                kernel.dispatch(NormalizeRow { norm, x, write });
            }),
            Some(hidden) => {
                let hidden = hidden[values].par_chunks_mut(width);
                rows.zip(hidden).for_each(|((x, left), hidden)| {
                    let write = |at, values: &[f32]| {
                        narrow(values, &mut left[2 * at..]);
                        hidden[at..][..values.len()].copy_from_slice(values);
                    };
                    kernel.dispatch(NormalizeRow { norm, x, write });
                });
            }
        }
        lane.offer()
    }

    /// [`CpuStage::add`], then [`CpuStage::normalize`].
    pub fn settle(
        &mut self,
        norm: &LayerNorm,
        lane: &mut RowHalf,
        hidden: Option<&mut [f32]>,
    ) -> Result<(), NpuError> {
        self.add(lane)?;
        self.normalize(norm, lane, hidden)
    }

    /// Queries, keys and values of the lane's rows to the orders that attention takes them in.
    pub fn deliver(&mut self, lane: &mut RowHalf) -> Result<(), NpuError> {
        let (kernel, width, head_width) = (self.kernel, self.config.audio_state, self.head_width());
        let (number_of_heads, stride) = (self.config.audio_heads, 3 * width);
        fetch(&mut *lane.wide, lane.rows.len(), stride)?;
        let (rows, wide) = (&lane.rows, lane.wide.bytes());
        let (scratches, context) = (&self.scratches, self.context);
        let tasks = self.workspace.heads.par_iter_mut().enumerate();
        tasks.for_each(|(task, heads)| {
            let (block, head) = (task / number_of_heads, task % number_of_heads);
            if !rows.contains(&(block * BLOCK)) {
                return;
            }
            let count = rows_in_block(block, context);
            let parts = [0, 1, 2].map(|part| Part {
                rows: &wide[2 * (block * BLOCK - rows.start) * stride..],
                stride,
                column: part * width + head * head_width,
                width: head_width,
                count,
            });
            scratches.with(|scratch| heads.fill(kernel, count, parts, &mut scratch.head));
        });
        Ok(())
    }

    /// Attention of the lane's queries to all keys, which must have been delivered, to the device.
    pub fn attend(&mut self, lane: &mut RowHalf) -> Result<(), NpuError> {
        attend(
            self.kernel,
            &mut self.workspace,
            &self.scratches,
            self.context,
            lane.rows.clone(),
        );
        self.gather(lane);
        lane.offer()
    }

    /// Attention's heads side by side.
    fn gather(&self, lane: &mut RowHalf) {
        let (width, head_width) = (self.config.audio_state, self.head_width());
        let head_len = self.config.audio_ctx.next_multiple_of(BLOCK) * head_width;
        let mixed = &self.workspace.attended;
        let left = lane.left.bytes_mut().par_chunks_exact_mut(2 * width);
        let rows = lane.rows.clone().into_par_iter();
        rows.zip(left).for_each(|(row, left)| {
            let heads = mixed.chunks_exact(head_len);
            for (left, head) in left.chunks_exact_mut(2 * head_width).zip(heads) {
                narrow(&head[row * head_width..][..head_width], left);
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

/// Keys and values of some decoder layers, side by side in `wide`, to where the decoder looks for those of `rows`.
pub fn unpack_cross_kv(
    wide: &mut dyn NpuBuffer,
    rows: &Range<usize>,
    layers: &mut [CrossKv],
) -> Result<(), EncoderError> {
    let parts = 2 * layers.len();
    let halves = layers
        .iter_mut()
        .flat_map(|pair| [&mut pair.k, &mut pair.v]);
    for (part, half) in halves.enumerate() {
        let width = half.ncols();
        let stride = parts * width;
        if part == 0 {
            fetch(wide, rows.len(), stride)?;
        }
        let out = &mut contiguous(half)?[width * rows.start..width * rows.end];
        let from = wide.bytes().par_chunks(2 * BLOCK * stride);
        let blocks = out.par_chunks_mut(BLOCK * width).zip(from);
        blocks.for_each(|(out, rows)| {
            let part = Part {
                rows,
                stride,
                column: part * width,
                width,
                count: BLOCK,
            };
            part.to_floats(out);
        });
    }
    Ok(())
}

pub fn contiguous(array: &mut Array2<f32>) -> Result<&mut [f32], EncoderError> {
    array.as_slice_mut().ok_or(EncoderError::NonContiguous)
}
