// SPDX-License-Identifier: MPL-2.0
//! The encoder's network on the CPU, cut into tasks of [`BLOCK`] rows.
//!
//! A layer is rounds of tasks: queries, keys and values; attention, which needs those of all rows;
//! attention's projection, which needs all heads; and the MLP, a round for each slice, so that its
//! weights stay in the cache. The rounds run on whatever rayon pool is current.

use ndarray::Array2;
use rayon::prelude::*;

use super::weights::Weights;
use crate::encoder::graph::AudioEncoder;
use crate::encoder::stages::{
    AttentionOutput, BLOCK, Scratches, Workspace, attend, normalize, normed_blocks, row_blocks,
    rows_in_block,
};
use crate::encoder::{AudioFeatures, EncoderError};
use whisper_kernels::EncoderKernel;
use whisper_kernels::buffer::padded_stride;
use whisper_kernels::encoder_attention::AttentionBlock;
use whisper_kernels::epilogue::{AddResidual, StoreF32};
use whisper_kernels::gemm::{Gemm, Rows};
use whisper_kernels::pack::PackedB;
use whisper_model::{Config, Model, ModelError};

/// The encoder for one instruction set.
pub struct CpuAudioEncoder<K: EncoderKernel> {
    kernel: K,
    config: Config,
    weights: Weights<K>,
    workspace: Workspace<K>,
    scratches: Scratches<K>,
}

impl<K: EncoderKernel> CpuAudioEncoder<K> {
    /// Packs the model's weights.
    ///
    /// # Errors
    /// A weight that the model lacks, or heads that do not fit the kernel's tiles.
    pub fn new(kernel: K, model: &Model) -> Result<Self, ModelError> {
        let config = model.config.clone();
        let head_width = config.audio_state / config.audio_heads;
        if !head_width.is_multiple_of(K::NR) {
            let what = format!("attention heads {head_width} wide, Whisper models have 64");
            return Err(ModelError::Unsupported {
                path: model.path.clone(),
                what,
            });
        }
        Ok(Self {
            kernel,
            weights: Weights::load(model)?,
            workspace: Workspace::new(&config),
            scratches: Scratches::new(&config),
            config,
        })
    }

    fn head_width(&self) -> usize {
        self.config.audio_state / self.config.audio_heads
    }

    /// Queries, keys and values of layer `index`, head by head.
    fn project_heads(&mut self, index: usize, context: usize) {
        let head_width = self.head_width();
        let Self {
            kernel,
            weights,
            workspace,
            scratches,
            config,
        } = self;
        let (kernel, layer, stride) = (
            *kernel,
            &weights.layers[index],
            padded_stride::<K::Value>(config.audio_state),
        );
        let normed = &workspace.normed;
        let tasks = workspace.heads.par_iter_mut().enumerate().with_max_len(1);
        tasks.for_each(|(task, heads)| {
            let (block, head) = (task / config.audio_heads, task % config.audio_heads);
            let count = rows_in_block(block, context);
            let columns = head * head_width..(head + 1) * head_width;
            let parts = [&layer.q, &layer.k, &layer.v].map(|weights| Gemm {
                left: Rows {
                    values: &normed[block * BLOCK * stride..],
                    stride,
                    count,
                },
                right: weights.columns(columns.clone()),
                epilogue: (),
            });
            scratches.with(|scratch| heads.fill(kernel, count, parts, &mut scratch.head));
        });
    }

    /// Attention's output projection, and the normalisation that the MLP starts with.
    fn project_attention(&mut self, index: usize, context: usize) {
        let Self {
            kernel,
            weights,
            workspace,
            scratches,
            config,
        } = self;
        let (kernel, width) = (*kernel, config.audio_state);
        let layer = &weights.layers[index];
        let attended = AttentionOutput {
            values: &workspace.attended,
            heads: config.audio_heads,
        };
        row_blocks(&mut workspace.x, &mut workspace.normed, width, context).for_each(
            |(block, (x, normed))| {
                scratches.with(|scratch| {
                    let (stride, count) = (
                        padded_stride::<K::Value>(width),
                        rows_in_block(block, context),
                    );
                    attended.join_heads(block, width, &mut scratch.rows, stride);
                    let left = Rows {
                        values: &scratch.rows,
                        stride,
                        count,
                    };
                    kernel.dispatch(Gemm {
                        left,
                        right: layer.out.view(),
                        epilogue: AddResidual { out: x, width },
                    });
                });
                normalize(kernel, &layer.mlp_norm, x, normed, &mut []);
            },
        );
    }

