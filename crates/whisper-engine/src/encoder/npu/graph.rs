// SPDX-License-Identifier: MPL-2.0
//! The encoder's graph with its projections on the NPU: four products per layer and lane, with the
//! CPU's kernels between them.
//!
//! | product | before it, on the CPU | after it, on the CPU |
//! |---|---|---|
//! | queries, keys, values | | bias, unpacked into heads |
//! | attention's output projection | attention | bias, residual, normalisation |
//! | fc1 | | bias, GELU |
//! | fc2 | | bias, residual, normalisation |
//!
//! Each two decoder layers add one product for the keys and values of their cross-attention.
//!
//! Only attention looks at other rows. So a window is cut into lanes of 512 rows, which take turns:
//! while the device has one, the CPU prepares the next one and finishes the one before. A window of
//! one lane is on the device and on the CPU in turn.

use std::f32::consts::LOG2_E;

use ndarray::Array2;

use super::cpu_stage::{CpuStage, contiguous, unpack_cross_kv};
use super::lane::Lane;
use super::weights::{LANE_ROWS, Projection, unsuited};
use crate::encoder::graph::AudioEncoder;
use crate::encoder::stages::Stem;
use crate::encoder::{AudioFeatures, CrossKv, EncoderError};
use crate::weights::layer_norm;
use whisper_frontend::mel::WINDOW_FRAMES;
use whisper_kernels::EncoderKernel;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_model::{Config, Model};
use xdna::contract::TILE;
use xdna::matmul::Multiplier;
use xdna::{NpuDevice, NpuError};

/// Decoder layers whose keys and values are one product, as wide as fc1's.
const CROSS_LAYERS: usize = 2;

struct Layer {
    attention_norm: LayerNorm,
    /// Queries, keys and values side by side. Queries are scaled as
    /// [`whisper_kernels::encoder_attention::EncoderAttention`] wants them.
    qkv: Projection,
    out: Projection,
    mlp_norm: LayerNorm,
    fc1: Projection,
    fc2: Projection,
}

impl Layer {
    fn load(model: &Model, index: usize, npu: &mut Multiplier) -> Result<Self, NpuError> {
        let name = |part: &str| format!("model.encoder.layers.{index}.{part}");
        let norm = |part: &str| layer_norm(model, &name(part)).map_err(unsuited);
        let mut upload = |parts: &[(&str, f32)]| {
            let layers = parts.iter().map(|(part, scale)| (name(part), *scale));
            Projection::upload(npu, model, layers)
        };
        let scale = LOG2_E / (TILE as f32).sqrt();
        let qkv = [
            ("self_attn.q_proj", scale),
            ("self_attn.k_proj", 1.0),
            ("self_attn.v_proj", 1.0),
        ];
        Ok(Self {
            attention_norm: norm("self_attn_layer_norm")?,
            qkv: upload(&qkv)?,
            out: upload(&[("self_attn.out_proj", 1.0)])?,
            mlp_norm: norm("final_layer_norm")?,
            fc1: upload(&[("fc1", 1.0)])?,
            fc2: upload(&[("fc2", 1.0)])?,
        })
    }
}

/// Uploads keys and values of the cross-attention of [`CROSS_LAYERS`] decoder layers from `first`
/// on, side by side.
fn upload_cross(npu: &mut Multiplier, model: &Model, first: usize) -> Result<Projection, NpuError> {
    let layers = first..model.config.text_layers.min(first + CROSS_LAYERS);
    let parts = layers.flat_map(|layer| {
        ["k_proj", "v_proj"].map(|part| {
            let name = format!("model.decoder.layers.{layer}.encoder_attn.{part}");
            (name, 1.0)
        })
    });
    Projection::upload(npu, model, parts)
}

/// The encoder for one instruction set of the CPU and any device.
pub struct Graph<K: EncoderKernel> {
    stem: Stem<K>,
    layers: Vec<Layer>,
    last_norm: LayerNorm,
    /// Keys and values for the decoder.
    cross: Vec<Projection>,
    pipeline: Pipeline<K>,
}

