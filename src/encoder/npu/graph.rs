// SPDX-License-Identifier: MPL-2.0
//! The encoder's graph with its projections on the NPU: three submissions per layer, and CPU kernels between them.
//!
//! | submission | A | C |
//! |---|---|---|
//! | queries, keys, values | the normalised rows | three times as wide |
//! | attention's projection | the mixed values | as wide |
//! | fc1 and GELU, then fc2 | the normalised rows | four times as wide, then as wide |
//!
//! and one for the cross-attention keys and values of each two decoder layers. The activations pass through three
//! buffers: `left`, `wide`, `narrow`. Rows beyond the context, up to a whole pass, are computed and looked at by nobody.

use std::f32::consts::LOG2_E;

use ndarray::Array2;
use rayon::prelude::*;

use super::contract::{Epilogue, PASS_ROWS};
use super::device::{NpuBuffer, NpuDevice, NpuError};
use super::products::{Products, Resident, Step};
use super::rows::{NormalizeRow, Part, add, narrow};
use crate::encoder::cpu::graph::{self, Encode, rows_of};
use crate::encoder::cpu::weights::{Stem, norm};
use crate::encoder::cpu::workspace::{BLOCK, Scratches, Workspace};
use crate::encoder::{AudioFeatures, CrossKv, EncoderError};
use crate::kernel::Kernel;
use crate::kernel::attention::Block;
use crate::kernel::norm::Norm;
use crate::model::{Config, Model};

/// Decoder layers whose keys and values are one product: as wide as `wide` is.
const LAYERS_TOGETHER: usize = 2;

struct Layer {
    attention_norm: Norm,
    /// Queries, keys and values side by side; queries scaled as [`crate::kernel::attention::Attend`] wants them.
    qkv: Resident,
    out: Resident,
    feed_forward_norm: Norm,
    fc1: Resident,
    fc2: Resident,
}

impl Layer {
    fn load(model: &Model, index: usize, products: &mut Products) -> Result<Self, NpuError> {
        let name = |part: &str| format!("model.encoder.layers.{index}.{part}");
        let mut settle = |parts: &[(&str, f32)], epilogue| {
            let parts = parts.iter().map(|(part, scale)| (name(part), *scale));
            products.settle(model, parts, epilogue)
        };
        let scale = LOG2_E / (head_width(&model.config) as f32).sqrt();
        let qkv = [
            ("self_attn.q_proj", scale),
            ("self_attn.k_proj", 1.0),
            ("self_attn.v_proj", 1.0),
        ];
        Ok(Self {
            attention_norm: norm(model, &name("self_attn_layer_norm"))?,
            qkv: settle(&qkv, Epilogue::None)?,
            out: settle(&[("self_attn.out_proj", 1.0)], Epilogue::None)?,
            feed_forward_norm: norm(model, &name("final_layer_norm"))?,
            fc1: settle(&[("fc1", 1.0)], Epilogue::Gelu)?,
            fc2: settle(&[("fc2", 1.0)], Epilogue::None)?,
        })
    }
}

/// Keys and values of the cross-attention of decoder layer `first` and those after it, side by side.
fn load_cross(model: &Model, first: usize, products: &mut Products) -> Result<Resident, NpuError> {
    let layers = first..model.config.text_layers.min(first + LAYERS_TOGETHER);
    let parts = layers.flat_map(|layer| {
        ["k_proj", "v_proj"].map(|part| {
            let name = format!("model.decoder.layers.{layer}.encoder_attn.{part}");
            (name, 1.0)
        })
    });
    products.settle(model, parts, Epilogue::None)
}

/// The encoder for one instruction set of the CPU and any device.
pub struct Graph<K: Kernel> {
    stem: Stem<K>,
    layers: Vec<Layer>,
    norm: Norm,
    cross: Vec<Resident>,
    bench: Bench<K>,
}

