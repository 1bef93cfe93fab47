// SPDX-License-Identifier: MPL-2.0
//! The feed-forward half of a layer (openai/whisper `model.py`, `ResidualAttentionBlock.mlp`), in
//! slices of its hidden width.

use super::blocks::BLOCK;
use crate::weights::floats;
use whisper_kernels::EncoderKernel;
use whisper_kernels::buffer::{AlignedBuffer, padded_stride};
use whisper_kernels::epilogue::{AddResidual, Gelu, StoreValues};
use whisper_kernels::gemm::Rows;
use whisper_kernels::linear::{Linear, ValueRows};
use whisper_model::{Config, Model, ModelError};

/// What the weights of a slice may take, about a second-level cache.
const SLICE_BYTES: usize = 2 << 20;
/// Slices are so many hidden outputs wide, or a multiple.
const SLICE_STEP: usize = 64;

/// A part of the hidden width, whose weights stay in the second-level cache while all rows pass
/// through it. What the slices give adds up.
///
/// Weights are in the kernel's fastest format. With 8 bits in the projections of attention too, the
/// cosine to the reference would fall below 0.999 (base: 0.9977).
pub struct MlpSlice<K: EncoderKernel> {
    fc1: K::Linear,
    fc2: K::Linear,
}

/// What a task needs to take its rows through a slice.
pub struct MlpScratch<K: EncoderKernel> {
    /// `[BLOCK, stride of a slice's width]`
    hidden: AlignedBuffer<K::Value>,
    /// The left operand of either layer, where that is not the values themselves.
    left: <K::Linear as Linear<K>>::Scratch,
}

impl<K: EncoderKernel> MlpScratch<K> {
    /// For slices of a model of these dimensions.
    pub fn new(config: &Config) -> Self {
        let slice = slice_width::<K>(config);
        Self {
            hidden: AlignedBuffer::new(BLOCK * padded_stride::<K::Value>(slice)),
            left: K::Linear::scratch(BLOCK, slice.max(config.audio_state)),
        }
    }
}

impl<K: EncoderKernel> MlpSlice<K> {
    /// All slices of the layer that is called `layer` in the model.
    ///
    /// # Errors
    /// A weight that the model lacks.
    pub fn load(model: &Model, layer: &str) -> Result<Vec<Self>, ModelError> {
        let floats = |name: &str| floats(model, &format!("{layer}.{name}"));
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
            Self {
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

    /// `x += fc2(GELU(fc1(rows)))`. `x`, `[BLOCK, d]`, and the normalised `rows` are whole blocks
    /// in memory.
    pub fn apply(&self, kernel: K, rows: Rows<'_, K>, scratch: &mut MlpScratch<K>, x: &mut [f32]) {
        let MlpScratch { hidden, left } = scratch;
        let (width, wide, count) = (self.fc2.outputs(), self.fc1.outputs(), rows.count);
        let rows = ValueRows {
            values: rows.values,
            depth: width,
            count: BLOCK,
        };
        let rows = K::Linear::prepare(kernel, rows, left);
        let epilogue = StoreValues::new(hidden, padded_stride::<K::Value>(wide), Gelu);
        self.fc1.multiply(kernel, rows, count, epilogue);
        let hidden = ValueRows {
            values: hidden,
            depth: wide,
            count: BLOCK,
        };
        let hidden = K::Linear::prepare(kernel, hidden, left);
        let epilogue = AddResidual { out: x, width };
        self.fc2.multiply(kernel, hidden, count, epilogue);
    }
}

/// How wide slices are: all alike.
fn slice_width<K: EncoderKernel>(config: &Config) -> usize {
    let (width, hidden) = (config.audio_state, 4 * config.audio_state);
    let bytes = |slice: usize| 2 * width * slice * K::Linear::WEIGHT_BYTES;
    let parts = (1..=hidden / SLICE_STEP).filter(|parts| hidden.is_multiple_of(parts * SLICE_STEP));
    let mut widths = parts.map(|parts| hidden / parts);
    widths
        .find(|slice| bytes(*slice) <= SLICE_BYTES)
        .unwrap_or(hidden)
}
