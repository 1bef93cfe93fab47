// SPDX-License-Identifier: MPL-2.0
//! The encoder's graph with its projections on the NPU: three submissions per layer and half, with
//! the CPU's kernels between them.
//!
//! | submission | A | C |
//! |---|---|---|
//! | queries, keys, values | the normalised rows | three times as wide |
//! | attention's output projection | attention's heads side by side | as wide |
//! | fc1 and GELU, then fc2 | the normalised rows | four times as wide, then as wide |
//!
//! Each two decoder layers add one submission for the keys and values of their cross-attention.
//!
//! Only attention looks at the keys of other rows. So a window of more than [`HALF_ROWS`] rows is
//! cut into two halves that take turns: while one is on the device, the CPU finishes the results of
//! the other one and prepares its next input. The rows of a shorter window are on the device and on
//! the CPU in turn. In both cases the cross-attention's keys and values are unpacked while the next
//! ones are computed.

use std::f32::consts::LOG2_E;
use std::mem::swap;

use ndarray::Array2;

use super::cpu_stage::{CpuStage, contiguous, head_width, unpack_cross_kv};
use super::row_half::{HALF_ROWS, RowHalf};
use super::weights::{unsuited, upload};
use crate::encoder::graph::AudioEncoder;
use crate::encoder::stages::Stem;
use crate::encoder::{AudioFeatures, CrossKv, EncoderError};
use crate::weights::layer_norm;
use whisper_frontend::mel::WINDOW_FRAMES;
use whisper_kernels::EncoderKernel;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_model::{Config, Model};
use xdna::contract::Epilogue;
use xdna::matmul::{DeviceWeights, MatMulStep, Multiplier};
use xdna::{NpuDevice, NpuError};

/// Decoder layers whose keys and values are one product, as wide as [`RowHalf::wide`].
const CROSS_LAYERS: usize = 2;

/// A normalisation, and the product that takes its rows.
struct NormedProjection {
    norm: LayerNorm,
    weights: DeviceWeights,
}

struct Layer {
    /// Queries, keys and values side by side. Queries are scaled as
    /// [`whisper_kernels::encoder_attention::EncoderAttention`] wants them.
    qkv: NormedProjection,
    out: DeviceWeights,
    feed_forward_norm: LayerNorm,
    fc1: DeviceWeights,
    fc2: DeviceWeights,
}

impl Layer {
    fn load(model: &Model, index: usize, npu: &mut Multiplier) -> Result<Self, NpuError> {
        let name = |part: &str| format!("model.encoder.layers.{index}.{part}");
        let mut upload = |parts: &[(&str, f32)], epilogue| {
            let layers = parts.iter().map(|(part, scale)| (name(part), *scale));
            upload(npu, model, layers, epilogue)
        };
        let scale = LOG2_E / (head_width(&model.config) as f32).sqrt();
        let qkv = [
            ("self_attn.q_proj", scale),
            ("self_attn.k_proj", 1.0),
            ("self_attn.v_proj", 1.0),
        ];
        Ok(Self {
            qkv: NormedProjection {
                norm: layer_norm(model, &name("self_attn_layer_norm")).map_err(unsuited)?,
                weights: upload(&qkv, Epilogue::None)?,
            },
            out: upload(&[("self_attn.out_proj", 1.0)], Epilogue::None)?,
            feed_forward_norm: layer_norm(model, &name("final_layer_norm")).map_err(unsuited)?,
            fc1: upload(&[("fc1", 1.0)], Epilogue::Gelu)?,
            fc2: upload(&[("fc2", 1.0)], Epilogue::None)?,
        })
    }
}

/// Uploads keys and values of the cross-attention of [`CROSS_LAYERS`] decoder layers from `first`
/// on, side by side.
fn upload_cross(
    npu: &mut Multiplier,
    model: &Model,
    first: usize,
) -> Result<DeviceWeights, NpuError> {
    let layers = first..model.config.text_layers.min(first + CROSS_LAYERS);
    let parts = layers.flat_map(|layer| {
        ["k_proj", "v_proj"].map(|part| {
            let name = format!("model.decoder.layers.{layer}.encoder_attn.{part}");
            (name, 1.0)
        })
    });
    upload(npu, model, parts, Epilogue::None)
}

