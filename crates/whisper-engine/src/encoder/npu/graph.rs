// SPDX-License-Identifier: MPL-2.0
//! The encoder's graph with its projections on the NPU: three submissions per layer and lane, CPU kernels between them.
//!
//! | submission | A | C |
//! |---|---|---|
//! | queries, keys, values | the normalised rows | three times as wide |
//! | attention's projection | the mixed values | as wide |
//! | fc1 and GELU, then fc2 | the normalised rows | four times as wide, then as wide |
//!
//! and one for the cross-attention keys and values of each two decoder layers. All but attention's look at the keys of
//! the other rows takes each row by itself. So a window of more than [`row_half::LANE_ROWS`] rows is cut into two lanes, which
//! take turns: while one is on the device, the CPU finishes what the device made of the other, and prepares what it gets
//! next. The rows of a shorter window have the device and the CPU in turn, up to the cross-attention's keys and values,
//! which are widened while the next ones are computed.

use std::f32::consts::LOG2_E;
use std::mem::swap;

use ndarray::Array2;

use super::cpu_stage::{CpuStage, contiguous, head_width, unpack_cross_kv};
use super::products::{DeviceWeights, Products, Step, unsuited};
use super::row_half::{LANE_ROWS, RowHalf};
use crate::encoder::graph::AudioEncoder;
use crate::encoder::stages::Stem;
use crate::encoder::{AudioFeatures, CrossKv, EncoderError};
use crate::weights::layer_norm;
use whisper_frontend::mel::WINDOW_FRAMES;
use whisper_kernels::EncoderKernel;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_model::{Config, Model};
use xdna::contract::Epilogue;
use xdna::device::{NpuDevice, NpuError};

/// Decoder layers whose keys and values are one product: as wide as `wide` is.
const LAYERS_TOGETHER: usize = 2;

/// What the residual stream is normalised by, and the first product of that.
struct Entry {
    norm: LayerNorm,
    right: DeviceWeights,
}

struct Layer {
    /// Queries, keys and values side by side; queries scaled as [`whisper_kernels::encoder_attention::EncoderAttention`] wants them.
    qkv: Entry,
    out: DeviceWeights,
    feed_forward_norm: LayerNorm,
    fc1: DeviceWeights,
    fc2: DeviceWeights,
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
            qkv: Entry {
                norm: layer_norm(model, &name("self_attn_layer_norm")).map_err(unsuited)?,
                right: settle(&qkv, Epilogue::None)?,
            },
            out: settle(&[("self_attn.out_proj", 1.0)], Epilogue::None)?,
            feed_forward_norm: layer_norm(model, &name("final_layer_norm")).map_err(unsuited)?,
            fc1: settle(&[("fc1", 1.0)], Epilogue::Gelu)?,
            fc2: settle(&[("fc2", 1.0)], Epilogue::None)?,
        })
    }
}

