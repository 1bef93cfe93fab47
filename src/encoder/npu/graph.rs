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

use half::bf16;
use ndarray::Array2;
use rayon::prelude::*;

use super::arithmetic::{Even, Rounding};
use super::contract::{Epilogue, PASS_ROWS};
use super::device::{NpuBuffer, NpuDevice, NpuError};
use super::products::{Matrix, Products, Resident, Step};
use crate::encoder::cpu::graph::{self, Encode, rows_of};
use crate::encoder::cpu::weights::{Stem, norm};
use crate::encoder::cpu::workspace::{BLOCK, Scratches, Workspace};
use crate::encoder::{AudioFeatures, CrossKv, EncoderError};
use crate::kernel::attention::Block;
use crate::kernel::norm::{Norm, normalize};
use crate::kernel::sink::Transfer;
use crate::kernel::{Kernel, Operation};
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

/// The encoder for one instruction set of the CPU and any device.
pub struct Graph<K: Kernel> {
    kernel: K,
    config: Config,
    stem: Stem<K>,
    layers: Vec<Layer>,
    norm: Norm,
    cross: Vec<Resident>,
    workspace: Workspace<K>,
    scratches: Scratches<K>,
    products: Products,
    left: Box<dyn NpuBuffer>,
    wide: Box<dyn NpuBuffer>,
    narrow: Box<dyn NpuBuffer>,
}

impl<K: Kernel> Graph<K> {
    pub fn new(kernel: K, model: &Model, device: Box<dyn NpuDevice>) -> Result<Self, NpuError> {
        let config = model.config.clone();
        let width = config.audio_state;
        if !(width / config.audio_heads).is_multiple_of(K::COLUMNS) {
            return Err(NpuError::Unsuited(
                "its attention heads are not 64 wide".into(),
            ));
        }
        let mut products = Products::new(device);
        let layers = (0..config.audio_layers).map(|i| Layer::load(model, i, &mut products));
        let layers = layers.collect::<Result<_, _>>()?;
        let pairs: Vec<usize> = (0..config.text_layers).collect();
        let pairs = pairs.chunks(LAYERS_TOGETHER);
        let cross = pairs.map(|pair| load_cross(model, pair, &mut products));
        let cross = cross.collect::<Result<_, _>>()?;
        let bytes = config.audio_ctx.next_multiple_of(PASS_ROWS) * width * 2;
        Ok(Self {
            kernel,
            stem: Stem::load(model)?,
            layers,
            norm: norm(model, "model.encoder.layer_norm")?,
            cross,
            workspace: Workspace::new(&config),
            scratches: Scratches::new(&config),
            left: products.allocate(bytes)?,
            wide: products.allocate(4 * bytes)?,
            narrow: products.allocate(bytes)?,
            products,
            config,
        })
    }

    /// Lets the device have the rows of `left` that the next product reads.
    fn offer(&self, context: usize) -> Result<(), NpuError> {
        let rows = context.next_multiple_of(PASS_ROWS);
        self.left
            .sync_to_device(0..rows * self.config.audio_state * 2)
    }

    /// The residual stream, normalised, to `left`; and to `hidden` as far as that has rows.
    fn normalize(&mut self, norm: Which, context: usize, hidden: &mut [f32]) {
        let norm = match norm {
            Which::Attention(layer) => &self.layers[layer].attention_norm,
            Which::FeedForward(layer) => &self.layers[layer].feed_forward_norm,
            Which::Last => &self.norm,
        };
        let (kernel, width) = (self.kernel, self.config.audio_state);
        let x = self.workspace.x[..context * width].par_chunks(width);
        let out = self.left.bytes_mut().par_chunks_mut(2 * width);
        x.zip(out)
            .for_each(|(x, out)| kernel.vectorize(ToLeft { norm, x, out }));
        let hidden = hidden.par_chunks_mut(width);
        let x = self.workspace.x[..context * width].par_chunks(width);
        hidden
            .zip(x)
            .for_each(|(out, x)| kernel.vectorize(ToHidden { norm, x, out }));
    }

    fn attend(&mut self, layer: usize, context: usize) -> Result<(), NpuError> {
        let qkv = &self.layers[layer].qkv;
        let (left, wide) = (self.left.as_ref(), self.wide.as_ref());
        let step = Step {
            left,
            right: qkv,
            product: wide,
        };
        self.products.run(context, &[step])?;
        self.wide.sync_from_device(0..context * qkv.columns() * 2)?;
        self.deliver(context);
        let (kernel, workspace) = (self.kernel, &mut self.workspace);
        graph::attend(kernel, &self.config, workspace, &self.scratches, context);
        self.gather(context);
        self.offer(context)?;
        let step = Step {
            left: self.left.as_ref(),
            right: &self.layers[layer].out,
            product: self.narrow.as_ref(),
        };
        self.products.run(context, &[step])?;
        self.add(context)
    }

