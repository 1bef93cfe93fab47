// SPDX-License-Identifier: MPL-2.0
//! The decoder in f32 on candle-core.
//!
//! Graph: openai/whisper `model.py`, class `TextDecoder`. Nothing is kept from call to call: each
//! one takes all tokens through all layers.

use candle_core::{Device, Result, Tensor};
use whisper_engine::decoder::{Attention, alignment_heads};
use whisper_engine::encoder::AudioFeatures;
use whisper_model::{Model, ModelError};

use crate::nn::{self, LayerNorm, Linear, Mlp};

/// Whisper's decoder, slow and large.
pub struct ReferenceDecoder {
    /// `[vocab, d]`; the transposed view projects to logits.
    embedding: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    heads: usize,
    alignment_heads: Vec<(usize, usize)>,
}

struct Layer {
    self_norm: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    cross_norm: LayerNorm,
    cross_q: Linear,
    cross_out: Linear,
    mlp_norm: LayerNorm,
    mlp: Mlp,
}

impl ReferenceDecoder {
    /// Takes the model's weights in f32.
    ///
    /// # Errors
    /// A weight that the model lacks.
    pub fn new(model: &Model) -> std::result::Result<Self, ModelError> {
        let config = &model.config;
        Ok(Self {
            embedding: nn::load(model, "model.decoder.embed_tokens.weight")?,
            positions: nn::load(model, "model.decoder.embed_positions.weight")?,
            layers: (0..config.text_layers)
                .map(|i| Layer::load(model, i))
                .collect::<std::result::Result<_, _>>()?,
            norm: LayerNorm::load(model, "model.decoder.layer_norm")?,
            heads: config.text_heads,
            alignment_heads: alignment_heads(config),
        })
    }

    /// The logits that follow each of `tokens`, `[tokens, vocab]` row-major, for a window that
    /// starts with the first of them. `attention` is given the cross-attention of the alignment
    /// heads.
    ///
    /// # Errors
    /// Candle's: more tokens than the model has positions, or features of another model.
    pub fn logits(
        &self,
        tokens: &[u32],
        features: &AudioFeatures,
        mut attention: Option<&mut Attention>,
    ) -> Result<Vec<f32>> {
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let positions = self.positions.narrow(0, 0, tokens.len())?;
        let mut x = self.embedding.index_select(&ids, 0)?.add(&positions)?;
        let mask = causal_mask(tokens.len())?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.attend_self(&x, &mask, self.heads)?;
            let weights;
            (x, weights) = layer.attend_cross(&x, &self.cross_kv(features, index)?, self.heads)?;
            if let Some(attention) = attention.as_deref_mut() {
                self.record(index, &weights, attention)?;
            }
            let normed = layer.mlp_norm.forward(&x)?;
            x = x.add(&layer.mlp.forward(&normed)?)?;
        }
        let hidden = self.norm.forward(&x)?;
        hidden
            .matmul(&self.embedding.t()?)?
            .flatten_all()?
            .to_vec1()
    }

    /// Number of logits that follow a token.
    pub fn vocab(&self) -> usize {
        self.embedding.dims()[0]
    }

    /// Keys `[heads, d / heads, frames]` and values `[heads, frames, d / heads]` of a layer's
    /// cross-attention.
    fn cross_kv(&self, features: &AudioFeatures, layer: usize) -> Result<(Tensor, Tensor)> {
        let tensor = |x: &ndarray::Array2<f32>| {
            let x = x.slice(ndarray::s![..features.context, ..]);
            let x = Tensor::from_iter(x.iter().copied(), &Device::Cpu)?.reshape(x.dim())?;
            nn::split_heads(&x, self.heads)
        };
        let Some(pair) = features.cross.get(layer) else {
            candle_core::bail!("the features have no layer {layer}")
        };
        Ok((tensor(&pair.k)?.transpose(1, 2)?, tensor(&pair.v)?))
    }

    /// Hands the weights `[heads, tokens, frames]` of this layer's alignment heads to `attention`.
    fn record(&self, layer: usize, weights: &Tensor, attention: &mut Attention) -> Result<()> {
        for (slot, (of, head)) in self.alignment_heads.iter().enumerate() {
            if *of == layer {
                let rows = weights.get(*head)?.contiguous()?.flatten_all()?;
                attention.record(slot, &rows.to_vec1()?);
            }
        }
        Ok(())
    }
}

/// `[tokens, tokens]`: 0 where a token may attend to, -∞ at later tokens.
fn causal_mask(tokens: usize) -> Result<Tensor> {
    let rows = (0..tokens).flat_map(|query| {
        (0..tokens).map(move |key| if key > query { f32::NEG_INFINITY } else { 0.0 })
    });
    Tensor::from_iter(rows, &Device::Cpu)?.reshape((tokens, tokens))
}

impl Layer {
    fn load(model: &Model, index: usize) -> std::result::Result<Self, ModelError> {
        let name = format!("model.decoder.layers.{index}");
        let linear = |part: &str| Linear::load(model, &format!("{name}.{part}_proj"));
        let norm = |part: &str| LayerNorm::load(model, &format!("{name}.{part}"));
        Ok(Self {
            self_norm: norm("self_attn_layer_norm")?,
            q: linear("self_attn.q")?,
            k: linear("self_attn.k")?,
            v: linear("self_attn.v")?,
            out: linear("self_attn.out")?,
            cross_norm: norm("encoder_attn_layer_norm")?,
            cross_q: linear("encoder_attn.q")?,
            cross_out: linear("encoder_attn.out")?,
            mlp_norm: norm("final_layer_norm")?,
            mlp: Mlp::load(model, &name)?,
        })
    }

    /// Residual self-attention.
    fn attend_self(&self, x: &Tensor, mask: &Tensor, heads: usize) -> Result<Tensor> {
        let normed = self.self_norm.forward(x)?;
        let q = query(&self.q, &normed, heads)?;
        let k = nn::split_heads(&self.k.forward(&normed)?, heads)?;
        let v = nn::split_heads(&self.v.forward(&normed)?, heads)?;
        let scores = q.matmul(&k.t()?)?.broadcast_add(mask)?;
        let y = nn::softmax(&scores)?.matmul(&v)?;
        x.add(&self.out.forward(&nn::join_heads(&y)?)?)
    }

    /// Residual cross-attention; also its weights `[heads, tokens, frames]`.
    fn attend_cross(
        &self,
        x: &Tensor,
        (k, v): &(Tensor, Tensor),
        heads: usize,
    ) -> Result<(Tensor, Tensor)> {
        let q = query(&self.cross_q, &self.cross_norm.forward(x)?, heads)?;
        let weights = nn::softmax(&q.matmul(k)?)?;
        let y = nn::join_heads(&weights.matmul(v)?)?;
        Ok((x.add(&self.cross_out.forward(&y)?)?, weights))
    }
}

/// Queries of all heads, scaled by 1 / √(d / heads).
fn query(linear: &Linear, x: &Tensor, heads: usize) -> Result<Tensor> {
    let q = linear.forward(x)?;
    let scale = 1.0 / ((q.dim(1)? / heads) as f64).sqrt();
    nn::split_heads(&q.affine(scale, 0.0)?, heads)
}
