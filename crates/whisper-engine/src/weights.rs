// SPDX-License-Identifier: MPL-2.0
//! What encoder and decoder both take from a model's weights.

use whisper_kernels::layer_norm::LayerNorm;
use whisper_model::{Model, ModelError};

/// A weight in f32, row-major.
///
/// # Errors
/// The model lacks it.
pub(crate) fn floats(model: &Model, name: &str) -> Result<Vec<f32>, ModelError> {
    Ok(model.weight(name)?.to_f32())
}

/// The layer normalisation that is called `name` in the model.
///
/// # Errors
/// The model lacks it.
pub(crate) fn layer_norm(model: &Model, name: &str) -> Result<LayerNorm, ModelError> {
    Ok(LayerNorm {
        weight: floats(model, &format!("{name}.weight"))?,
        bias: floats(model, &format!("{name}.bias"))?,
    })
}

/// The bias of the layer that is called `name`; empty where the model has none, as for Whisper's
/// key projections.
///
/// # Errors
/// The bias cannot be read.
pub(crate) fn bias_or_nothing(model: &Model, name: &str) -> Result<Vec<f32>, ModelError> {
    let name = format!("{name}.bias");
    if model.has_weight(&name) {
        floats(model, &name)
    } else {
        Ok(Vec::new())
    }
}