impl<K: Kernel> Graph<K> {
    pub fn new(kernel: K, model: &Model, device: Box<dyn NpuDevice>) -> Result<Self, NpuError> {
        let config = &model.config;
        if !head_width(config).is_multiple_of(K::COLUMNS) {
            return Err(NpuError::Unsuited(
                "its attention heads are not 64 wide".into(),
            ));
        }
        let mut products = Products::new(device);
        let layers = (0..config.audio_layers).map(|i| Layer::load(model, i, &mut products));
        let layers = layers.collect::<Result<_, _>>()?;
        let pairs = (0..config.text_layers).step_by(LAYERS_TOGETHER);
        let cross = pairs.map(|first| load_cross(model, first, &mut products));
        Ok(Self {
            stem: Stem::load(model)?,
            layers,
            norm: norm(model, "model.encoder.layer_norm")?,
            cross: cross.collect::<Result<_, _>>()?,
            bench: Bench::new(kernel, config, products)?,
        })
    }
}

impl<K: Kernel> Encode for Graph<K> {
    fn encode(
        &mut self,
        mel: &Array2<f32>,
        context: usize,
        out: &mut AudioFeatures,
    ) -> Result<(), EncoderError> {
        let bench = &mut self.bench;
        graph::convolve(
            bench.kernel,
            &self.stem,
            None,
            &mut bench.workspace,
            mel.as_slice().ok_or_else(strided)?,
            context,
        );
        for layer in &self.layers {
            bench.normalize(&layer.attention_norm, context, &mut [])?;
            bench.attend(layer, context)?;
            bench.normalize(&layer.feed_forward_norm, context, &mut [])?;
            bench.feed_forward(layer, context)?;
        }
        let hidden = &mut contiguous(&mut out.hidden)?[..context * bench.width()];
        bench.normalize(&self.norm, context, hidden)?;
        for (right, out) in self.cross.iter().zip(out.cross.chunks_mut(LAYERS_TOGETHER)) {
            bench.project_across(right, context, out)?;
        }
        Ok(())
    }
}

/// What the weights are multiplied with, and by what.
struct Bench<K: Kernel> {
    kernel: K,
    config: Config,
    workspace: Workspace<K>,
    scratches: Scratches<K>,
    products: Products,
    left: Box<dyn NpuBuffer>,
    wide: Box<dyn NpuBuffer>,
    narrow: Box<dyn NpuBuffer>,
}

impl<K: Kernel> Bench<K> {
    fn new(kernel: K, config: &Config, mut products: Products) -> Result<Self, NpuError> {
        let bytes = 2 * config.audio_ctx.next_multiple_of(PASS_ROWS) * config.audio_state;
        Ok(Self {
            kernel,
            config: config.clone(),
            workspace: Workspace::new(config),
            scratches: Scratches::new(config),
            left: products.allocate(bytes)?,
            wide: products.allocate(4 * bytes)?,
            narrow: products.allocate(bytes)?,
            products,
        })
    }

    fn width(&self) -> usize {
        self.config.audio_state
    }

    /// Lets the device have the rows of `left` that the next product reads.
    fn offer(&self, context: usize) -> Result<(), NpuError> {
        let rows = context.next_multiple_of(PASS_ROWS);
        self.left.sync_to_device(0..2 * rows * self.width())
    }

    /// The residual stream, normalised, to `left`; and to `floats`, unless that is empty.
    fn normalize(
        &mut self,
        norm: &Norm,
        context: usize,
        floats: &mut [f32],
    ) -> Result<(), NpuError> {
        let (kernel, width) = (self.kernel, self.width());
        let x = self.workspace.x[..context * width].par_chunks(width);
        let left = self.left.bytes_mut().par_chunks_mut(2 * width);
        if floats.is_empty() {
            x.zip(left).for_each(|(x, left)| {
                let write = |at, values: &[f32]| narrow(values, &mut left[2 * at..]);
                kernel.vectorize(NormalizeRow { norm, x, write });
            });
        } else {
            let floats = floats.par_chunks_mut(width);
            x.zip(left).zip(floats).for_each(|((x, left), floats)| {
                let write = |at, values: &[f32]| {
                    narrow(values, &mut left[2 * at..]);
                    floats[at..][..values.len()].copy_from_slice(values);
                };
                kernel.vectorize(NormalizeRow { norm, x, write });
            });
        }
        self.offer(context)
    }

    /// The rows in `left` by `right`, to `wide`.
    fn widen(&mut self, right: &Resident, context: usize) -> Result<(), NpuError> {
        let step = Step::new(&*self.left, right, &*self.wide);
        self.products.run(context, &[step])?;
        self.wide.sync_from_device(0..2 * context * right.columns())
    }

