// SPDX-License-Identifier: MPL-2.0
//! The encoder's weights, packed for one kernel.

use std::f32::consts::LOG2_E;

use whisper_kernels::EncoderKernel;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_kernels::linear::Linear;
use whisper_kernels::pack::PackedB;
use whisper_model::{Config, Model, ModelError};

/// What turns mel rows into the first layer's input.
pub struct Stem<K: EncoderKernel> {
    /// Outputs by (place in the window of 3, input): the order of time-major rows.
    pub conv1: PackedB<K>,
    pub conv2: PackedB<K>,
    /// (audio_ctx, d)
    pub positions: Vec<f32>,
    width: usize,
    n_mels: usize,
}

pub struct Weights<K: EncoderKernel> {
    pub stem: Stem<K>,
    pub layers: Vec<Layer<K>>,
    pub norm: LayerNorm,
    /// Key and value projections of each decoder layer's cross-attention.
    pub cross: Vec<(PackedB<K>, PackedB<K>)>,
}

pub struct Layer<K: EncoderKernel> {
    pub attention_norm: LayerNorm,
    /// Scaled by log2 e / √(head width), as [`whisper_kernels::encoder_attention::EncoderAttention`] wants its queries.
    pub q: PackedB<K>,
    pub k: PackedB<K>,
    pub v: PackedB<K>,
    pub out: PackedB<K>,
    pub feed_forward_norm: LayerNorm,
    /// Slices of the hidden width; what they give adds up.
    pub feed_forward: Vec<Slice<K>>,
}

/// A part of a feed-forward layer that stays in the second-level cache while all rows pass through it.
///
/// In the fastest format. With 8 bits in the projections of attention too, the cosine to the reference would fall
/// below 0.999 (base: 0.9977).
pub struct Slice<K: EncoderKernel> {
    pub fc1: K::Linear,
    pub fc2: K::Linear,
}

/// What the weights of a slice may take, about a second-level cache.
const SLICE_BYTES: usize = 2 << 20;
/// Slices are so many hidden outputs wide, or a multiple.
const SLICE_STEP: usize = 64;

impl<K: EncoderKernel> Stem<K> {
    pub fn load(model: &Model) -> Result<Self, ModelError> {
        Ok(Self {
            conv1: convolution(model, "model.encoder.conv1")?,
            conv2: convolution(model, "model.encoder.conv2")?,
            positions: model
                .weight("model.encoder.embed_positions.weight")?
                .to_f32(),
            width: model.config.audio_state,
            n_mels: model.config.n_mels,
        })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn n_mels(&self) -> usize {
        self.n_mels
    }
}

impl<K: EncoderKernel> Weights<K> {
    pub fn load(model: &Model) -> Result<Self, ModelError> {
        let config = &model.config;
        let cross = |i| {
            let name = format!("model.decoder.layers.{i}.encoder_attn");
            Ok((
                linear(model, &format!("{name}.k_proj"), 1.0)?,
                linear(model, &format!("{name}.v_proj"), 1.0)?,
            ))
        };
        Ok(Self {
            stem: Stem::load(model)?,
            layers: (0..config.audio_layers)
                .map(|i| Layer::load(model, i))
                .collect::<Result<_, _>>()?,
            norm: norm(model, "model.encoder.layer_norm")?,
            cross: (0..config.text_layers)
                .map(cross)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl<K: EncoderKernel> Layer<K> {
    fn load(model: &Model, index: usize) -> Result<Self, ModelError> {
        let name = format!("model.encoder.layers.{index}");
        let head_width = model.config.audio_state / model.config.audio_heads;
        Ok(Self {
            attention_norm: norm(model, &format!("{name}.self_attn_layer_norm"))?,
            q: linear(
                model,
                &format!("{name}.self_attn.q_proj"),
                LOG2_E / (head_width as f32).sqrt(),
            )?,
            k: linear(model, &format!("{name}.self_attn.k_proj"), 1.0)?,
            v: linear(model, &format!("{name}.self_attn.v_proj"), 1.0)?,
            out: linear(model, &format!("{name}.self_attn.out_proj"), 1.0)?,
            feed_forward_norm: norm(model, &format!("{name}.final_layer_norm"))?,
            feed_forward: slices(model, &name)?,
        })
    }
}

/// How wide slices are: all alike.
pub fn slice_width<K: EncoderKernel>(config: &Config) -> usize {
    let (width, hidden) = (config.audio_state, 4 * config.audio_state);
    let bytes = |slice: usize| 2 * width * slice * K::Linear::WEIGHT_BYTES;
    let parts = (1..=hidden / SLICE_STEP).filter(|parts| hidden.is_multiple_of(parts * SLICE_STEP));
    let mut widths = parts.map(|parts| hidden / parts);
    widths
        .find(|slice| bytes(*slice) <= SLICE_BYTES)
        .unwrap_or(hidden)
}

fn slices<K: EncoderKernel>(model: &Model, layer: &str) -> Result<Vec<Slice<K>>, ModelError> {
    let floats =
        |name: &str| Ok::<_, ModelError>(model.weight(&format!("{layer}.{name}"))?.to_f32());
    let (fc1, fc2) = (floats("fc1.weight")?, floats("fc2.weight")?);
    let (bias1, bias2) = (floats("fc1.bias")?, floats("fc2.bias")?);
    let (width, hidden) = (bias2.len(), bias1.len());
    let slice = slice_width::<K>(&model.config);
    let slices = (0..hidden).step_by(slice).map(|first| {
        let columns = fc2
            .chunks_exact(hidden)
            .flat_map(|row| &row[first..][..slice]);
        let columns: Vec<f32> = columns.copied().collect();
        let bias2 = if first == 0 { &bias2[..] } else { &[] };
        Slice {
            fc1: K::Linear::new(
                &fc1[first * width..][..slice * width],
                &bias1[first..][..slice],
                width,
                1.0,
            ),
            fc2: K::Linear::new(&columns, bias2, slice, 1.0),
        }
    });
    Ok(slices.collect())
}

/// `name.weight`, and `name.bias` where the model has one (Whisper's key projections have none).
fn linear<K: EncoderKernel, L: Linear<K>>(
    model: &Model,
    name: &str,
    scale: f32,
) -> Result<L, ModelError> {
    let weight = model.weight(&format!("{name}.weight"))?;
    let bias = format!("{name}.bias");
    let bias = if model.has_weight(&bias) {
        model.weight(&bias)?.to_f32()
    } else {
        Vec::new()
    };
    Ok(L::new(&weight.to_f32(), &bias, weight.shape[1], scale))
}

/// (out, in, 3) in the file; a row of the left operand has all inputs of one frame, then those of the next.
fn convolution<K: EncoderKernel>(model: &Model, name: &str) -> Result<PackedB<K>, ModelError> {
    let weight = model.weight(&format!("{name}.weight"))?;
    let (inputs, taps) = (weight.shape[1], weight.shape[2]);
    let values = weight.to_f32();
    let by_frame: Vec<f32> = values
        .chunks_exact(inputs * taps)
        .flat_map(|output| {
            (0..taps).flat_map(move |tap| output[tap..].iter().step_by(taps).copied())
        })
        .collect();
    let bias = model.weight(&format!("{name}.bias"))?.to_f32();
    Ok(PackedB::new(&by_frame, &bias, inputs * taps, 1.0))
}

pub fn norm(model: &Model, name: &str) -> Result<LayerNorm, ModelError> {
    Ok(LayerNorm {
        weight: model.weight(&format!("{name}.weight"))?.to_f32(),
        bias: model.weight(&format!("{name}.bias"))?.to_f32(),
    })
}
