// SPDX-License-Identifier: MPL-2.0
//! Silero's weights as their file has them.

use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};
use whisper_kernels::UnknownIsa;

use super::{BINS, FFT, NARROW, TAPS, WIDE};

/// Why a file does not hold Silero's weights.
#[derive(Debug, thiserror::Error)]
pub enum SileroError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are no safetensors container, or one that lacks a tensor.
    #[error("not Silero's weights: {0}")]
    Container(#[from] safetensors::SafeTensorError),
    /// This tensor has another type or shape, or is not what the network takes it for.
    #[error("not Silero's weights: {0} is not of the type or shape that it should be")]
    Tensor(&'static str),
    /// The environment asks for an instruction set that this machine does not have.
    #[error(transparent)]
    Isa(#[from] UnknownIsa),
}

/// All tensors, row-major: `[outputs, inputs]` or `[outputs, inputs, taps]`.
pub struct Tensors {
    pub basis: Vec<f32>,
    pub filters: [Filter; 4],
    pub lstm_input: Vec<f32>,
    pub lstm_state: Vec<f32>,
    /// Sum of both biases of the LSTM; gates in the order input, forget, cell, output.
    pub lstm_bias: Vec<f32>,
    pub output: Vec<f32>,
    pub output_bias: f32,
}

/// The weights of one convolution.
pub struct Filter {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub inputs: usize,
}

/// The name of the learnt transform's tensor.
pub const BASIS: &str = "stft_conv.weight";

impl Tensors {
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SileroError> {
        let tensors = SafeTensors::deserialize(bytes)?;
        let read = |name: &'static str, shape: &[usize]| {
            let tensor = tensors.tensor(name)?;
            if tensor.shape() != shape || tensor.dtype() != Dtype::F32 {
                return Err(SileroError::Tensor(name));
            }
            let values = tensor.data().as_chunks().0.iter();
            Ok(values
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect::<Vec<f32>>())
        };
        let filter = |weight, bias, outputs, inputs| {
            Ok::<_, SileroError>(Filter {
                weight: read(weight, &[outputs, inputs, TAPS])?,
                bias: read(bias, &[outputs])?,
                inputs,
            })
        };
        let biases = (
            read("lstm_cell.bias_ih", &[4 * WIDE])?,
            read("lstm_cell.bias_hh", &[4 * WIDE])?,
        );
        Ok(Self {
            basis: read(BASIS, &[2 * BINS, 1, FFT])?,
            filters: [
                filter("conv1.weight", "conv1.bias", WIDE, BINS)?,
                filter("conv2.weight", "conv2.bias", NARROW, WIDE)?,
                filter("conv3.weight", "conv3.bias", NARROW, NARROW)?,
                filter("conv4.weight", "conv4.bias", WIDE, NARROW)?,
            ],
            lstm_input: read("lstm_cell.weight_ih", &[4 * WIDE, WIDE])?,
            lstm_state: read("lstm_cell.weight_hh", &[4 * WIDE, WIDE])?,
            lstm_bias: biases.0.iter().zip(&biases.1).map(|(a, b)| a + b).collect(),
            output: read("final_conv.weight", &[1, WIDE, 1])?,
            output_bias: read("final_conv.bias", &[1])?[0],
        })
    }
}
