// SPDX-License-Identifier: MPL-2.0
//! From the model's linear layers to weights on the device.

use whisper_model::{Model, ModelError};
use xdna::NpuError;
use xdna::contract::Epilogue;
use xdna::matmul::{DeviceWeights, Multiplier};
use xdna::weights::Linear;

/// A fault of the model, as a reason to do without the NPU.
pub fn unsuited(error: ModelError) -> NpuError {
    NpuError::Unsuited(error.to_string())
}

/// Linear layers of the model side by side: `[columns, depth]`, and a bias for each column.
#[derive(Default)]
struct Matrix {
    weight: Vec<f32>,
    bias: Vec<f32>,
    depth: usize,
}

impl Matrix {
    /// Adds the outputs of layer `name`, multiplied by `scale`. Whisper's key projections have no
    /// bias.
    fn append(&mut self, model: &Model, name: &str, scale: f32) -> Result<(), ModelError> {
        let weight = model.weight(&format!("{name}.weight"))?;
        self.depth = weight.shape[1];
        self.weight
            .extend(weight.to_f32().iter().map(|x| x * scale));
        let bias = format!("{name}.bias");
        if model.has_weight(&bias) {
            let bias = model.weight(&bias)?.to_f32();
            self.bias.extend(bias.iter().map(|x| x * scale));
        }
        self.bias.resize(self.weight.len() / self.depth, 0.0);
        Ok(())
    }
}

/// Packs linear layers of the model, named in `layers` with a scale, side by side to the device.
pub fn upload(
    npu: &mut Multiplier,
    model: &Model,
    layers: impl Iterator<Item = (String, f32)>,
    epilogue: Epilogue,
) -> Result<DeviceWeights, NpuError> {
    let mut matrix = Matrix::default();
    for (name, scale) in layers {
        matrix.append(model, &name, scale).map_err(unsuited)?;
    }
    let linear = Linear {
        weight: &matrix.weight,
        bias: &matrix.bias,
    };
    npu.upload(&linear, matrix.depth, epilogue)
}