    /// Attention over the rows in `left`, added to the residual stream.
    fn attend(&mut self, layer: &Layer, context: usize) -> Result<(), NpuError> {
        self.widen(&layer.qkv, context)?;
        self.deliver(context);
        let (kernel, workspace) = (self.kernel, &mut self.workspace);
        graph::attend(kernel, &self.config, workspace, &self.scratches, context);
        self.gather(context);
        self.offer(context)?;
        let project = Step::new(&*self.left, &layer.out, &*self.narrow);
        self.products.run(context, &[project])?;
        self.add(context)
    }

    /// The feed-forward half of a layer on the rows in `left`, added to the residual stream.
    fn feed_forward(&mut self, layer: &Layer, context: usize) -> Result<(), NpuError> {
        let expand = Step::new(&*self.left, &layer.fc1, &*self.wide);
        let contract = Step::new(&*self.wide, &layer.fc2, &*self.narrow);
        self.products.run(context, &[expand, contract])?;
        self.add(context)
    }

    /// Queries, keys and values from `wide` to the orders that attention takes them in.
    fn deliver(&mut self, context: usize) {
        let (kernel, width, head_width) = (self.kernel, self.width(), head_width(&self.config));
        let count_of_heads = self.config.audio_heads;
        let stride = 3 * width;
        let (wide, scratches) = (self.wide.bytes(), &self.scratches);
        let tasks = self.workspace.heads.par_iter_mut().enumerate();
        tasks.for_each(|(task, heads)| {
            let (block, head) = (task / count_of_heads, task % count_of_heads);
            let count = rows_of(block, context);
            let parts = [0, 1, 2].map(|part| Part {
                rows: &wide[2 * block * BLOCK * stride..],
                stride,
                column: part * width + head * head_width,
                width: head_width,
                count,
            });
            scratches.with(|scratch| heads.fill(kernel, count, parts, &mut scratch.head));
        });
    }

    /// Attention's heads side by side, to `left`.
    fn gather(&mut self, context: usize) {
        let (width, head_width) = (self.width(), head_width(&self.config));
        let head_len = self.config.audio_ctx.next_multiple_of(BLOCK) * head_width;
        let mixed = &self.workspace.mixed;
        let left = self.left.bytes_mut().par_chunks_exact_mut(2 * width);
        left.take(context).enumerate().for_each(|(row, left)| {
            let heads = mixed.chunks_exact(head_len);
            for (left, head) in left.chunks_exact_mut(2 * head_width).zip(heads) {
                narrow(&head[row * head_width..][..head_width], left);
            }
        });
    }

    /// Adds what is in `narrow` to the residual stream.
    fn add(&mut self, context: usize) -> Result<(), NpuError> {
        let width = self.width();
        self.narrow.sync_from_device(0..2 * context * width)?;
        let x = self.workspace.x[..context * width].par_chunks_mut(width);
        let narrow = self.narrow.bytes().par_chunks_exact(2 * width);
        x.zip(narrow).for_each(|(x, from)| add(from, x));
        Ok(())
    }

    /// Keys and values for the cross-attention of some decoder layers.
    fn project_across(
        &mut self,
        right: &Resident,
        context: usize,
        out: &mut [CrossKv],
    ) -> Result<(), EncoderError> {
        self.widen(right, context)?;
        let width = self.width();
        let halves = out.iter_mut().flat_map(|pair| [&mut pair.k, &mut pair.v]);
        for (half, out) in halves.enumerate() {
            let part = Part {
                rows: self.wide.bytes(),
                stride: right.columns(),
                column: half * width,
                width,
                count: context,
            };
            part.to_floats(&mut contiguous(out)?[..context * width]);
        }
        Ok(())
    }
}

fn head_width(config: &Config) -> usize {
    config.audio_state / config.audio_heads
}

fn strided() -> EncoderError {
    EncoderError("the encoder works on contiguous arrays".into())
}

fn contiguous(array: &mut Array2<f32>) -> Result<&mut [f32], EncoderError> {
    array.as_slice_mut().ok_or_else(strided)
}
