// SPDX-License-Identifier: MPL-2.0
//! The encoder's graph (openai/whisper `model.py`, class `AudioEncoder`), cut into tasks of [`BLOCK`] rows.
//!
//! A layer is rounds of tasks: queries, keys and values; attention, which needs those of all rows; attention's projection,
//! which needs all heads; and the feed-forward half, a round for each slice, so that its weights stay in the cache. The
//! rounds run on whatever rayon pool is current.

use ndarray::Array2;
use rayon::prelude::*;

use super::attention::{Mixed, attend};
use super::stem::convolve;
use super::weights::{Slice, Weights};
use super::workspace::{BLOCK, Scratch, Scratches, Workspace};
use crate::encoder::{AudioFeatures, EncoderError};
use whisper_kernels::EncoderKernel;
use whisper_kernels::buffer::padded_stride;
use whisper_kernels::encoder_attention::AttentionBlock;
use whisper_kernels::epilogue::{AddResidual, Gelu, StoreF32, StoreValues};
use whisper_kernels::gemm::{Gemm, Rows};
use whisper_kernels::layer_norm::{LayerNorm, Normalize};
use whisper_kernels::linear::{Linear, ValueRows};
use whisper_kernels::pack::PackedB;
use whisper_model::{Config, Model, ModelError};

/// The encoder for one instruction set.
pub struct Graph<K: EncoderKernel> {
    kernel: K,
    config: Config,
    weights: Weights<K>,
    workspace: Workspace<K>,
    scratches: Scratches<K>,
}

/// A graph whatever its instruction set.
pub trait Encode: Send {
    /// Encodes the first `2 * context` frames of `mel` (frames, n_mels), as if the window ended there, to the
    /// first `context` rows of `out`.
    fn encode(
        &mut self,
        mel: &Array2<f32>,
        context: usize,
        out: &mut AudioFeatures,
    ) -> Result<(), EncoderError>;
}

/// Block number `block` of `rows` rows: how many rows it has.
pub(in crate::encoder) fn rows_of(block: usize, rows: usize) -> usize {
    rows.saturating_sub(block * BLOCK).min(BLOCK)
}

impl<K: EncoderKernel> Graph<K> {
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
    fn project(&mut self, index: usize, context: usize) {
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
            let count = rows_of(block, context);
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

    /// Attention's projection, and the normalisation that the feed-forward half starts with.
    fn join_heads(&mut self, index: usize, context: usize) {
        let Self {
            kernel,
            weights,
            workspace,
            scratches,
            config,
        } = self;
        let (kernel, width) = (*kernel, config.audio_state);
        let layer = &weights.layers[index];
        let mixed = Mixed {
            values: &workspace.mixed,
            heads: config.audio_heads,
        };
        row_blocks(&mut workspace.x, &mut workspace.normed, width, context).for_each(
            |(block, (x, normed))| {
                scratches.with(|scratch| {
                    let (stride, count) =
                        (padded_stride::<K::Value>(width), rows_of(block, context));
                    mixed.gather(block, width, &mut scratch.rows, stride);
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
                normalize(kernel, &layer.feed_forward_norm, x, normed, &mut []);
            },
        );
    }

    /// The feed-forward half, slice by slice, and the normalisation that the next layer starts with.
    fn feed_forward(&mut self, index: usize, context: usize) {
        let Self {
            kernel,
            weights,
            workspace,
            scratches,
            config,
        } = self;
        let (kernel, width) = (*kernel, config.audio_state);
        let slices = &weights.layers[index].feed_forward;
        let next_norm = weights
            .layers
            .get(index + 1)
            .map(|layer| &layer.attention_norm);
        for (number, slice) in slices.iter().enumerate() {
            let norm = next_norm.filter(|_| number + 1 == slices.len());
            row_blocks(&mut workspace.x, &mut workspace.normed, width, context).for_each(
                |(block, (x, normed))| {
                    let count = rows_of(block, context);
                    scratches.with(|scratch| {
                        expand_and_contract(kernel, slice, count, normed, scratch, x);
                    });
                    if let Some(norm) = norm {
                        normalize(kernel, norm, x, normed, &mut []);
                    }
                },
            );
        }
    }

    /// The last normalisation, to `hidden` (audio_ctx, d) and for the cross-attention projections.
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

    /// `out = normed Wᵀ + b`, (context, d).
    fn project_across(&self, packed: &PackedB<K>, context: usize, out: &mut [f32]) {
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
                    count: rows_of(block, context),
                };
                kernel.dispatch(Gemm {
                    left,
                    right: packed.view(),
                    epilogue: StoreF32 { out, width },
                });
            });
    }
}

