// SPDX-License-Identifier: MPL-2.0
//! Silero's voice activity detector, version 6 at 16 kHz: a learnt Fourier transform, four
//! convolutions, an LSTM.
//!
//! Source: snakers4/silero-vad. The weights are not part of this repository (MIT, Python package
//! `silero-vad`, `silero_vad_16k.safetensors`).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// Samples in a block, 32 ms.
pub const BLOCK: usize = 512;
/// Samples of the block before that the network takes again.
const CONTEXT: usize = 64;
/// Samples after the block, its end reflected.
const REFLECTED: usize = 64;
const FFT: usize = 256;
const HOP: usize = 128;
const BINS: usize = FFT / 2 + 1;
/// Spectra in a block.
const STEPS: usize = (CONTEXT + BLOCK + REFLECTED - FFT) / HOP + 1;
/// Channels of the first convolution, the last one, and the LSTM.
const WIDE: usize = 128;
/// Channels of the convolutions in the middle.
const NARROW: usize = 64;
/// Width of the convolutions; all are padded by one step of zeros.
const TAPS: usize = 3;

/// Bytes beyond which a file is not read: the weights have 1.2 MB.
const MAX_FILE: u64 = 16 << 20;

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
    /// This tensor has another type or shape.
    #[error("not Silero's weights: {0} is not of the type or shape that it should be")]
    Tensor(&'static str),
}

/// The weights of Silero's network, as the Python package `silero-vad` version 6 has them.
///
/// ```no_run
/// use std::sync::Arc;
/// use whisper_frontend::VoiceDetector;
/// use whisper_frontend::vad::SileroWeights;
///
/// let weights = SileroWeights::open("silero_vad_16k.safetensors".as_ref())?;
/// let detector = VoiceDetector::silero(Arc::new(weights));
/// # Ok::<(), whisper_frontend::vad::SileroError>(())
/// ```
// Row-major, `[out, in]` or `[out, in, taps]`.
pub struct SileroWeights {
    transform: Vec<f32>,
    convolutions: [Convolution; 4],
    input: Vec<f32>,
    state: Vec<f32>,
    /// Sum of both biases of the LSTM; gates in the order input, forget, cell, output.
    gates: Vec<f32>,
    output: Vec<f32>,
    output_bias: f32,
}

struct Convolution {
    weight: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
    stride: usize,
}

impl SileroWeights {
    /// Reads the weights from a file of 1.2 MB: not on a streaming thread.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn open(path: &Path) -> Result<Self, SileroError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
            .map_err(|source| SileroError::Io {
                path: path.to_owned(),
                source,
            })?;
        Self::from_bytes(&bytes)
    }

    /// The weights from the bytes of such a file.
    ///
    /// # Errors
    /// The bytes are something else.
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
        let convolution = |weight, bias, channels, inputs, stride| {
            Ok::<_, SileroError>(Convolution {
                weight: read(weight, &[channels, inputs, TAPS])?,
                bias: read(bias, &[channels])?,
                channels,
                stride,
            })
        };
        let biases = (
            read("lstm_cell.bias_ih", &[4 * WIDE])?,
            read("lstm_cell.bias_hh", &[4 * WIDE])?,
        );
        Ok(Self {
            transform: read("stft_conv.weight", &[2 * BINS, 1, FFT])?,
            convolutions: [
                convolution("conv1.weight", "conv1.bias", WIDE, BINS, 1)?,
                convolution("conv2.weight", "conv2.bias", NARROW, WIDE, 2)?,
                convolution("conv3.weight", "conv3.bias", NARROW, NARROW, 2)?,
                convolution("conv4.weight", "conv4.bias", WIDE, NARROW, 1)?,
            ],
            input: read("lstm_cell.weight_ih", &[4 * WIDE, WIDE])?,
            state: read("lstm_cell.weight_hh", &[4 * WIDE, WIDE])?,
            gates: biases.0.iter().zip(&biases.1).map(|(a, b)| a + b).collect(),
            output: read("final_conv.weight", &[1, WIDE, 1])?,
            output_bias: read("final_conv.bias", &[1])?[0],
        })
    }
}

/// What the network carries from block to block.
pub struct State {
    context: [f32; CONTEXT],
    hidden: [f32; WIDE],
    cell: [f32; WIDE],
    /// `[steps, channels]` of a layer's input and output.
    layers: [[f32; STEPS * BINS]; 2],
}

impl State {
    pub fn new() -> Self {
        Self {
            context: [0.0; CONTEXT],
            hidden: [0.0; WIDE],
            cell: [0.0; WIDE],
            layers: [[0.0; STEPS * BINS]; 2],
        }
    }