/// The encoder for one instruction set of the CPU and any device.
pub struct Graph<K: EncoderKernel> {
    stem: Stem<K>,
    layers: Vec<Layer>,
    /// The last normalisation, with keys and values of the first decoder layers.
    cross_first: NormedProjection,
    /// Keys and values of the other decoder layers.
    cross_rest: Vec<DeviceWeights>,
    pipeline: RowPipeline<K>,
}

impl<K: EncoderKernel> Graph<K> {
    pub fn new(kernel: K, model: &Model, device: Box<dyn NpuDevice>) -> Result<Self, NpuError> {
        let config = &model.config;
        let refused = |what: &str| Err(NpuError::Unsuited(what.into()));
        if !head_width(config).is_multiple_of(K::NR) {
            return refused("its attention heads are not 64 wide");
        }
        if config.audio_ctx > 2 * HALF_ROWS {
            return refused("its windows are longer than Whisper's");
        }
        let mut npu = Multiplier::new(device);
        let layers = (0..config.audio_layers).map(|i| Layer::load(model, i, &mut npu));
        let layers = layers.collect::<Result<_, _>>()?;
        let cross_first = NormedProjection {
            norm: layer_norm(model, "model.encoder.layer_norm").map_err(unsuited)?,
            weights: upload_cross(&mut npu, model, 0)?,
        };
        let rest = (CROSS_LAYERS..config.text_layers).step_by(CROSS_LAYERS);
        let cross_rest = rest.map(|first| upload_cross(&mut npu, model, first));
        Ok(Self {
            stem: Stem::load(model).map_err(unsuited)?,
            layers,
            cross_first,
            cross_rest: cross_rest.collect::<Result<_, _>>()?,
            pipeline: RowPipeline::new(kernel, config, npu)?,
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
        let (pipeline, hidden) = (&mut self.pipeline, contiguous(&mut out.hidden)?);
        let mel = mel.as_slice().ok_or(EncoderError::NonContiguous)?;
        let n_mels = mel.len() / WINDOW_FRAMES;
        pipeline.begin(&self.stem, &mel[..2 * context * n_mels], context);
        let first = self
            .layers
            .first()
            .map_or(&self.cross_first, |layer| &layer.qkv);
        pipeline.enter(first)?;
        for (index, layer) in self.layers.iter().enumerate() {
            pipeline.attend(layer)?;
            match self.layers.get(index + 1) {
                Some(next) => pipeline.feed_forward(layer, &next.qkv, None)?,
                None => pipeline.feed_forward(layer, &self.cross_first, Some(&mut *hidden))?,
            }
        }
        let cross = [&self.cross_first.weights]
            .into_iter()
            .chain(&self.cross_rest);
        pipeline.project_cross_kv(cross, &mut out.cross)
    }
}

/// The CPU, the device, and the halves of a window that go back and forth between them.
struct RowPipeline<K: EncoderKernel> {
    cpu: CpuStage<K>,
    npu: Multiplier,
    halves: [RowHalf; 2],
}

impl<K: EncoderKernel> RowPipeline<K> {
    fn new(kernel: K, config: &Config, mut npu: Multiplier) -> Result<Self, NpuError> {
        let mut half = || RowHalf::new(&mut npu, config.audio_state);
        Ok(Self {
            halves: [half()?, half()?],
            cpu: CpuStage::new(kernel, config),
            npu,
        })
    }

    /// Makes the residual stream of a window, and cuts it into halves.
    fn begin(&mut self, stem: &Stem<K>, mel: &[f32], context: usize) {
        self.cpu.convolve(stem, mel, context);
        for (half, first) in self.halves.iter_mut().zip([0, HALF_ROWS]) {
            half.rows = first.min(context)..context.min(first + HALF_ROWS);
        }
    }

    /// Brings the halves to where a layer begins: the first one is projected by `entry`, the second
    /// one normalised.
    fn enter(&mut self, entry: &NormedProjection) -> Result<(), NpuError> {
        let Self {
            cpu,
            npu,
            halves: [a, b],
        } = self;
        cpu.normalize(&entry.norm, a, None)?;
        npu.run(a.rows.len(), &[a.widen(&entry.weights)], || {
            cpu.normalize(&entry.norm, b, None)
        })
    }

    /// Runs the attention block of a layer. Leaves the first half normalised for the feed-forward
    /// block, the second one projected.
    fn attend(&mut self, layer: &Layer) -> Result<(), NpuError> {
        let Self {
            cpu,
            npu,
            halves: [a, b],
        } = self;
        let norm = &layer.feed_forward_norm;
        npu.run(b.rows.len(), &[b.widen(&layer.qkv.weights)], || {
            cpu.unpack_qkv(a)
        })?;
        // The device idles here: every query looks at all keys.
        cpu.unpack_qkv(b)?;
        cpu.attend(a)?;
        npu.run(a.rows.len(), &[a.project(&layer.out)], || cpu.attend(b))?;
        npu.run(b.rows.len(), &[b.project(&layer.out)], || {
            cpu.add_and_normalize(norm, a, None)
        })
    }

    /// Runs the feed-forward block of a layer, then leaves the halves as [`RowPipeline::enter`]
    /// does for `next`. The rows that are normalised for `next` go to `hidden` too.
    fn feed_forward(
        &mut self,
        layer: &Layer,
        next: &NormedProjection,
        mut hidden: Option<&mut [f32]>,
    ) -> Result<(), NpuError> {
        let Self {
            cpu,
            npu,
            halves: [a, b],
        } = self;
        let steps = [a.widen(&layer.fc1), a.contract(&layer.fc2)];
        npu.run(a.rows.len(), &steps, || {
            cpu.add_and_normalize(&layer.feed_forward_norm, b, None)
        })?;
        let steps = [b.widen(&layer.fc1), b.contract(&layer.fc2)];
        npu.run(b.rows.len(), &steps, || {
            cpu.add_and_normalize(&next.norm, a, hidden.as_deref_mut())
        })?;
        npu.run(a.rows.len(), &[a.widen(&next.weights)], || {
            cpu.add_and_normalize(&next.norm, b, hidden)
        })
    }

    /// Computes keys and values for the decoder's cross-attention. The first half is already
    /// projected by the first of `cross`. Each product is unpacked while the next one is computed
    /// to the other half's buffer.
    fn project_cross_kv<'a>(
        &mut self,
        cross: impl Iterator<Item = &'a DeviceWeights>,
        out: &mut [CrossKv],
    ) -> Result<(), EncoderError> {
        let Self {
            npu,
            halves: [a, b],
            ..
        } = self;
        let (mut done, mut free) = (&mut a.wide, &mut b.wide);
        let halves = [(&a.input, &a.rows), (&b.input, &b.rows)];
        let count = out.len();
        let layers = |part| CROSS_LAYERS * part..count.min(CROSS_LAYERS * (part + 1));
        let mut last = None;
        for (part, weights) in cross.enumerate() {
            for (input, rows) in halves.iter().filter(|(_, rows)| !rows.is_empty()) {
                // The very first product is already computed, with none before it to unpack.
                if let Some((before, of)) = last.replace((layers(part), *rows)) {
                    let step = MatMulStep {
                        a: &***input,
                        weights,
                        c: &**free,
                    };
                    npu.run(rows.len(), &[step], || {
                        unpack_cross_kv(&mut **done, of, &mut out[before])
                    })?;
                    swap(&mut done, &mut free);
                }
            }
        }
        last.map_or(Ok(()), |(layers, rows)| {
            unpack_cross_kv(&mut **done, rows, &mut out[layers])
        })
    }
}
