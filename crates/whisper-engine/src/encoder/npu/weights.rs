// SPDX-License-Identifier: MPL-2.0
//! From the model's linear layers to weights on the device.

use whisper_model::{Model, ModelError};
use xdna::NpuError;
use xdna::contract::{MatMul, PASS_ROWS};
use xdna::matmul::{DeviceWeights, Multiplier};

/// Rows of a lane: one pass of the array.
pub const LANE_ROWS: usize = PASS_ROWS;

/// A fault of the model, as a reason to do without the NPU.
pub fn unsuited(error: ModelError) -> NpuError {
    NpuError::Unsuited(error.to_string())
}

/// Linear layers side by side: weights on the device, and a bias for the CPU to add.
pub struct Projection {
    pub weights: DeviceWeights,
    /// One for each output.
    pub bias: Vec<f32>,
    /// The product with the rows of a lane.
    pub matmul: MatMul,
}

impl Projection {
    /// Packs linear layers of the model, named in `layers` with a scale, to the device. Whisper's key
    /// projections have no bias.
    pub fn upload(
        npu: &mut Multiplier,
        model: &Model,
        layers: impl Iterator<Item = (String, f32)>,
    ) -> Result<Self, NpuError> {
        let (mut weights, mut bias, mut depth) = (Vec::new(), Vec::new(), 0);
        for (name, scale) in layers {
            let weight = model.weight(&format!("{name}.weight")).map_err(unsuited)?;
            depth = weight.shape[1];
            weights.extend(weight.to_f32().iter().map(|x| x * scale));
            let of_bias = format!("{name}.bias");
            if model.has_weight(&of_bias) {
                let values = model.weight(&of_bias).map_err(unsuited)?.to_f32();
                bias.extend(values.iter().map(|x| x * scale));
            }
            bias.resize(weights.len() / depth, 0.0);
        }
        let weights = npu.upload(&weights, depth)?;
        Ok(Self {
            matmul: weights.matmul(LANE_ROWS)?,
            weights,
            bias,
        })
    }
}