    /// The probability of a voice in a block of samples, full scale ±1.
    pub fn probability(&mut self, weights: &SileroWeights, block: &[f32; BLOCK]) -> f32 {
        self.spectra(weights, block);
        let [from, to] = &mut self.layers;
        let (mut from, mut to) = (from, to);
        let (mut steps, mut inputs) = (STEPS, BINS);
        for convolution in &weights.convolutions {
            steps = convolution.apply(&from[..steps * inputs], inputs, &mut to[..]);
            inputs = convolution.channels;
            std::mem::swap(&mut from, &mut to);
        }
        let features: [f32; WIDE] = std::array::from_fn(|channel| from[channel]);
        self.lstm_step(weights, &features);
        let positive = self.hidden.map(|x| x.max(0.0));
        sigmoid(dot(&weights.output, &positive) + weights.output_bias)
    }

    fn spectra(&mut self, weights: &SileroWeights, block: &[f32; BLOCK]) {
        let mut samples = [0.0; CONTEXT + BLOCK + REFLECTED];
        samples[..CONTEXT].copy_from_slice(&self.context);
        samples[CONTEXT..CONTEXT + BLOCK].copy_from_slice(block);
        for (slot, sample) in samples[CONTEXT + BLOCK..]
            .iter_mut()
            .zip(block.iter().rev().skip(1))
        {
            *slot = *sample;
        }
        self.context.copy_from_slice(&block[BLOCK - CONTEXT..]);
        for (step, magnitudes) in self.layers[0].chunks_exact_mut(BINS).enumerate() {
            let frame = &samples[step * HOP..][..FFT];
            let row = |index: usize| dot(&weights.transform[index * FFT..][..FFT], frame);
            for (bin, magnitude) in magnitudes.iter_mut().enumerate() {
                *magnitude = row(bin).hypot(row(BINS + bin));
            }
        }
    }

    /// Takes the features of a block into the LSTM's state.
    fn lstm_step(&mut self, weights: &SileroWeights, features: &[f32; WIDE]) {
        let mut gates = [0.0; 4 * WIDE];
        for (row, gate) in gates.iter_mut().enumerate() {
            let of = |weights: &[f32], x: &[f32]| dot(&weights[row * WIDE..][..WIDE], x);
            *gate = of(&weights.input, features)
                + of(&weights.state, &self.hidden)
                + weights.gates[row];
        }
        for unit in 0..WIDE {
            let gate = |index: usize| gates[index * WIDE + unit];
            let added = sigmoid(gate(0)) * gate(2).tanh();
            self.cell[unit] = sigmoid(gate(1)) * self.cell[unit] + added;
            self.hidden[unit] = sigmoid(gate(3)) * self.cell[unit].tanh();
        }
    }
}

impl Convolution {
    /// From `[steps, inputs]` to `[steps, channels]`, rectified; returns the number of steps.
    fn apply(&self, from: &[f32], inputs: usize, to: &mut [f32]) -> usize {
        let steps = from.len() / inputs;
        let outputs = (steps - 1) / self.stride + 1;
        let mut patch = [0.0; BINS * TAPS];
        for step in 0..outputs {
            for (channel, taps) in patch.chunks_exact_mut(TAPS).take(inputs).enumerate() {
                for (tap, slot) in taps.iter_mut().enumerate() {
                    let at = (step * self.stride + tap).checked_sub(1);
                    *slot = at
                        .filter(|at| *at < steps)
                        .map_or(0.0, |at| from[at * inputs + channel]);
                }
            }
            let patch = &patch[..inputs * TAPS];
            let rows = self.weight.chunks_exact(inputs * TAPS).zip(&self.bias);
            for (out, (row, bias)) in to[step * self.channels..].iter_mut().zip(rows) {
                *out = (dot(row, patch) + bias).max(0.0);
            }
        }
        outputs
    }
}

/// The dot product, in sixteen sums so that the compiler may use vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_slides_over_zeros_at_both_ends() {
        let convolution = Convolution {
            weight: vec![1.0, 10.0, 100.0],
            bias: vec![0.5],
            channels: 1,
            stride: 2,
        };
        let mut to = [0.0; 2];
        assert_eq!(convolution.apply(&[1.0, 2.0, 3.0, 4.0], 1, &mut to), 2);
        assert_eq!(to, [210.5, 432.5]);
    }

    #[test]
    fn a_dot_product_takes_every_pair() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &[1.0; 37]), 666.0);
    }

    #[test]
    fn other_files_are_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"not weights").expect("written");
        assert!(matches!(
            SileroWeights::open(file.path()),
            Err(SileroError::Container(_))
        ));
    }
}