impl<K: EncoderKernel> Graph<K> {
    pub fn new(kernel: K, model: &Model, device: Box<dyn NpuDevice>) -> Result<Self, NpuError> {
        let config = &model.config;
        if config.audio_state != TILE * config.audio_heads {
            return Err(NpuError::Unsuited(
                "its attention heads are not 64 wide".into(),
            ));
        }
        let mut npu = Multiplier::new(device);
        let layers = (0..config.audio_layers).map(|i| Layer::load(model, i, &mut npu));
        let layers = layers.collect::<Result<_, _>>()?;
        let cross = (0..config.text_layers).step_by(CROSS_LAYERS);
        let cross = cross.map(|first| upload_cross(&mut npu, model, first));
        Ok(Self {
            stem: Stem::load(model).map_err(unsuited)?,
            layers,
            last_norm: layer_norm(model, "model.encoder.layer_norm").map_err(unsuited)?,
            cross: cross.collect::<Result<_, _>>()?,
            pipeline: Pipeline::new(kernel, config, npu)?,
        })
    }
}

impl<K: EncoderKernel> AudioEncoder for Graph<K> {
    fn encode(
        &mut self,
        mel: &Array2<f32>,
        context: usize,
        out: &mut AudioFeatures,
    ) -> Result<(), EncoderError> {
        let (pipeline, layers) = (&mut self.pipeline, &self.layers);
        let mel = mel.as_slice().ok_or(EncoderError::NonContiguous)?;
        let n_mels = mel.len() / WINDOW_FRAMES;
        pipeline.begin(&self.stem, &mel[..2 * context * n_mels], context);
        let mut turn = Turn {
            pipeline,
            pending: None,
            hidden: contiguous(&mut out.hidden)?,
            cross: &mut out.cross,
        };
        for (index, layer) in layers.iter().enumerate() {
            let first = (index == 0).then_some(Before::Normalize(&layer.attention_norm));
            let next = match layers.get(index + 1) {
                Some(next) => After::Residual(&next.attention_norm),
                None => After::LastResidual(&self.last_norm),
            };
            turn.multiply(&layer.qkv, first, After::UnpackQkv)?;
            turn.multiply(
                &layer.out,
                Some(Before::Attend),
                After::Residual(&layer.mlp_norm),
            )?;
            turn.multiply(&layer.fc1, None, After::Gelu)?;
            turn.multiply(&layer.fc2, None, next)?;
        }
        for (part, cross) in self.cross.iter().enumerate() {
            turn.multiply(cross, None, After::UnpackCross(part * CROSS_LAYERS))?;
        }
        turn.finish()
    }
}

/// The CPU, the device, and the lanes that go back and forth between them.
struct Pipeline<K: EncoderKernel> {
    cpu: CpuStage<K>,
    npu: Multiplier,
    lanes: Vec<Lane>,
    /// Lanes that the window has.
    used: usize,
}

impl<K: EncoderKernel> Pipeline<K> {
    fn new(kernel: K, config: &Config, mut npu: Multiplier) -> Result<Self, NpuError> {
        let lanes = 0..config.audio_ctx.div_ceil(LANE_ROWS);
        let lanes = lanes.map(|_| Lane::new(&mut npu, config.audio_state));
        Ok(Self {
            lanes: lanes.collect::<Result<_, _>>()?,
            used: 0,
            cpu: CpuStage::new(kernel, config),
            npu,
        })
    }

    /// Makes the residual stream of a window, and cuts it into lanes.
    fn begin(&mut self, stem: &Stem<K>, mel: &[f32], context: usize) {
        self.cpu.convolve(stem, mel, context);
        self.used = context.div_ceil(LANE_ROWS);
        for (lane, first) in self.lanes.iter_mut().zip((0..).step_by(LANE_ROWS)) {
            lane.rows = first.min(context)..context.min(first + LANE_ROWS);
        }
    }
}

/// The CPU's work on a lane before a product.
#[derive(Clone, Copy)]
enum Before<'m> {
    Normalize(&'m LayerNorm),
    /// Looks at the keys of all lanes.
    Attend,
}

