// SPDX-License-Identifier: MPL-2.0
//! The encoder's weights, packed for one kernel.

use std::f32::consts::LOG2_E;

use crate::encoder::stages::{MlpSlice, Stem};
use crate::weights::{bias_or_nothing, layer_norm};
use whisper_kernels::EncoderKernel;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_kernels::pack::PackedB;
use whisper_model::{Model, ModelError};

/// All of the encoder, and the decoder's projections that depend on nothing else.
pub struct Weights<K: EncoderKernel> {
    /// What comes before the layers.
    pub stem: Stem<K>,
    /// One per residual attention block of the model.
    pub layers: Vec<Layer<K>>,
    /// The last layer normalisation.
    pub norm: LayerNorm,
    /// Key and value projections of each decoder layer's cross-attention.
    pub cross: Vec<(PackedB<K>, PackedB<K>)>,
}

/// One residual attention block.
pub struct Layer<K: EncoderKernel> {
    /// Comes before the projections to queries, keys and values.
    pub attention_norm: LayerNorm,
    /// Scaled by log2 e / √(head width), as
    /// [`whisper_kernels::encoder_attention::EncoderAttention`] wants its queries.
    pub q: PackedB<K>,
    /// Has no bias.
    pub k: PackedB<K>,
    /// The value projection.
    pub v: PackedB<K>,
    /// The output projection, over all heads.
    pub out: PackedB<K>,
    /// Comes before the MLP.
    pub mlp_norm: LayerNorm,
    /// Slices of the hidden width.
    pub mlp: Vec<MlpSlice<K>>,
}

impl<K: EncoderKernel> Weights<K> {
    /// Packs the model's weights.
    ///
    /// # Errors
    /// A weight that the model lacks.
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
            norm: layer_norm(model, "model.encoder.layer_norm")?,
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
        let scale = LOG2_E / (head_width as f32).sqrt();
        let projection =
            |part: &str, scale: f32| linear(model, &format!("{name}.self_attn.{part}_proj"), scale);
        Ok(Self {
            attention_norm: layer_norm(model, &format!("{name}.self_attn_layer_norm"))?,
            q: projection("q", scale)?,
            k: projection("k", 1.0)?,
            v: projection("v", 1.0)?,
            out: projection("out", 1.0)?,
            mlp_norm: layer_norm(model, &format!("{name}.final_layer_norm"))?,
            mlp: MlpSlice::load(model, &name)?,
        })
    }
}

/// `name.weight`, and `name.bias` where the model has one, multiplied by `scale`.
fn linear<K: EncoderKernel>(
    model: &Model,
    name: &str,
    scale: f32,
) -> Result<PackedB<K>, ModelError> {
    let weight = model.weight(&format!("{name}.weight"))?;
    let bias = bias_or_nothing(model, name)?;
    Ok(PackedB::new(
        &weight.to_f32(),
        &bias,
        weight.shape[1],
        scale,
    ))
}
