// SPDX-License-Identifier: MPL-2.0
//! Whisper's audio encoder: one window of mel rows in, what the decoder attends to out.
//!
//! | module | what it has |
//! |---|---|
//! | [`cpu`] | the encoder on the machine's vector units |
//! | [`npu`] | its matrix products on an XDNA2 NPU |
//! | [`fallback`] | an encoder on a device that may fail, with the CPU's behind it |
//! | `stages` | the parts of the network that `cpu` and `npu` share |

pub mod cpu;
mod error;
pub mod fallback;
mod graph;
pub mod npu;
mod stages;

pub use error::EncoderError;

use ndarray::{Array2, ArrayViewMut2};

use whisper_model::Config;

/// Keys and values of one decoder layer's cross-attention, heads side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossKv {
    /// Keys, `[audio_ctx, d]`.
    pub k: Array2<f32>,
    /// Values, `[audio_ctx, d]`.
    pub v: Array2<f32>,
}

/// What the encoder makes of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioFeatures {
    /// Rows that were encoded, 20 ms each. Rows after them hold what earlier windows left.
    pub context: usize,
    /// Output of the last layer normalisation, `[audio_ctx, d]`.
    pub hidden: Array2<f32>,
    /// One pair per decoder layer. Where there is none, an encoder computes none: the decoder needs
    /// them.
    pub cross: Vec<CrossKv>,
}

impl AudioFeatures {
    /// Zeros for one window of a model of these dimensions.
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

    /// Whether an encoder of such dimensions can write here.
    pub(crate) fn takes_output_of(&self, config: &Config) -> bool {
        let shape = (config.audio_ctx, config.audio_state);
        self.fits(config) || (self.cross.is_empty() && self.hidden.dim() == shape)
    }

    /// Whether these are features of a model of such dimensions, with all that its decoder needs.
    pub(crate) fn fits(&self, config: &Config) -> bool {
        let shape = (config.audio_ctx, config.audio_state);
        let mut cross = self.cross.iter();
        self.hidden.dim() == shape
            && self.cross.len() == config.text_layers
            && cross.all(|pair| pair.k.dim() == shape && pair.v.dim() == shape)
    }
}

/// An encoder, and the array that its next window is written to.
///
/// Callers write the window straight to where the backend reads it: fill [`Encoder::input`], then
/// call [`Encoder::encode`].
pub trait Encoder: Send {
    /// The next window, `[WINDOW_FRAMES, n_mels]`, C-contiguous: Whisper's normalised log-mel,
    /// time-major.
    fn input(&mut self) -> ArrayViewMut2<'_, f32>;

    /// Encodes the first `2 * context` frames of [`Encoder::input`], as if the window ended there,
    /// to the first `context` rows of `out`. A backend whose shape is fixed may encode more, and
    /// says so in `out.context`.
    ///
    /// # Errors
    /// A context that the model does not have, features of another model, or a device that failed.
    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError>;

    /// What runs, for users: `cpu (f32)`.
    fn description(&self) -> String;

    /// Whether [`Encoder::encode`] mostly waits for another device, so that the cores may decode
    /// meanwhile.
    fn runs_off_cpu(&self) -> bool {
        false
    }
}
