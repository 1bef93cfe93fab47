// SPDX-License-Identifier: MPL-2.0
//! The encoder's graph (openai/whisper `model.py`, class `AudioEncoder`), cut into tasks of [`BLOCK`] rows.
//!
//! A layer is three rounds of tasks, each a point where all rows must be there: keys and values of all rows
//! before attention, all heads before their projection, and all normalised rows before the next layer's
//! projections, which are taken per head. The rounds run on whatever rayon pool is current.

use std::ops::Range;

use ndarray::Array2;
use rayon::prelude::*;

use super::weights::{Layer, Stem, Weights};
use super::workspace::{BLOCK, Scratch, Scratches, Workspace};
use crate::encoder::{AudioFeatures, EncoderError};
use crate::kernel::attention::{Attend, Block};
use crate::kernel::buffer::stride;
use crate::kernel::gemm::{Gemm, Rows};
use crate::kernel::linear::{Linear, ValueRows};
use crate::kernel::norm::{Norm, Normalize};
use crate::kernel::pack::Packed;
use crate::kernel::sink::{AddTo, Gelu, GeluPlus, ToFloats, ToValues};
use crate::kernel::{Kernel, Operation, tile_rows};
use crate::model::{Config, Model, ModelError};

/// The encoder for one instruction set.
pub struct Graph<K: Kernel> {
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

impl<K: Kernel> Graph<K> {
    pub fn new(kernel: K, model: &Model) -> Result<Self, ModelError> {
        let config = model.config.clone();
        let head_width = config.audio_state / config.audio_heads;
        if !head_width.is_multiple_of(K::COLUMNS) {
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
            stride::<K::Value>(config.audio_state),
        );
        let blocks = config.audio_ctx.div_ceil(BLOCK);
        let normed = &workspace.normed;
        let tasks = workspace.heads.par_iter_mut().enumerate().with_max_len(1);
        tasks.for_each(|(task, heads)| {
            let (head, block) = (task / blocks, task % blocks);
            let count = rows_of(block, context);
            let columns = head * head_width..(head + 1) * head_width;
            let parts = [&layer.q, &layer.k, &layer.v].map(|weights| Gemm {
                left: Rows {
                    values: &normed[block * BLOCK * stride..],
                    stride,
                    count,
                },
                right: weights.columns(columns.clone()),
                sink: (),
            });
            scratches.with(|scratch| heads.fill(kernel, count, parts, &mut scratch.head));
        });
    }

    /// The rest of layer `index`: attention's projection, the feed-forward half and the normalisation that the
    /// next layer starts with.
    fn feed_forward(&mut self, index: usize, context: usize) {
        let Self {
            kernel,
            weights,
            workspace,
            scratches,
            config,
            ..
        } = self;
        let (kernel, width) = (*kernel, config.audio_state);
        let layer = &weights.layers[index];
        let next_norm = weights
            .layers
            .get(index + 1)
            .map(|layer| &layer.attention_norm);
        let mixed = Mixed {
            values: &workspace.mixed,
            heads: config.audio_heads,
        };
        let blocks = (
            workspace.x.par_chunks_mut(BLOCK * width),
            normed_blocks(&mut workspace.normed, width),
        );
        blocks
            .into_par_iter()
            .enumerate()
            .take(context.div_ceil(BLOCK))
            .with_max_len(1)
            .for_each(|(block, (x, normed))| {
                scratches.with(|scratch| {
                    let (stride, count) = (stride::<K::Value>(width), rows_of(block, context));
                    mixed.gather(block, width, &mut scratch.rows, stride);
                    let left = Rows {
                        values: &scratch.rows,
                        stride,
                        count,
                    };
                    kernel.vectorize(Gemm {
                        left,
                        right: layer.out.all(),
                        sink: AddTo { out: x, width },
                    });
                    normalize(
                        kernel,
                        &layer.feed_forward_norm,
                        x,
                        &mut scratch.rows,
                        &mut [],
                    );
                    expand_and_contract(kernel, layer, count, scratch, x);
                    if let Some(norm) = next_norm {
                        normalize(kernel, norm, x, normed, &mut []);
                    }
                });
            });
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
    fn project_across(&self, packed: &Packed<K>, context: usize, out: &mut [f32]) {
        let (kernel, width) = (self.kernel, self.config.audio_state);
        let stride = stride::<K::Value>(width);
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
                kernel.vectorize(Gemm {
                    left,
                    right: packed.all(),
                    sink: ToFloats { out, width },
                });
            });
    }
}

