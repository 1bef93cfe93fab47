// SPDX-License-Identifier: MPL-2.0
//! The encoder in f32 on candle-core, as plain as the paper: what every other backend is measured
//! against.
//!
//! Graph: openai/whisper `model.py`, class `AudioEncoder`; the cross-attention projections of its
//! decoder layers are computed here too, since they depend on nothing but this output.

use candle_core::{CpuStorage, Device, Storage, Tensor};
use ndarray::{Array2, ArrayViewMut2};

use crate::nn::{self, LayerNorm, Linear, Mlp};
use whisper_engine::encoder::{AudioFeatures, Encoder, EncoderError};
use whisper_frontend::mel::WINDOW_FRAMES;
use whisper_model::{Model, ModelError};

/// Whisper's encoder, slow and large.
pub struct ReferenceEncoder {
    input: Array2<f32>,
    conv1: Conv,
    conv2: Conv,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    /// Key and value projections of each decoder layer.
    cross: Vec<(Linear, Linear)>,
}

struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
}

struct Layer {
    heads: usize,
    attention_norm: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    mlp_norm: LayerNorm,
    mlp: Mlp,
}

impl ReferenceEncoder {
    /// Takes the model's weights in f32.
    ///
    /// # Errors
    /// A weight that the model lacks.
    pub fn new(model: &Model) -> Result<Self, ModelError> {
        let config = &model.config;
        let layers = (0..config.audio_layers)
            .map(|i| Layer::load(model, i))
            .collect::<Result<_, _>>()?;
        let cross = (0..config.text_layers)
            .map(|i| {
                let name = format!("model.decoder.layers.{i}.encoder_attn");
                Ok((
                    Linear::load(model, &format!("{name}.k_proj"))?,
                    Linear::load(model, &format!("{name}.v_proj"))?,
                ))
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self {
            input: Array2::zeros((WINDOW_FRAMES, config.n_mels)),
            conv1: Conv::load(model, "model.encoder.conv1", 1)?,
            conv2: Conv::load(model, "model.encoder.conv2", 2)?,
            positions: nn::load(model, "model.encoder.embed_positions.weight")?,
            layers,
            norm: LayerNorm::load(model, "model.encoder.layer_norm")?,
            cross,
        })
    }

    /// The encoder's graph over the first `2 * context` frames: `[context, d]`.
    fn hidden(&self, context: usize) -> candle_core::Result<Tensor> {
        let mel = Tensor::from_iter(self.input.iter().copied(), &Device::Cpu)?
            .reshape(self.input.dim())?
            .narrow(0, 0, 2 * context)?
            .t()?
            .unsqueeze(0)?
            .contiguous()?;
        let x = self.conv2.forward(&self.conv1.forward(&mel)?)?;
        let mut x = x
            .squeeze(0)?
            .t()?
            .contiguous()?
            .add(&self.positions.narrow(0, 0, context)?)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.norm.forward(&x)
    }
}

impl ReferenceEncoder {
    /// Encodes to `out`.
    fn write(&self, context: usize, out: &mut AudioFeatures) -> candle_core::Result<()> {
        let hidden = self.hidden(context)?;
        copy(&hidden, &mut out.hidden)?;
        for ((k, v), out) in self.cross.iter().zip(&mut out.cross) {
            copy(&k.forward(&hidden)?, &mut out.k)?;
            copy(&v.forward(&hidden)?, &mut out.v)?;
        }
        out.context = context;
        Ok(())
    }
}

impl Conv {
    fn load(model: &Model, name: &str, stride: usize) -> Result<Self, ModelError> {
        Ok(Self {
            weight: nn::load(model, &format!("{name}.weight"))?,
            bias: nn::load(model, &format!("{name}.bias"))?,
            stride,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let bias = self.bias.unsqueeze(1)?;
        x.conv1d(&self.weight, 1, self.stride, 1, 1)?
            .broadcast_add(&bias)?
            .gelu_erf()
    }
}

impl Layer {
    fn load(model: &Model, index: usize) -> Result<Self, ModelError> {
        let name = format!("model.encoder.layers.{index}");
        let linear = |part: &str| Linear::load(model, &format!("{name}.self_attn.{part}_proj"));
        Ok(Self {
            heads: model.config.audio_heads,
            attention_norm: LayerNorm::load(model, &format!("{name}.self_attn_layer_norm"))?,
            q: linear("q")?,
            k: linear("k")?,
            v: linear("v")?,
            out: linear("out")?,
            mlp_norm: LayerNorm::load(model, &format!("{name}.final_layer_norm"))?,
            mlp: Mlp::load(model, &name)?,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = x.add(&self.attention(&self.attention_norm.forward(x)?)?)?;
        x.add(&self.mlp.forward(&self.mlp_norm.forward(&x)?)?)
    }

    fn attention(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let head_width = x.dim(1)? / self.heads;
        let scale = 1.0 / (head_width as f64).sqrt();
        let q = nn::split_heads(&self.q.forward(x)?.affine(scale, 0.0)?, self.heads)?;
        let k = nn::split_heads(&self.k.forward(x)?, self.heads)?;
        let v = nn::split_heads(&self.v.forward(x)?, self.heads)?;
        let weights = nn::softmax(&q.matmul(&k.t()?)?)?;
        self.out.forward(&nn::join_heads(&weights.matmul(&v)?)?)
    }
}

impl Encoder for ReferenceEncoder {
    fn input(&mut self) -> ArrayViewMut2<'_, f32> {
        self.input.view_mut()
    }

    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError> {
        self.write(context, out)
            .map_err(|error| EncoderError::Other(error.into()))
    }

    fn description(&self) -> String {
        "reference (f32)".into()
    }
}

/// Copies a contiguous f32 tensor to the start of an array that is as wide.
fn copy(from: &Tensor, to: &mut Array2<f32>) -> candle_core::Result<()> {
    let (storage, layout) = from.storage_and_layout();
    let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end)), Some(to)) =
        (&*storage, layout.contiguous_offsets(), to.as_slice_mut())
    else {
        candle_core::bail!("expected a contiguous f32 tensor on the CPU")
    };
    let Some(to) = to.get_mut(..end - start) else {
        candle_core::bail!("{} values do not fit into {}", end - start, to.len())
    };
    to.copy_from_slice(&values[start..end]);
    Ok(())
}
