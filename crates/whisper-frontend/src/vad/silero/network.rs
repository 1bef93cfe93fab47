// SPDX-License-Identifier: MPL-2.0
//! The network on packed weights, several blocks at a time.
//!
//! A convolution over so few frames is a linear layer for each frame that it writes: its rows are
//! adjacent frames of all blocks, and the taps that meet the zeros around a block are left out.
//! Only the LSTM's recurrence goes block by block.

use whisper_kernels::epilogue::{Relu, StoreValues};
use whisper_kernels::gemm::{Gemm, Rows};
use whisper_kernels::pack::PackedB;
use whisper_kernels::{ForF32Kernel, GemmKernel, mr};

use super::lstm::{Lstm, LstmState};
use super::spectrum::{Spectrum, SpectrumMemory};
use super::tensors::{BASIS, Filter, SileroError, Tensors};
use super::{BATCH, BINS, BLOCK, CONTEXT, NARROW, STEPS, TAPS, WIDE};

/// The network, whatever the instruction set.
pub trait Network: Send + Sync {
    /// The state before the first block.
    fn state(&self) -> State;

    /// The probability of a voice in each block. There are as many as `gains`, [`BATCH`] at most;
    /// each is multiplied by its gain.
    fn probabilities(&self, state: &mut State, blocks: &[f32], gains: &[f32], out: &mut [f32]);
}

/// What a stream carries from block to block, and memory for the layers.
pub struct State {
    /// The last samples of the block before.
    context: [f32; CONTEXT],
    lstm: LstmState,
    spectrum: SpectrumMemory,
    /// Each `[blocks, frames, channels]`, the last one the gates of the LSTM.
    layers: [Vec<f32>; 6],
}

impl State {
    /// Begins a new stream.
    pub fn reset(&mut self) {
        self.context = [0.0; CONTEXT];
        self.lstm = LstmState::new();
    }
}

/// Packs the tensors for an instruction set.
pub struct Pack<'a>(pub &'a Tensors);

impl ForF32Kernel for Pack<'_> {
    type Output = Result<Box<dyn Network>, SileroError>;

    fn run<K: GemmKernel<Value = f32>>(self, kernel: K) -> Self::Output {
        let tensors = self.0;
        let spectrum = Spectrum::from_basis(&tensors.basis).ok_or(SileroError::Tensor(BASIS))?;
        Ok(Box::new(Packed {
            kernel,
            spectrum,
            convolutions: tensors.filters.each_ref().map(Convolution::new),
            lstm: Lstm::new(tensors),
        }))
    }
}

struct Packed<K: GemmKernel> {
    kernel: K,
    spectrum: Spectrum,
    convolutions: [Convolution<K>; 4],
    lstm: Lstm<K>,
}

impl<K: GemmKernel<Value = f32>> Network for Packed<K> {
    fn state(&self) -> State {
        // Rows are multiplied in whole tiles.
        let rows = BATCH.next_multiple_of(mr::<K>());
        let widths = [
            STEPS * BINS,
            STEPS * WIDE,
            2 * NARROW,
            NARROW,
            WIDE,
            4 * WIDE,
        ];
        State {
            context: [0.0; CONTEXT],
            lstm: LstmState::new(),
            spectrum: self.spectrum.memory(),
            layers: widths.map(|width| vec![0.0; rows * width]),
        }
    }

    fn probabilities(&self, state: &mut State, blocks: &[f32], gains: &[f32], out: &mut [f32]) {
        let [spectra, first, second, third, fourth, gates] = &mut state.layers;
        let blocks = blocks.chunks_exact(BLOCK).zip(gains);
        for ((block, gain), magnitudes) in blocks.zip(spectra.chunks_exact_mut(STEPS * BINS)) {
            let heard = (&state.context, block);
            self.spectrum
                .magnitudes(heard, *gain, &mut state.spectrum, magnitudes);
            state.context.copy_from_slice(&block[BLOCK - CONTEXT..]);
        }
        // A single row would be summed in another order than rows of many: the same whatever the
        // cuts.
        let count = gains.len().max(2);
        let [one, two, three, four] = &self.convolutions;
        let kernel = self.kernel;
        one.apply(kernel, (spectra, STEPS), (first, 1), count);
        two.apply(kernel, (first, STEPS), (second, 2), count);
        three.apply(kernel, (second, 2), (third, 2), count);
        four.apply(kernel, (third, 1), (fourth, 1), count);
        self.lstm.read(kernel, fourth, count, gates);
        let gates = gates.chunks_exact_mut(4 * WIDE).take(gains.len());
        for (gates, voice) in gates.zip(out) {
            *voice = self.lstm.step(kernel, gates, &mut state.lstm);
        }
    }
}

/// A convolution, padded by a frame of zeros on either side, and rectified.
struct Convolution<K: GemmKernel> {
    /// The depth is `[taps, inputs]`: adjacent frames.
    weight: PackedB<K>,
    inputs: usize,
    outputs: usize,
}

impl<K: GemmKernel<Value = f32>> Convolution<K> {
    fn new(filter: &Filter) -> Self {
        let (inputs, outputs) = (filter.inputs, filter.bias.len());
        let mut weight = vec![0.0; filter.weight.len()];
        let rows = weight.chunks_exact_mut(TAPS * inputs);
        for (row, taps) in rows.zip(filter.weight.chunks_exact(TAPS * inputs)) {
            for (at, weight) in row.iter_mut().enumerate() {
                *weight = taps[at % inputs * TAPS + at / inputs];
            }
        }
        Self {
            weight: PackedB::new(&weight, &filter.bias, TAPS * inputs, 1.0),
            inputs,
            outputs,
        }
    }

    /// From `[blocks, frames, inputs]` to `[blocks, frames, outputs]`, where each frame that is
    /// written stands for `stride` of those that are read.
    fn apply(
        &self,
        kernel: K,
        (from, frames): (&[f32], usize),
        (to, stride): (&mut [f32], usize),
        count: usize,
    ) {
        let written = frames.div_ceil(stride);
        for frame in 0..written {
            let middle = frame * stride;
            let (first, end) = (middle.saturating_sub(1), (middle + 2).min(frames));
            let taps = [first, end].map(|at| (at + 1 - middle) * self.inputs);
            kernel.dispatch(Gemm {
                left: Rows {
                    values: &from[first * self.inputs..],
                    stride: frames * self.inputs,
                    count,
                },
                right: self.weight.view().depths(taps[0]..taps[1]),
                epilogue: StoreValues::new(
                    &mut to[frame * self.outputs..],
                    written * self.outputs,
                    Relu,
                ),
            });
        }
    }
}