impl<K: EncoderKernel> Encode for Graph<K> {
    fn encode(
        &mut self,
        mel: &Array2<f32>,
        context: usize,
        out: &mut AudioFeatures,
    ) -> Result<(), EncoderError> {
        let strided = || EncoderError("the encoder works on contiguous arrays".into());
        let first_norm = self
            .weights
            .layers
            .first()
            .map(|layer| &layer.attention_norm);
        convolve(
            self.kernel,
            &self.weights.stem,
            first_norm,
            &mut self.workspace,
            mel.as_slice().ok_or_else(strided)?,
            context,
        );
        for layer in 0..self.config.audio_layers {
            self.project(layer, context);
            attend(
                self.kernel,
                &self.config,
                &mut self.workspace,
                &self.scratches,
                context,
                0..context,
            );
            self.join_heads(layer, context);
            self.feed_forward(layer, context);
        }
        self.finish(context, out.hidden.as_slice_mut().ok_or_else(strided)?);
        out.cross
            .par_iter_mut()
            .zip(&self.weights.cross)
            .try_for_each(|(out, (k, v))| {
                let k_out = out.k.as_slice_mut().ok_or_else(strided)?;
                let v_out = out.v.as_slice_mut().ok_or_else(strided)?;
                rayon::join(
                    || self.project_across(k, context, k_out),
                    || self.project_across(v, context, v_out),
                );
                Ok(())
            })
    }
}

/// The residual stream and its normalised rows, as far as a context reaches: a task for each block, with its number.
pub(super) fn row_blocks<'a, V: Send>(
    x: &'a mut [f32],
    normed: &'a mut [V],
    width: usize,
    context: usize,
) -> impl IndexedParallelIterator<Item = (usize, (&'a mut [f32], &'a mut [V]))> {
    (
        x.par_chunks_mut(BLOCK * width),
        normed_blocks(normed, width),
    )
        .into_par_iter()
        .enumerate()
        .take(context.div_ceil(BLOCK))
        .with_max_len(1)
}

/// Normalised rows, block by block.
fn normed_blocks<V: Send>(normed: &mut [V], width: usize) -> rayon::slice::ChunksMut<'_, V> {
    normed.par_chunks_mut(BLOCK * padded_stride::<V>(width))
}

pub(super) fn normalize<K: EncoderKernel>(
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

/// `x += fc2(GELU(fc1(rows)))`
fn expand_and_contract<K: EncoderKernel>(
    kernel: K,
    slice: &Slice<K>,
    count: usize,
    rows: &[K::Value],
    scratch: &mut Scratch<K>,
    x: &mut [f32],
) {
    let Scratch { hidden, left, .. } = scratch;
    let (width, wide) = (slice.fc2.outputs(), slice.fc1.outputs());
    let rows = K::Linear::prepare(
        kernel,
        ValueRows {
            values: rows,
            depth: width,
            count: BLOCK,
        },
        left,
    );
    let epilogue = StoreValues::new(hidden, padded_stride::<K::Value>(wide), Gelu);
    slice.fc1.multiply(kernel, rows, count, epilogue);
    let hidden = K::Linear::prepare(
        kernel,
        ValueRows {
            values: hidden,
            depth: wide,
            count: BLOCK,
        },
        left,
    );
    let epilogue = AddResidual { out: x, width };
    slice.fc2.multiply(kernel, hidden, count, epilogue);
}