    fn feed_forward(&mut self, layer: usize, context: usize) -> Result<(), NpuError> {
        let Layer { fc1, fc2, .. } = &self.layers[layer];
        let (left, wide) = (self.left.as_ref(), self.wide.as_ref());
        let expand = Step {
            left,
            right: fc1,
            product: wide,
        };
        let contract = Step {
            left: wide,
            right: fc2,
            product: self.narrow.as_ref(),
        };
        self.products.run(context, &[expand, contract])?;
        self.add(context)
    }

    /// Queries, keys and values from `wide` to the orders that attention takes them in.
    fn deliver(&mut self, context: usize) {
        let (kernel, width) = (self.kernel, self.config.audio_state);
        let head_width = width / self.config.audio_heads;
        let blocks = self.config.audio_ctx.div_ceil(BLOCK);
        let wide = self.wide.bytes();
        let scratches = &self.scratches;
        let tasks = self.workspace.heads.par_iter_mut().enumerate();
        tasks.for_each(|(task, heads)| {
            let (head, block) = (task / blocks, task % blocks);
            let rows = rows_of(block, context);
            let floats = [0, 1, 2].map(|part| {
                let part = Part {
                    rows: &wide[block * BLOCK * 3 * width * 2..],
                    stride: 3 * width,
                    column: part * width + head * head_width,
                };
                let mut floats = vec![0.0; rows * head_width];
                part.widen(&mut floats, head_width);
                floats
            });
            let parts = [0, 1, 2].map(|part| transfer(&floats[part], head_width));
            scratches.with(|scratch| heads.fill(kernel, rows, parts, &mut scratch.head));
        });
    }

    /// Attention's heads side by side, to `left`.
    fn gather(&mut self, context: usize) {
        let (width, rows) = (self.config.audio_state, self.config.audio_ctx);
        let head_width = width / self.config.audio_heads;
        let head_len = rows.next_multiple_of(BLOCK) * head_width;
        let mixed = &self.workspace.mixed;
        let left = self.left.bytes_mut().par_chunks_exact_mut(2 * width);
        left.take(context).enumerate().for_each(|(row, left)| {
            for (head, left) in left.chunks_exact_mut(2 * head_width).enumerate() {
                let values = &mixed[head * head_len + row * head_width..][..head_width];
                for (to, value) in left.chunks_exact_mut(2).zip(values) {
                    to.copy_from_slice(&Even::to_bf16((*value).into()).to_le_bytes());
                }
            }
        });
    }

    /// Adds what is in `narrow` to the residual stream.
    fn add(&mut self, context: usize) -> Result<(), NpuError> {
        let width = self.config.audio_state;
        self.narrow.sync_from_device(0..context * width * 2)?;
        let x = self.workspace.x[..context * width].par_chunks_mut(width);
        x.zip(self.narrow.bytes().par_chunks_exact(2 * width))
            .for_each(|(x, from)| {
                for (x, from) in x.iter_mut().zip(from.chunks_exact(2)) {
                    *x += bf16::from_le_bytes([from[0], from[1]]).to_f32();
                }
            });
        Ok(())
    }

