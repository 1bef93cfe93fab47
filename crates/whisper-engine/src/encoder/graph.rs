// SPDX-License-Identifier: MPL-2.0
//! The network whatever it runs on, behind [`super::Encoder`].

use ndarray::Array2;

use super::{AudioFeatures, EncoderError};
use whisper_model::Config;

/// The encoder's network (openai/whisper `model.py`, class `AudioEncoder`) for one instruction set
/// or device.
pub(super) trait AudioEncoder: Send {
    /// Encodes the first `2 * context` frames of `mel`, `[frames, n_mels]`, as if the window ended
    /// there, to the first `context` rows of `out`. Both have passed [`check`].
    ///
    /// # Errors
    /// Arrays that are not contiguous, and whatever the device reports.
    fn encode(
        &mut self,
        mel: &Array2<f32>,
        context: usize,
        out: &mut AudioFeatures,
    ) -> Result<(), EncoderError>;
}

/// Refuses what would not fit: a `context` that the model does not have, or features of another
/// model.
///
/// # Errors
/// [`EncoderError::Context`] or [`EncoderError::Features`].
pub(super) fn check(
    config: &Config,
    context: usize,
    features: &AudioFeatures,
) -> Result<(), EncoderError> {
    let most = config.audio_ctx;
    if !(1..=most).contains(&context) {
        return Err(EncoderError::Context { context, most });
    }
    if !features.takes_output_of(config) {
        return Err(EncoderError::Features);
    }
    Ok(())
}
