// SPDX-License-Identifier: MPL-2.0
//! The network in plain loops, in f64: what the packed one is held against.

use test_support::synthetic::silero_bytes;
use whisper_kernels::Isa;

use super::tensors::{Filter, SileroError, Tensors};
use super::*;

/// Reproducible numbers in [-1, 1) (Knuth's MMIX congruential generator).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| scale * self.next()).collect()
    }
}

/// Weights at random.
fn tensors(seed: u64) -> Tensors {
    Tensors::from_bytes(&silero_bytes(seed)).expect("tensors")
}

fn dot(a: &[f32], b: impl Iterator<Item = f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// From `[frames][inputs]` to `[frames][outputs]`.
fn convolve(filter: &Filter, frames: &[Vec<f64>], stride: usize) -> Vec<Vec<f64>> {
    let output = |middle: usize, (taps, bias): (&[f32], &f32)| {
        let patch = (0..filter.inputs).flat_map(|channel| {
            (0..TAPS).map(move |tap| {
                let at = (middle + tap).checked_sub(1);
                at.and_then(|at| frames.get(at))
                    .map_or(0.0, |frame| frame[channel])
            })
        });
        (dot(taps, patch) + f64::from(*bias)).max(0.0)
    };
    let rows = || filter.weight.chunks_exact(filter.inputs * TAPS);
    let middles = (0..frames.len()).step_by(stride);
    middles
        .map(|middle| {
            let rows = rows().zip(&filter.bias);
            rows.map(|row| output(middle, row)).collect()
        })
        .collect()
}

/// The probability of a voice in each block.
fn probabilities(tensors: &Tensors, samples: &[f32], gains: &[f32]) -> Vec<f64> {
    let (mut hidden, mut cell) = (vec![0.0; WIDE], vec![0.0; WIDE]);
    let blocks = samples.chunks_exact(BLOCK).zip(gains).enumerate();
    let mut block = |(index, (block, gain)): (usize, (&[f32], &f32))| {
        let before = |n: usize| match index {
            0 => 0.0,
            _ => samples[index * BLOCK - CONTEXT + n],
        };
        let mut heard: Vec<f32> = (0..CONTEXT).map(before).collect();
        heard.extend(block);
        heard.extend((0..REFLECTED).map(|n| block[BLOCK - 2 - n]));
        let frame = |step: usize| {
            let frame = &heard[step * HOP..][..FFT];
            let frame = || frame.iter().map(|x| f64::from(*gain) * f64::from(*x));
            let row = |row: usize| dot(&tensors.basis[row * FFT..][..FFT], frame());
            (0..BINS)
                .map(|bin| row(bin).hypot(row(BINS + bin)))
                .collect()
        };
        let mut layer: Vec<Vec<f64>> = (0..STEPS).map(frame).collect();
        for (filter, stride) in tensors.filters.iter().zip([1, 2, 2, 1]) {
            layer = convolve(filter, &layer, stride);
        }
        let row = |row: usize| {
            let of =
                |weights: &[f32], x: &[f64]| dot(&weights[row * WIDE..][..WIDE], x.iter().copied());
            of(&tensors.lstm_input, &layer[0])
                + of(&tensors.lstm_state, &hidden)
                + f64::from(tensors.lstm_bias[row])
        };
        let gates: Vec<f64> = (0..4 * WIDE).map(row).collect();
        for unit in 0..WIDE {
            let gate = |index: usize| gates[index * WIDE + unit];
            cell[unit] = sigmoid(gate(1)) * cell[unit] + sigmoid(gate(0)) * gate(2).tanh();
            hidden[unit] = sigmoid(gate(3)) * f64::tanh(cell[unit]);
        }
        let positive = hidden.iter().map(|x: &f64| x.max(0.0));
        sigmoid(dot(&tensors.output, positive) + f64::from(tensors.output_bias))
    };
    blocks.map(&mut block).collect()
}

/// What the packed network says when the blocks come in groups of `group`.
fn packed(weights: &SileroWeights, samples: &[f32], gains: &[f32], group: usize) -> Vec<f32> {
    let mut state = weights.state();
    let mut out = vec![f32::NAN; gains.len()];
    let groups = samples.chunks(group * BLOCK).zip(gains.chunks(group));
    for ((samples, gains), out) in groups.zip(out.chunks_mut(group)) {
        weights.probabilities(&mut state, samples, gains, out);
    }
    out
}

#[test]
fn packed_network_matches_plain_loops_on_all_kernels() {
    for (seed, blocks) in [(1, 1), (2, 2), (3, 29)] {
        let tensors = tensors(seed);
        let mut random = Random(seed + 9);
        let samples = random.floats(blocks * BLOCK, 0.3);
        let gains: Vec<f32> = (0..blocks).map(|_| 1.5 + random.next()).collect();
        let expected = probabilities(&tensors, &samples, &gains);
        for isa in Isa::available() {
            let kernel = isa.detect().expect("a kernel");
            let weights = SileroWeights::pack(&tensors, kernel).expect("weights");
            let whole = packed(&weights, &samples, &gains, BATCH);
            for (found, expected) in whole.iter().zip(&expected) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error < 2e-5, "{isa}: {whole:?} instead of {expected:?}");
            }
            for group in [1, 2, 7] {
                let cut = packed(&weights, &samples, &gains, group);
                assert_eq!(cut, whole, "{isa}, {group} blocks at once");
            }
        }
        let differ = expected.windows(2).any(|pair| pair[0] != pair[1]);
        let spread = expected.iter().all(|voice| (0.01..0.99).contains(voice));
        assert!(spread && (differ || blocks == 1), "{expected:?}");
    }
}

#[test]
fn weights_with_another_transform_are_refused() {
    let mut tensors = tensors(4);
    tensors.basis[3 * FFT + 40] += 0.01;
    let kernel = Isa::Portable.detect().expect("a kernel");
    let refused = SileroWeights::pack(&tensors, kernel).err();
    assert!(matches!(
        refused,
        Some(SileroError::Tensor("stft_conv.weight"))
    ));
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