    fn project_across(&mut self, context: usize, out: &mut [CrossKv]) -> Result<(), EncoderError> {
        let width = self.config.audio_state;
        for (right, out) in self.cross.iter().zip(out.chunks_mut(LAYERS_TOGETHER)) {
            let step = Step {
                left: self.left.as_ref(),
                right,
                product: self.wide.as_ref(),
            };
            self.products.run(context, &[step])?;
            self.wide
                .sync_from_device(0..context * right.columns() * 2)?;
            let halves = out.iter_mut().flat_map(|pair| [&mut pair.k, &mut pair.v]);
            for (part, out) in halves.enumerate() {
                let part = Part {
                    rows: self.wide.bytes(),
                    stride: right.columns(),
                    column: part * width,
                };
                part.widen(&mut contiguous(out)?[..context * width], width);
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Which {
    Attention(usize),
    FeedForward(usize),
    Last,
}

impl<K: Kernel> Encode for Graph<K> {
    fn encode(
        &mut self,
        mel: &Array2<f32>,
        context: usize,
        out: &mut AudioFeatures,
    ) -> Result<(), EncoderError> {
        let mel = mel.as_slice().ok_or_else(strided)?;
        graph::convolve(
            self.kernel,
            &self.stem,
            None,
            &mut self.workspace,
            mel,
            context,
        );
        for layer in 0..self.layers.len() {
            self.normalize(Which::Attention(layer), context, &mut []);
            self.offer(context)?;
            self.attend(layer, context)?;
            self.normalize(Which::FeedForward(layer), context, &mut []);
            self.offer(context)?;
            self.feed_forward(layer, context)?;
        }
        let width = self.config.audio_state;
        let hidden = &mut contiguous(&mut out.hidden)?[..context * width];
        self.normalize(Which::Last, context, hidden);
        if hidden.iter().any(|x| !x.is_finite()) {
            return Err(NpuError::Garbage("numbers without end".into()).into());
        }
        self.offer(context)?;
        self.project_across(context, &mut out.cross)
    }
}

fn strided() -> EncoderError {
    EncoderError("the encoder works on contiguous arrays".into())
}

fn contiguous(array: &mut Array2<f32>) -> Result<&mut [f32], EncoderError> {
    array.as_slice_mut().ok_or_else(strided)
}

impl Layer {
    fn load(model: &Model, index: usize, products: &mut Products) -> Result<Self, NpuError> {
        let name = format!("model.encoder.layers.{index}");
        let head_width = model.config.audio_state / model.config.audio_heads;
        let mut qkv = Matrix::default();
        let scale = LOG2_E / (head_width as f32).sqrt();
        for (part, scale) in [("q", scale), ("k", 1.0), ("v", 1.0)] {
            qkv.append(model, &format!("{name}.self_attn.{part}_proj"), scale)?;
        }
        let mut one = |part: &str, epilogue| {
            let mut matrix = Matrix::default();
            matrix.append(model, &format!("{name}.{part}"), 1.0)?;
            products.settle(&matrix, epilogue)
        };
        Ok(Self {
            attention_norm: norm(model, &format!("{name}.self_attn_layer_norm"))?,
            out: one("self_attn.out_proj", Epilogue::None)?,
            feed_forward_norm: norm(model, &format!("{name}.final_layer_norm"))?,
            fc1: one("fc1", Epilogue::Gelu)?,
            fc2: one("fc2", Epilogue::None)?,
            qkv: products.settle(&qkv, Epilogue::None)?,
        })
    }
}

/// Keys and values of some decoder layers side by side.
fn load_cross(
    model: &Model,
    layers: &[usize],
    products: &mut Products,
) -> Result<Resident, NpuError> {
    let mut matrix = Matrix::default();
    for layer in layers {
        let name = format!("model.decoder.layers.{layer}.encoder_attn");
        matrix.append(model, &format!("{name}.k_proj"), 1.0)?;
        matrix.append(model, &format!("{name}.v_proj"), 1.0)?;
    }
    products.settle(&matrix, Epilogue::None)
}

/// Some columns of rows of bf16, `stride` values apart.
struct Part<'a> {
    rows: &'a [u8],
    stride: usize,
    column: usize,
}

impl Part<'_> {
    /// To rows of f32, `width` wide, as many as there is room for.
    fn widen(&self, out: &mut [f32], width: usize) {
        let rows = self.rows.chunks_exact(2 * self.stride);
        for (out, row) in out.chunks_exact_mut(width).zip(rows) {
            let row = row[2 * self.column..].chunks_exact(2);
            for (x, from) in out.iter_mut().zip(row) {
                *x = bf16::from_le_bytes([from[0], from[1]]).to_f32();
            }
        }
    }
}

/// All of `from`, rows of `width`.
fn transfer(from: &[f32], width: usize) -> Transfer<'_, ()> {
    Transfer {
        from,
        stride: width,
        columns: 0..width,
        rows: from.len() / width,
        sink: (),
    }
}

/// One row normalised to bf16.
struct ToLeft<'a> {
    norm: &'a Norm,
    x: &'a [f32],
    out: &'a mut [u8],
}

impl<K: Kernel> Operation<K> for ToLeft<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        let mut lanes = [0.0; crate::kernel::MOST_COLUMNS];
        normalize(kernel, self.norm, self.x, |i, y| {
            kernel.store(y, &mut lanes);
            let out = self.out[2 * i..][..2 * K::LANES].chunks_exact_mut(2);
            for (to, x) in out.zip(&lanes) {
                to.copy_from_slice(&Even::to_bf16(*x).to_le_bytes());
            }
        });
    }
}

/// One row normalised to f32.
struct ToHidden<'a> {
    norm: &'a Norm,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<K: Kernel> Operation<K> for ToHidden<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        normalize(kernel, self.norm, self.x, |i, y| {
            kernel.store(y, &mut self.out[i..])
        });
    }
}