/// Both convolutions, and `first_norm` of what comes of them, to the workspace.
pub(in crate::encoder) fn convolve<K: Kernel>(
    kernel: K,
    stem_weights: &Stem<K>,
    first_norm: Option<&Norm>,
    workspace: &mut Workspace<K>,
    mel: &[f32],
    context: usize,
) {
    let (width, n_mels) = (stem_weights.width(), stem_weights.n_mels());
    let frames = 2 * context;

    let (_, rows) = workspace.mel.split_at_mut(n_mels);
    kernel.vectorize(Narrow {
        from: &mel[..frames * n_mels],
        to: rows,
    });
    rows[frames * n_mels..][..n_mels].fill(K::Value::default());

    let (_, stem) = workspace.stem.split_at_mut(width);
    let mel = &workspace.mel;
    stem.par_chunks_mut(BLOCK * width)
        .enumerate()
        .take(frames.div_ceil(BLOCK))
        .with_max_len(1)
        .for_each(|(block, stem)| {
            kernel.vectorize(Gemm {
                left: Rows {
                    values: &mel[block * BLOCK * n_mels..],
                    stride: n_mels,
                    count: rows_of(block, frames),
                },
                right: stem_weights.conv1.all(),
                sink: ToValues::new(stem, width, Gelu),
            });
        });
    stem[frames * width..][..width].fill(K::Value::default());

    let stem = &workspace.stem;
    let blocks = (
        workspace.x.par_chunks_mut(BLOCK * width),
        normed_blocks(&mut workspace.normed, width),
    );
    blocks
        .into_par_iter()
        .enumerate()
        .take(context.div_ceil(BLOCK))
        .with_max_len(1)
        .for_each(|(block, (x, normed))| {
            let rows = rows_of(block, context);
            kernel.vectorize(Gemm {
                left: Rows {
                    values: &stem[2 * block * BLOCK * width..],
                    stride: 2 * width,
                    count: rows,
                },
                right: stem_weights.conv2.all(),
                sink: GeluPlus {
                    table: &stem_weights.positions[block * BLOCK * width..context * width],
                    out: x,
                    width,
                },
            });
            if let Some(norm) = first_norm {
                normalize(kernel, norm, x, normed, &mut []);
            }
        });
}

/// Every head's queries of the blocks that begin in `rows` against all its keys and values.
pub(in crate::encoder) fn attend<K: Kernel>(
    kernel: K,
    config: &Config,
    workspace: &mut Workspace<K>,
    scratches: &Scratches<K>,
    context: usize,
    rows: Range<usize>,
) {
    let head_width = config.audio_state / config.audio_heads;
    let blocks = config.audio_ctx.div_ceil(BLOCK);
    let heads = &workspace.heads;
    let tasks = workspace.mixed.par_chunks_mut(BLOCK * head_width);
    let tasks = tasks.enumerate().with_max_len(1);
    tasks.for_each(|(task, out)| {
        let (head, block) = (task / blocks, task % blocks);
        if !rows.contains(&(block * BLOCK)) {
            return;
        }
        let len = rows_of(block, context).next_multiple_of(tile_rows::<K>()) * head_width;
        scratches.with(|scratch| {
            kernel.vectorize(Attend {
                queries: &heads[task],
                blocks: &heads[head * blocks..][..context.div_ceil(BLOCK)],
                context,
                out: &mut out[..len],
                scratch: &mut scratch.attention,
            });
        });
    });
}

impl<K: Kernel> Encode for Graph<K> {
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

/// Normalised rows, block by block.
fn normed_blocks<V: Send>(normed: &mut [V], width: usize) -> rayon::slice::ChunksMut<'_, V> {
    normed.par_chunks_mut(BLOCK * stride::<V>(width))
}

fn normalize<K: Kernel>(
    kernel: K,
    norm: &Norm,
    x: &[f32],
    out: &mut [K::Value],
    floats: &mut [f32],
) {
    let stride = stride::<K::Value>(norm.weight.len());
    kernel.vectorize(Normalize {
        norm,
        x,
        out,
        stride,
        floats,
    });
}

/// `x += fc2(GELU(fc1(rows)))`
fn expand_and_contract<K: Kernel>(
    kernel: K,
    layer: &Layer<K>,
    count: usize,
    scratch: &mut Scratch<K>,
    x: &mut [f32],
) {
    let Scratch {
        rows, hidden, left, ..
    } = scratch;
    let (width, wide) = (layer.fc2.outputs(), layer.fc1.outputs());
    let rows = K::Linear::prepare(
        kernel,
        ValueRows {
            values: rows,
            depth: width,
            count: BLOCK,
        },
        left,
    );
    let sink = ToValues::new(hidden, stride::<K::Value>(wide), Gelu);
    layer.fc1.multiply(kernel, rows, count, sink);
    let hidden = K::Linear::prepare(
        kernel,
        ValueRows {
            values: hidden,
            depth: wide,
            count: BLOCK,
        },
        left,
    );
    let sink = AddTo { out: x, width };
    layer.fc2.multiply(kernel, hidden, count, sink);
}

/// Attention's output, (heads, rows, head width).
pub(in crate::encoder) struct Mixed<'a, V> {
    pub values: &'a [V],
    pub heads: usize,
}

impl<V: Copy> Mixed<'_, V> {
    /// The rows of a block with all their heads side by side.
    pub fn gather(&self, block: usize, width: usize, rows: &mut [V], stride: usize) {
        let head_width = width / self.heads;
        for (head, values) in self
            .values
            .chunks_exact(self.values.len() / self.heads)
            .enumerate()
        {
            let values = values[block * BLOCK * head_width..].chunks_exact(head_width);
            for (row, values) in rows.chunks_exact_mut(stride).zip(values) {
                row[head * head_width..][..head_width].copy_from_slice(values);
            }
        }
    }
}

/// f32 to the kernel's values.
struct Narrow<'a, V> {
    from: &'a [f32],
    to: &'a mut [V],
}

impl<K: Kernel> Operation<K> for Narrow<'_, K::Value> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let whole = self.from.len() / K::LANES * K::LANES;
        for i in (0..whole).step_by(K::LANES) {
            kernel.narrow(kernel.load(&self.from[i..]), &mut self.to[i..]);
        }
        for i in whole..self.from.len() {
            self.to[i] = K::value(self.from[i]);
        }
    }
}
