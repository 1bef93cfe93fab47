// SPDX-License-Identifier: MPL-2.0
//! The decoder's weights in 8 bits, cut along the heads.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use crate::weights::{bias_or_nothing, floats, layer_norm};
use whisper_kernels::GemmKernel;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_kernels::w8a16::PackedW8A16;
use whisper_model::{Model, ModelError};

/// Rows of the embedding that are converted at once when it is loaded.
const ROWS_AT_ONCE: usize = 1024;

/// All of the decoder but what depends on the audio alone: the encoder has the projections to
/// cross-attention's keys and values.
pub struct Weights<K: GemmKernel> {
    /// `[vocab, d]`: looked up for what is fed, and multiplied by for the logits.
    pub embedding: PackedW8A16<K>,
    /// `[text_ctx, d]`
    pub positions: Vec<f32>,
    /// One per residual attention block of the model.
    pub layers: Vec<Layer<K>>,
    /// The last layer normalisation.
    pub norm: LayerNorm,
}

/// One residual attention block.
pub struct Layer<K: GemmKernel> {
    /// Comes before self-attention.
    pub self_norm: LayerNorm,
    /// Self-attention.
    pub self_heads: Vec<SelfHead<K>>,
    /// Comes before cross-attention.
    pub cross_norm: LayerNorm,
    /// Cross-attention.
    pub cross_heads: Vec<CrossHead<K>>,
    /// Comes before the MLP.
    pub mlp_norm: LayerNorm,
    /// The MLP, in as many slices as there are heads.
    pub mlp: Vec<MlpSlice<K>>,
}

/// One head of self-attention. Queries carry the factor log2 e / √(head width), as
/// [`whisper_kernels::decoder_attention::DecoderAttention`] wants them.
pub struct SelfHead<K: GemmKernel> {
    pub q: PackedW8A16<K>,
    pub k: PackedW8A16<K>,
    pub v: PackedW8A16<K>,
    /// d outputs of the head's share of the depth. The first head's has the bias.
    pub out: PackedW8A16<K>,
}

/// One head of cross-attention, likewise.
pub struct CrossHead<K: GemmKernel> {
    pub q: PackedW8A16<K>,
    pub out: PackedW8A16<K>,
}

/// A part of the MLP's hidden width. What the slices give adds up.
pub struct MlpSlice<K: GemmKernel> {
    pub fc1: PackedW8A16<K>,
    pub fc2: PackedW8A16<K>,
}

impl<K: GemmKernel> Weights<K> {
    /// Quantises the model's weights.
    ///
    /// # Errors
    /// A weight that the model lacks.
    pub fn load(model: &Model) -> Result<Self, ModelError> {
        let config = &model.config;
        Ok(Self {
            embedding: embedding(model)?,
            positions: floats(model, "model.decoder.embed_positions.weight")?,
            layers: (0..config.text_layers)
                .map(|i| Layer::load(model, i))
                .collect::<Result<_, _>>()?,
            norm: layer_norm(model, "model.decoder.layer_norm")?,
        })
    }
}

impl<K: GemmKernel> Layer<K> {
    fn load(model: &Model, index: usize) -> Result<Self, ModelError> {
        let (width, heads) = (model.config.text_state, model.config.text_heads);
        let head_width = width / heads;
        let scale = LOG2_E / (head_width as f32).sqrt();
        let name = format!("model.decoder.layers.{index}");
        let linear = |part: &str| Linear::load(model, &format!("{name}.{part}"));
        let norm = |part: &str| layer_norm(model, &format!("{name}.{part}"));
        let share = |head: usize, of: usize| head * of / heads..(head + 1) * of / heads;

        let [q, k, v, out] = ["q", "k", "v", "out"].map(|x| linear(&format!("self_attn.{x}_proj")));
        let (q, k, v, out) = (q?, k?, v?, out?);
        let self_head = |head| SelfHead {
            q: q.outputs(share(head, width), scale),
            k: k.outputs(share(head, width), 1.0),
            v: v.outputs(share(head, width), 1.0),
            out: out.inputs(share(head, width)),
        };
        let self_heads = (0..heads).map(self_head).collect();

        let (q, out) = (
            linear("encoder_attn.q_proj")?,
            linear("encoder_attn.out_proj")?,
        );
        let cross_head = |head| CrossHead {
            q: q.outputs(share(head, width), scale),
            out: out.inputs(share(head, width)),
        };
        let cross_heads = (0..heads).map(cross_head).collect();

        let (fc1, fc2) = (linear("fc1")?, linear("fc2")?);
        let slice = |head| MlpSlice {
            fc1: fc1.outputs(share(head, 4 * width), 1.0),
            fc2: fc2.inputs(share(head, 4 * width)),
        };
        Ok(Self {
            self_norm: norm("self_attn_layer_norm")?,
            self_heads,
            cross_norm: norm("encoder_attn_layer_norm")?,
            cross_heads,
            mlp_norm: norm("final_layer_norm")?,
            mlp: (0..heads).map(slice).collect(),
        })
    }
}

/// `y = x Wᵀ + b` as it is in the file.
struct Linear {
    /// `[out, in]`
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

impl Linear {
    /// `name.weight`, and `name.bias` where the model has one (Whisper's key projections have
    /// none).
    fn load(model: &Model, name: &str) -> Result<Self, ModelError> {
        let weight = model.weight(&format!("{name}.weight"))?;
        let mut bias = bias_or_nothing(model, name)?;
        bias.resize(weight.shape[0], 0.0);
        Ok(Self {
            weight: weight.to_f32(),
            bias,
            inputs: weight.shape[1],
        })
    }

    /// Some outputs, multiplied by `scale`.
    fn outputs<K: GemmKernel>(&self, range: Range<usize>, scale: f32) -> PackedW8A16<K> {
        let mut part = PackedW8A16::new(range.len(), self.inputs);
        let mut row = vec![0.0; self.inputs];
        for (column, output) in range.enumerate() {
            let weights = &self.weight[output * self.inputs..][..self.inputs];
            row.iter_mut()
                .zip(weights)
                .for_each(|(to, from)| *to = from * scale);
            part.set(column, &row, self.bias[output] * scale);
        }
        part
    }

    /// What some inputs contribute to all outputs. The first share brings the bias.
    fn inputs<K: GemmKernel>(&self, range: Range<usize>) -> PackedW8A16<K> {
        let mut part = PackedW8A16::new(self.bias.len(), range.len());
        for (column, row) in self.weight.chunks_exact(self.inputs).enumerate() {
            let bias = if range.start == 0 {
                self.bias[column]
            } else {
                0.0
            };
            part.set(column, &row[range.clone()], bias);
        }
        part
    }
}

fn embedding<K: GemmKernel>(model: &Model) -> Result<PackedW8A16<K>, ModelError> {
    const NAME: &str = "model.decoder.embed_tokens.weight";
    let shape = model.weight_shape(NAME)?;
    let (vocab, width) = (shape[0], shape[1]);
    let mut embedding = PackedW8A16::new(vocab, width);
    // The whole in f32 would be the largest thing in memory.
    for first in (0..vocab).step_by(ROWS_AT_ONCE) {
        let rows = first..vocab.min(first + ROWS_AT_ONCE);
        let rows = model.weight_rows(NAME, rows)?.to_f32();
        for (i, row) in rows.chunks_exact(width).enumerate() {
            embedding.set(first + i, row, 0.0);
        }
    }
    Ok(embedding)
}
