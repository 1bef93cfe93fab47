// SPDX-License-Identifier: MPL-2.0
//! Whisper's audio encoder: one window of mel rows in, what the decoder attends to out.

pub mod cpu;
pub mod fallback;
pub mod npu;

use ndarray::{Array2, ArrayViewMut2};

use whisper_kernels::UnknownIsa;
use whisper_model::Config;

/// Why a window could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("the encoder failed: {0}")]
pub struct EncoderError(pub String);

impl From<whisper_model::ModelError> for EncoderError {
    fn from(error: whisper_model::ModelError) -> Self {
        Self(error.to_string())
    }
}

impl From<UnknownIsa> for EncoderError {
    fn from(error: UnknownIsa) -> Self {
        Self(error.to_string())
    }
}

/// Keys and values of one decoder layer's cross-attention, (audio_ctx, d) each, heads side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossKv {
    pub k: Array2<f32>,
    pub v: Array2<f32>,
}

/// What the encoder makes of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioFeatures {
    /// Rows that were encoded; those after them are of windows before.
    pub context: usize,
    /// Output of the last layer normalisation, (audio_ctx, d); one row per 20 ms.
    pub hidden: Array2<f32>,
    /// One pair per decoder layer.
    pub cross: Vec<CrossKv>,
}

impl AudioFeatures {
    /// Room for one window of the model with these dimensions.
    pub fn new(config: &Config) -> Self {
        let shape = (config.audio_ctx, config.audio_state);
        let pair = CrossKv {
            k: Array2::zeros(shape),
            v: Array2::zeros(shape),
        };
        Self {
            context: 0,
            hidden: Array2::zeros(shape),
            cross: vec![pair; config.text_layers],
        }
    }
}

/// An encoder and the memory that its next window is written into.
///
/// The window goes straight to where the backend reads it (for an NPU, its mapped buffer):
/// fill [`Encoder::input`], then call [`Encoder::encode`].
pub trait Encoder: Send {
    /// (WINDOW_FRAMES, n_mels), C-contiguous: Whisper's normalised log-mel, time-major.
    fn input(&mut self) -> ArrayViewMut2<'_, f32>;

    /// Encodes the first `2 * context` frames of what [`Encoder::input`] holds, as if the window ended there, to the
    /// first `context` rows of `out`, which must have been made for the same model. A backend whose shape is fixed may
    /// encode more, and says so in `out.context`.
    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError>;

    /// What runs, for users: `cpu (f32)`.
    fn description(&self) -> String;

    /// Whether the next window is mostly a matter of waiting for another device: the cores may decode meanwhile.
    fn runs_off_cpu(&self) -> bool {
        false
    }
}
