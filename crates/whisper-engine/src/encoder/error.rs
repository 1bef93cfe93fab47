// SPDX-License-Identifier: MPL-2.0
//! Why a window could not be encoded.

use std::error::Error;

use whisper_kernels::UnknownIsa;
use whisper_model::ModelError;
use xdna::device::NpuError;

/// Why an encoder could not be made, or a window not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The model lacks a weight, or has dimensions that no Whisper model has.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The environment asks for an instruction set that this machine does not have.
    #[error(transparent)]
    Isa(#[from] UnknownIsa),
    /// A context of no rows, or of more than the model has.
    #[error("a context of {context} rows of 20 ms, the model has 1 to {most}")]
    Context {
        /// Rows that were asked for.
        context: usize,
        /// Rows of the model's longest window.
        most: usize,
    },
    /// The features that the window was to be written to were made for another model.
    #[error("the features were made for a model of other dimensions")]
    Features,
    /// An array whose rows do not lie one after another.
    #[error("the encoder works on contiguous arrays")]
    NonContiguous,
    /// The NPU did not do its work.
    #[error(transparent)]
    Device(#[from] NpuError),
    /// An encoder that is not of this crate failed.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}
