// SPDX-License-Identifier: MPL-2.0
//! Why there is no engine, or no transcript.

use rayon::ThreadPoolBuildError;

use crate::decoder::DecoderError;
use crate::encoder::EncoderError;
use crate::stream::OptionsError;
use crate::voice::VoiceError;
use whisper_model::ModelError;
use xdna::NpuError;

/// Why there is no engine, or no transcript. The text is meant for users.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The model cannot be found, or its files are damaged.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The encoder cannot be made, or fails.
    #[error("the encoder failed: {0}")]
    Encoder(#[from] EncoderError),
    /// The decoder cannot be made, or fails.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// [`Device::Npu`](super::Device::Npu) was asked for, and no NPU can be used.
    #[error(transparent)]
    Npu(#[from] NpuError),
    /// The model cannot do what the options ask for.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The file of the voice detector is damaged.
    #[error(transparent)]
    Voice(#[from] VoiceError),
    /// The system refuses a thread.
    #[error("cannot start inference threads: {0}")]
    Threads(#[from] ThreadPoolBuildError),
    /// The transcript was cancelled.
    #[error("cancelled")]
    Cancelled,
}