    /// The MLP, slice by slice, and the normalisation that the next layer starts with.
    fn mlp(&mut self, index: usize, context: usize) {
        let Self {
            kernel,
            weights,
            workspace,
            scratches,
            config,
        } = self;
        let (kernel, width) = (*kernel, config.audio_state);
        let slices = &weights.layers[index].mlp;
        let next_norm = weights
            .layers
            .get(index + 1)
            .map(|layer| &layer.attention_norm);
        for (number, slice) in slices.iter().enumerate() {
            let norm = next_norm.filter(|_| number + 1 == slices.len());
            row_blocks(&mut workspace.x, &mut workspace.normed, width, context).for_each(
                |(block, (x, normed))| {
                    let count = rows_in_block(block, context);
                    scratches.with(|scratch| {
                        let rows = Rows {
                            values: normed,
                            stride: padded_stride::<K::Value>(width),
                            count,
                        };
                        slice.apply(kernel, rows, &mut scratch.mlp, x);
                    });
                    if let Some(norm) = norm {
                        normalize(kernel, norm, x, normed, &mut []);
                    }
                },
            );
        }
    }

    /// The last normalisation, to `hidden`, `[audio_ctx, d]`, and for the cross-attention
    /// projections.
    fn finish(&mut self, context: usize, hidden: &mut [f32]) {
        let Self {
            kernel,
            weights,
            workspace,
            config,
            ..
        } = self;
        let (kernel, width) = (*kernel, config.audio_state);
        let blocks = (
            workspace.x.par_chunks(BLOCK * width),
            normed_blocks(&mut workspace.normed, width),
            hidden[..context * width].par_chunks_mut(BLOCK * width),
        );
        blocks
            .into_par_iter()
            .for_each(|(x, normed, hidden)| normalize(kernel, &weights.norm, x, normed, hidden));
    }

    /// `out = normed Wᵀ + b`, `[context, d]`.
    fn project_cross_kv(&self, packed: &PackedB<K>, context: usize, out: &mut [f32]) {
        let (kernel, width) = (self.kernel, self.config.audio_state);
        let stride = padded_stride::<K::Value>(width);
        out[..context * width]
            .par_chunks_mut(BLOCK * width)
            .enumerate()
            .with_max_len(1)
            .for_each(|(block, out)| {
                let values = &self.workspace.normed[block * BLOCK * stride..];
                let left = Rows {
                    values,
                    stride,
                    count: rows_in_block(block, context),
                };
                kernel.dispatch(Gemm {
                    left,
                    right: packed.view(),
                    epilogue: StoreF32 { out, width },
                });
            });
    }
}

impl<K: EncoderKernel> AudioEncoder for CpuAudioEncoder<K> {
    fn encode(
        &mut self,
        mel: &Array2<f32>,
        context: usize,
        out: &mut AudioFeatures,
    ) -> Result<(), EncoderError> {
        let mel = mel.as_slice().ok_or(EncoderError::NonContiguous)?;
        let mel = &mel[..2 * context * self.config.n_mels];
        let layers = &self.weights.layers;
        let first_norm = layers.first().map(|layer| &layer.attention_norm);
        let stem = &self.weights.stem;
        stem.apply(self.kernel, mel, first_norm, &mut self.workspace);
        for layer in 0..self.config.audio_layers {
            self.project_heads(layer, context);
            let (workspace, scratches) = (&mut self.workspace, &self.scratches);
            attend(self.kernel, workspace, scratches, context, 0..context);
            self.project_attention(layer, context);
            self.mlp(layer, context);
        }
        let hidden = out.hidden.as_slice_mut();
        self.finish(context, hidden.ok_or(EncoderError::NonContiguous)?);
        let cross = out.cross.par_iter_mut().zip(&self.weights.cross);
        cross.try_for_each(|(out, (k, v))| {
            let (k_out, v_out) = (out.k.as_slice_mut(), out.v.as_slice_mut());
            let k_out = k_out.ok_or(EncoderError::NonContiguous)?;
            let v_out = v_out.ok_or(EncoderError::NonContiguous)?;
            rayon::join(
                || self.project_cross_kv(k, context, k_out),
                || self.project_cross_kv(v, context, v_out),
            );
            Ok(())
        })
    }
}
