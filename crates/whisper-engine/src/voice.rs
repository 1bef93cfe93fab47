// SPDX-License-Identifier: MPL-2.0
//! The voice detector that the models directory offers.

use std::sync::{Arc, Mutex, Weak};

use once_cell::sync::Lazy;
use whisper_frontend::VoiceDetector;
use whisper_frontend::vad::{SileroError, SileroWeights};
use whisper_model::Model;

/// The name under which Silero's weights are found among the models.
const SILERO: &str = "silero-vad";

/// Silero's weights, as long as a detector uses them.
static WEIGHTS: Lazy<Mutex<Weak<SileroWeights>>> = Lazy::new(Mutex::default);

/// Silero's detector where its weights are among the models (`scripts/fetch-model silero-vad`), else `earshot`.
///
/// Reads a file of 1 MB, unless another detector has its weights in memory: not for streaming threads.
///
/// # Errors
/// The weights are there and cannot be used.
pub fn detector() -> Result<VoiceDetector, SileroError> {
    let mut shared = WEIGHTS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(weights) = shared.upgrade() {
        return Ok(VoiceDetector::silero(weights));
    }
    let Ok(directory) = Model::find(SILERO) else {
        return Ok(VoiceDetector::earshot());
    };
    let weights = Arc::new(SileroWeights::open(&directory.join("model.safetensors"))?);
    *shared = Arc::downgrade(&weights);
    Ok(VoiceDetector::silero(weights))
}
