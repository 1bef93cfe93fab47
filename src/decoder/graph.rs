// SPDX-License-Identifier: MPL-2.0
//! The decoder's graph on candle-core (openai/whisper `model.py`, class `TextDecoder`), with a KV cache.
//!
//! Any number of tokens may be fed at once: a prompt is one batched pass, generation feeds one token at a time.

use candle_core::{Device, Result, Tensor};

use super::{Attention, DecoderError};
use crate::encoder::AudioFeatures;
use crate::model::{Model, ModelError};
use crate::nn::{self, FeedForward, LayerNorm, Linear};

/// Cross-attention operands of one window, per layer: keys (heads, d / heads, audio_ctx), values (heads, audio_ctx, d / heads).
pub struct Audio {
    layers: Vec<(Tensor, Tensor)>,
}

impl Audio {
    /// Rows of 20 ms that the decoder may attend to.
    pub fn frames(&self) -> usize {
        self.layers.first().map_or(0, |(k, _)| k.dims()[2])
    }
}

/// Self-attention keys and values of the tokens fed so far, per layer (heads, tokens, d / heads).
#[derive(Clone, Default)]
pub struct Cache {
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
}

impl Cache {
    /// Tokens fed so far.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens but the first `len`.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        if len >= self.len {
            return Ok(());
        }
        for (k, v) in &mut self.layers {
            *k = k.narrow(1, 0, len)?;
            *v = v.narrow(1, 0, len)?;
        }
        self.len = len;
        Ok(())
    }
}

pub(super) struct Graph {
    /// (vocab, d); the transposed view projects to logits.
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
    feed_forward_norm: LayerNorm,
    feed_forward: FeedForward,
}

impl Graph {
    pub fn load(model: &Model) -> std::result::Result<Self, ModelError> {
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

    pub fn vocab(&self) -> usize {
        self.embedding.dims()[0]
    }

    pub fn listen(&self, features: &AudioFeatures) -> Result<Audio> {
        let layers = features
            .cross
            .iter()
            .map(|pair| {
                let tensor = |x: &ndarray::Array2<f32>| {
                    let x = x.slice(ndarray::s![..features.context, ..]);
                    Tensor::from_iter(x.iter().copied(), &Device::Cpu)?.reshape(x.dim())
                };
                let k = nn::split_heads(&tensor(&pair.k)?, self.heads)?;
                let v = nn::split_heads(&tensor(&pair.v)?, self.heads)?;
                Ok((k.transpose(1, 2)?, v))
            })
            .collect::<Result<_>>()?;
        Ok(Audio { layers })
    }

    /// Rows (tokens, d) after the last layer normalisation.
    pub fn forward(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        audio: &Audio,
        mut attention: Option<&mut Attention>,
    ) -> std::result::Result<Tensor, DecoderError> {
        let context = self.positions.dims()[0];
        if cache.len + tokens.len() > context {
            return Err(DecoderError::TooLong {
                tokens: cache.len + tokens.len(),
                context,
            });
        }
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let positions = self.positions.narrow(0, cache.len, tokens.len())?;
        let mut x = self.embedding.index_select(&ids, 0)?.add(&positions)?;
        let mask = (tokens.len() > 1)
            .then(|| causal_mask(tokens.len(), cache.len))
            .transpose()?;
        for (index, layer) in self.layers.iter().enumerate() {
            let (y, kv) =
                layer.attend_self(&x, cache.layers.get(index), mask.as_ref(), self.heads)?;
            match cache.layers.get_mut(index) {
                Some(slot) => *slot = kv,
                None => cache.layers.push(kv),
            }
            let (y, weights) = layer.attend_audio(&y, &audio.layers[index], self.heads)?;
            if let Some(attention) = attention.as_deref_mut() {
                let wanted = self
                    .alignment_heads
                    .iter()
                    .enumerate()
                    .filter(|(_, (l, _))| *l == index);
                for (slot, (_, head)) in wanted {
                    attention.record(
                        slot,
                        &weights.get(*head)?.contiguous()?.flatten_all()?.to_vec1()?,
                    );
                }
            }
            x = y.add(
                &layer
                    .feed_forward
                    .forward(&layer.feed_forward_norm.forward(&y)?)?,
            )?;
        }
        cache.len += tokens.len();
        Ok(self.norm.forward(&x)?)
    }

    pub fn project(&self, hidden: &Tensor) -> Result<Tensor> {
        hidden.matmul(&self.embedding.t()?)
    }
}

/// The heads whose cross-attention follows the audio; without known ones, those of the upper half of the layers
/// (what openai/whisper falls back to).
fn alignment_heads(config: &crate::model::Config) -> Vec<(usize, usize)> {
    if !config.alignment_heads.is_empty() {
        return config.alignment_heads.clone();
    }
    (config.text_layers / 2..config.text_layers)
        .flat_map(|layer| (0..config.text_heads).map(move |head| (layer, head)))
        .collect()
}

/// (n, past + n): 0 where a token may look, -∞ at later tokens.
fn causal_mask(n: usize, past: usize) -> Result<Tensor> {
    let rows = (0..n).flat_map(|i| {
        (0..past + n).map(move |j| if j > past + i { f32::NEG_INFINITY } else { 0.0 })
    });
    Tensor::from_iter(rows, &Device::Cpu)?.reshape((n, past + n))
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
            feed_forward_norm: norm("final_layer_norm")?,
            feed_forward: FeedForward::load(model, &name)?,
        })
    }

    /// Residual self-attention; also the keys and values with these tokens appended.
    fn attend_self(
        &self,
        x: &Tensor,
        past: Option<&(Tensor, Tensor)>,
        mask: Option<&Tensor>,
        heads: usize,
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        let normed = self.self_norm.forward(x)?;
        let q = query(&self.q, &normed, heads)?;
        let mut k = nn::split_heads(&self.k.forward(&normed)?, heads)?;
        let mut v = nn::split_heads(&self.v.forward(&normed)?, heads)?;
        if let Some((past_k, past_v)) = past {
            k = Tensor::cat(&[past_k, &k], 1)?;
            v = Tensor::cat(&[past_v, &v], 1)?;
        }
        let mut scores = q.matmul(&k.t()?)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(mask)?;
        }
        let y = nn::softmax(&scores)?.matmul(&v)?;
        Ok((x.add(&self.out.forward(&nn::join_heads(&y)?)?)?, (k, v)))
    }

    /// Residual cross-attention; also its weights (heads, tokens, audio_ctx).
    fn attend_audio(
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