/// Keys and values of the cross-attention of decoder layer `first` and those after it, side by side.
fn load_cross(
    model: &Model,
    first: usize,
    products: &mut Products,
) -> Result<DeviceWeights, NpuError> {
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
pub struct Graph<K: EncoderKernel> {
    stem: Stem<K>,
    layers: Vec<Layer>,
    /// Keys and values of the first decoder layers.
    heard: Entry,
    /// Those of the others.
    cross: Vec<DeviceWeights>,
    bench: LanePipeline<K>,
}

impl<K: EncoderKernel> Graph<K> {
    pub fn new(kernel: K, model: &Model, device: Box<dyn NpuDevice>) -> Result<Self, NpuError> {
        let config = &model.config;
        let refused = |what: &str| Err(NpuError::Unsuited(what.into()));
        if !head_width(config).is_multiple_of(K::NR) {
            return refused("its attention heads are not 64 wide");
        }
        if config.audio_ctx > 2 * LANE_ROWS {
            return refused("its windows are longer than Whisper's");
        }
        let mut products = Products::new(device);
        let layers = (0..config.audio_layers).map(|i| Layer::load(model, i, &mut products));
        let layers = layers.collect::<Result<_, _>>()?;
        let heard = Entry {
            norm: layer_norm(model, "model.encoder.layer_norm").map_err(unsuited)?,
            right: load_cross(model, 0, &mut products)?,
        };
        let others = (LAYERS_TOGETHER..config.text_layers).step_by(LAYERS_TOGETHER);
        let cross = others.map(|first| load_cross(model, first, &mut products));
        Ok(Self {
            stem: Stem::load(model).map_err(unsuited)?,
            layers,
            heard,
            cross: cross.collect::<Result<_, _>>()?,
            bench: LanePipeline::new(kernel, config, products)?,
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
        let (bench, hidden) = (&mut self.bench, contiguous(&mut out.hidden)?);
        let mel = mel.as_slice().ok_or(EncoderError::NonContiguous)?;
        let n_mels = mel.len() / WINDOW_FRAMES;
        bench.begin(&self.stem, &mel[..2 * context * n_mels], context);
        let first = self.layers.first().map_or(&self.heard, |layer| &layer.qkv);
        bench.enter(first)?;
        for (index, layer) in self.layers.iter().enumerate() {
            bench.attend(layer)?;
            match self.layers.get(index + 1) {
                Some(next) => bench.feed_forward(layer, &next.qkv, None)?,
                None => bench.feed_forward(layer, &self.heard, Some(&mut *hidden))?,
            }
        }
        let cross = [&self.heard.right].into_iter().chain(&self.cross);
        bench.project_across(cross, &mut out.cross)
    }
}

/// The CPU, the device, and the lanes that go back and forth between them.
struct LanePipeline<K: EncoderKernel> {
    host: CpuStage<K>,
    products: Products,
    lanes: [RowHalf; 2],
}

impl<K: EncoderKernel> LanePipeline<K> {
    fn new(kernel: K, config: &Config, mut products: Products) -> Result<Self, NpuError> {
        let mut lane = || RowHalf::new(&mut products, config.audio_state);
        Ok(Self {
            lanes: [lane()?, lane()?],
            host: CpuStage::new(kernel, config),
            products,
        })
    }

    /// Makes the residual stream of a window, and cuts it into lanes.
    fn begin(&mut self, stem: &Stem<K>, mel: &[f32], context: usize) {
        self.host.convolve(stem, mel, context);
        for (lane, first) in self.lanes.iter_mut().zip([0, LANE_ROWS]) {
            lane.rows = first.min(context)..context.min(first + LANE_ROWS);
        }
    }

    /// Leaves the first lane widened and the second one normalised, which is what a layer begins with.
    fn enter(&mut self, entry: &Entry) -> Result<(), NpuError> {
        let Self {
            host,
            products,
            lanes: [a, b],
        } = self;
        host.normalize(&entry.norm, a, None)?;
        products.run(a.rows.len(), &[a.widen(&entry.right)], || {
            host.normalize(&entry.norm, b, None)
        })
    }

    /// The attention half of a layer. Leaves the first lane ready for the feed-forward half, the second one projected.
    fn attend(&mut self, layer: &Layer) -> Result<(), NpuError> {
        let Self {
            host,
            products,
            lanes: [a, b],
        } = self;
        let norm = &layer.feed_forward_norm;
        products.run(b.rows.len(), &[b.widen(&layer.qkv.right)], || {
            host.deliver(a)
        })?;
        // Here the device has nothing to do: every query looks at all keys.
        host.deliver(b)?;
        host.attend(a)?;
        products.run(a.rows.len(), &[a.project(&layer.out)], || host.attend(b))?;
        products.run(b.rows.len(), &[b.project(&layer.out)], || {
            host.settle(norm, a, None)
        })
    }

    /// The feed-forward half, up to where [`LanePipeline::enter`] leaves the lanes. The last normalised rows go to `hidden`, too.
    fn feed_forward(
        &mut self,
        layer: &Layer,
        next: &Entry,
        mut hidden: Option<&mut [f32]>,
    ) -> Result<(), NpuError> {
        let Self {
            host,
            products,
            lanes: [a, b],
        } = self;
        let steps = [a.widen(&layer.fc1), a.contract(&layer.fc2)];
        products.run(a.rows.len(), &steps, || {
            host.settle(&layer.feed_forward_norm, b, None)
        })?;
        let steps = [b.widen(&layer.fc1), b.contract(&layer.fc2)];
        products.run(b.rows.len(), &steps, || {
            host.settle(&next.norm, a, hidden.as_deref_mut())
        })?;
        products.run(a.rows.len(), &[a.widen(&next.right)], || {
            host.settle(&next.norm, b, hidden)
        })
    }

    /// Keys and values for the decoder's cross-attention, of which the first lane has been widened by the first of `cross`:
    /// each product is handed out while the next one is computed to the other lane's buffer.
    fn project_across<'a>(
        &mut self,
        cross: impl Iterator<Item = &'a DeviceWeights>,
        out: &mut [CrossKv],
    ) -> Result<(), EncoderError> {
        let Self {
            products,
            lanes: [a, b],
            ..
        } = self;
        let (mut done, mut free) = (&mut a.wide, &mut b.wide);
        let lanes = [(&a.left, &a.rows), (&b.left, &b.rows)];
        let count = out.len();
        let layers = |part| LAYERS_TOGETHER * part..count.min(LAYERS_TOGETHER * (part + 1));
        let mut last = None;
        for (part, right) in cross.enumerate() {
            for (left, rows) in lanes.iter().filter(|(_, rows)| !rows.is_empty()) {
                // Before the first one there is nothing to hand out, and it is there.
                if let Some((before, of)) = last.replace((layers(part), *rows)) {
                    let step = Step::new(&***left, right, &**free);
                    products.run(rows.len(), &[step], || {
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