/// The CPU's work on a lane after a product.
#[derive(Clone, Copy)]
enum After<'m> {
    UnpackQkv,
    /// Adds the product to the residual stream, and normalises that for what comes next.
    Residual(&'m LayerNorm),
    /// As [`After::Residual`], for the encoder's output.
    LastResidual(&'m LayerNorm),
    Gelu,
    /// For the decoder layers from this one on.
    UnpackCross(usize),
}

/// Work that is left to do while the device computes something else.
struct Pending<'m> {
    lane: usize,
    projection: &'m Projection,
    after: After<'m>,
}

/// A window on its way.
struct Turn<'m, 'w, K: EncoderKernel> {
    pipeline: &'w mut Pipeline<K>,
    pending: Option<Pending<'m>>,
    hidden: &'w mut [f32],
    cross: &'w mut [CrossKv],
}

impl<'m, K: EncoderKernel> Turn<'m, '_, K> {
    /// Multiplies all lanes by `projection`, in turn. Leaves the work after the last product pending.
    fn multiply(
        &mut self,
        projection: &'m Projection,
        before: Option<Before<'m>>,
        after: After<'m>,
    ) -> Result<(), EncoderError> {
        if let Some(before) = before {
            // All keys must be there.
            self.finish()?;
            let Pipeline { cpu, lanes, .. } = &mut *self.pipeline;
            before.work(cpu, &mut lanes[0])?;
        }
        for index in 0..self.pipeline.used {
            // With one lane only, the device waits for the work of the product before.
            if self.pending.as_ref().is_some_and(|left| left.lane == index) {
                self.finish()?;
            }
            let pending = self.pending.take();
            let Pipeline {
                cpu,
                npu,
                lanes,
                used,
            } = &mut *self.pipeline;
            let (done, rest) = lanes[..*used].split_at_mut(index);
            let Some((lane, following)) = rest.split_first_mut() else {
                break;
            };
            npu.run(lane.step(projection), || {
                if let (Some(before), Some(next)) = (before, following.first_mut()) {
                    before.work(cpu, next)?;
                }
                let Some(pending) = pending else {
                    return Ok(());
                };
                // The lane before this one; before the first one, the last one of the product before.
                let lanes = if done.is_empty() { following } else { done };
                pending.work(cpu, lanes, self.hidden, self.cross)
            })?;
            self.pending = Some(Pending {
                lane: index,
                projection,
                after,
            });
        }
        Ok(())
    }

    /// Does what is pending, while the device idles.
    fn finish(&mut self) -> Result<(), EncoderError> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let Pipeline {
            cpu, lanes, used, ..
        } = &mut *self.pipeline;
        pending.work(cpu, &mut lanes[..*used], self.hidden, self.cross)
    }
}

impl Before<'_> {
    fn work<K: EncoderKernel>(
        self,
        cpu: &mut CpuStage<K>,
        lane: &mut Lane,
    ) -> Result<(), NpuError> {
        match self {
            Self::Normalize(norm) => cpu.normalize(norm, lane, &mut []),
            Self::Attend => cpu.attend(lane),
        }
    }
}

impl Pending<'_> {
    /// Works on the last of `lanes`; those before it may be looked at.
    fn work<K: EncoderKernel>(
        self,
        cpu: &mut CpuStage<K>,
        lanes: &mut [Lane],
        hidden: &mut [f32],
        cross: &mut [CrossKv],
    ) -> Result<(), EncoderError> {
        let projection = self.projection;
        if matches!(self.after, After::UnpackQkv) {
            return Ok(cpu.unpack_qkv(projection, lanes)?);
        }
        let Some(lane) = lanes.last_mut() else {
            return Ok(());
        };
        match self.after {
            After::UnpackQkv => {}
            After::Residual(norm) => {
                cpu.add_residual(projection, lane)?;
                cpu.normalize(norm, lane, &mut [])?;
            }
            After::LastResidual(norm) => {
                cpu.add_residual(projection, lane)?;
                cpu.normalize(norm, lane, hidden)?;
            }
            After::Gelu => cpu.gelu(projection, lane)?,
            After::UnpackCross(first) => {
                let last = cross.len().min(first + CROSS_LAYERS);
                unpack_cross_kv(projection, lane, &mut cross[first..last])?;
            }
        }
        Ok(())
    }
}
