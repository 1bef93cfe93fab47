// SPDX-License-Identifier: MPL-2.0
//! The decoder in f32 on candle-core, as plain as the paper: what the kernels are measured against.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::graph::{Audio, Cache, Graph, Step, alignment_heads};
use super::{Attention, DecoderError};
use crate::encoder::AudioFeatures;
use crate::model::{Model, ModelError};
use crate::nn::{self, FeedForward, LayerNorm, Linear};

/// Per layer: keys (heads, d / heads, audio_ctx), values (heads, audio_ctx, d / heads).
type Operands = Vec<(Tensor, Tensor)>;

/// What is kept of the tokens fed so far.
#[derive(Default)]
struct Memory {
    texts: Vec<Layers>,
    /// Rows (tokens, d) of the tokens fed last, after the last layer normalisation.
    hidden: Option<Tensor>,
}

/// Self-attention keys and values of a text, per layer (heads, tokens, d / heads).
type Layers = Vec<(Tensor, Tensor)>;

pub(super) struct ReferenceGraph {
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

impl ReferenceGraph {
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

    /// Rows (tokens, d) after the last layer normalisation.
    fn hidden(
        &self,
        tokens: &[u32],
        past: usize,
        memory: &mut Layers,
        operands: &Operands,
        mut attention: Option<&mut Attention>,
    ) -> Result<Tensor> {
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let positions = self.positions.narrow(0, past, tokens.len())?;
        let mut x = self.embedding.index_select(&ids, 0)?.add(&positions)?;
        let mask = (tokens.len() > 1)
            .then(|| causal_mask(tokens.len(), past))
            .transpose()?;
        for (k, v) in memory.iter_mut() {
            // Some tokens may have been taken back.
            *k = k.narrow(1, 0, past)?;
            *v = v.narrow(1, 0, past)?;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let (y, kv) = layer.attend_self(&x, memory.get(index), mask.as_ref(), self.heads)?;
            match memory.get_mut(index) {
                Some(slot) => *slot = kv,
                None => memory.push(kv),
            }
            let (y, weights) = layer.attend_audio(&y, &operands[index], self.heads)?;
            if let Some(attention) = attention.as_deref_mut() {
                self.record(index, &weights, attention)?;
            }
            x = y.add(
                &layer
                    .feed_forward
                    .forward(&layer.feed_forward_norm.forward(&y)?)?,
            )?;
        }
        self.norm.forward(&x)
    }

    /// Hands the weights (heads, tokens, audio_ctx) of this layer's alignment heads to `attention`.
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

impl Graph for ReferenceGraph {
    fn vocab(&self) -> usize {
        self.embedding.dims()[0]
    }

    fn listen(&self, features: &AudioFeatures) -> std::result::Result<Audio, DecoderError> {
        let operands = features
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
            .collect::<Result<Operands>>()?;
        Ok(Audio::new(features.context, operands))
    }

    fn forward(
        &self,
        text: usize,
        tokens: &[u32],
        cache: &mut Cache,
        audio: &Audio,
        attention: Option<&mut Attention>,
    ) -> std::result::Result<(), DecoderError> {
        let (past, context) = (cache.len(text), self.positions.dims()[0]);
        if past + tokens.len() > context {
            return Err(DecoderError::TooLong {
                tokens: past + tokens.len(),
                context,
            });
        }
        let (operands, texts) = (audio.operands()?, cache.texts());
        let memory = cache.memory(Memory::default)?;
        memory.texts.resize(texts, Layers::new());
        let layers = &mut memory.texts[text];
        memory.hidden = Some(self.hidden(tokens, past, layers, operands, attention)?);
        cache.advance(text, tokens.len());
        Ok(())
    }

    fn step(&self, steps: &[Step], cache: &mut Cache) -> std::result::Result<(), DecoderError> {
        let mut rows = Vec::new();
        for step in steps {
            self.forward(step.text, &[step.token], cache, step.audio, None)?;
            rows.extend(cache.memory(Memory::default)?.hidden.take());
        }
        cache.memory(Memory::default)?.hidden = Some(Tensor::cat(&rows, 0)?);
        Ok(())
    }

    fn project(
        &self,
        cache: &mut Cache,
        tokens: Range<usize>,
        logits: &mut Vec<f32>,
    ) -> std::result::Result<(), DecoderError> {
        logits.clear();
        if let Some(hidden) = &cache.memory(Memory::default)?.hidden {
            let rows = hidden.narrow(0, tokens.start, tokens.len())?;
            let rows = rows.matmul(&self.embedding.t()?)?;
            logits.extend(rows.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(())
    }
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
