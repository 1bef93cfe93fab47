// SPDX-License-Identifier: MPL-2.0
//! The learnt transform, which turned out to be Fourier's with a window.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::RealToComplex;
use realfft::num_complex::Complex;

use super::{BINS, BLOCK, CONTEXT, FFT, HOP, REFLECTED, STEPS};
use crate::fft;

/// How far a weight may lie from the windowed wave that it should be.
const TOLERANCE: f64 = 1e-5;

/// Magnitudes of the Fourier transform of windowed frames.
pub struct Spectrum {
    window: [f32; FFT],
    fft: Arc<dyn RealToComplex<f32>>,
}

/// Memory for one block's transforms.
pub struct SpectrumMemory {
    samples: [f32; CONTEXT + BLOCK + REFLECTED],
    frame: [f32; FFT],
    bins: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Spectrum {
    /// The transform by `basis`, `[2 bins, samples]`: first the real parts, then the imaginary
    /// ones. `None` where that is not Fourier's with some window, the same for all bins.
    pub fn from_basis(basis: &[f32]) -> Option<Self> {
        // The wave of bin 0 is 1 everywhere: its row is the window.
        let window: [f32; FFT] = std::array::from_fn(|n| basis[n]);
        let (real, imaginary) = basis.split_at(BINS * FFT);
        let is_wave = |rows: &[f32], wave: fn(f64) -> f64| {
            rows.iter().enumerate().all(|(at, weight)| {
                let (bin, n) = (at / FFT, at % FFT);
                let phase = TAU * (bin * n % FFT) as f64 / FFT as f64;
                let error = f64::from(*weight) - f64::from(window[n]) * wave(phase);
                error.abs() <= TOLERANCE
            })
        };
        let is_fourier = is_wave(real, f64::cos) && is_wave(imaginary, |phase| -phase.sin());
        is_fourier.then(|| Self {
            window,
            fft: fft::plan(FFT),
        })
    }

    pub fn memory(&self) -> SpectrumMemory {
        SpectrumMemory {
            samples: [0.0; CONTEXT + BLOCK + REFLECTED],
            frame: [0.0; FFT],
            bins: self.fft.make_output_vec(),
            scratch: self.fft.make_scratch_vec(),
        }
    }

    /// Writes the magnitudes of a block, `[steps, bins]`. The samples before and in the block are
    /// multiplied by `gain`.
    pub fn magnitudes(
        &self,
        (context, block): (&[f32; CONTEXT], &[f32]),
        gain: f32,
        memory: &mut SpectrumMemory,
        out: &mut [f32],
    ) {
        let samples = &mut memory.samples;
        let reflected = block.iter().rev().skip(1);
        let heard = context.iter().chain(block).chain(reflected);
        for (slot, sample) in samples.iter_mut().zip(heard) {
            *slot = gain * sample;
        }
        for (step, magnitudes) in out.chunks_exact_mut(BINS).take(STEPS).enumerate() {
            let frame = samples[step * HOP..].iter().zip(&self.window);
            for (slot, (sample, weight)) in memory.frame.iter_mut().zip(frame) {
                *slot = sample * weight;
            }
            self.fft
                .process_with_scratch(&mut memory.frame, &mut memory.bins, &mut memory.scratch)
                .expect("the buffers have the plan's lengths");
            for (magnitude, bin) in magnitudes.iter_mut().zip(&memory.bins) {
                *magnitude = bin.norm_sqr().sqrt();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The basis of Fourier's transform with this window.
    fn basis(window: impl Fn(usize) -> f64) -> Vec<f32> {
        let row = |bin: usize, wave: fn(f64) -> f64| {
            let phase = move |n: usize| TAU * (bin * n) as f64 / FFT as f64;
            (0..FFT).map(move |n| (n, wave(phase(n))))
        };
        let real = (0..BINS).flat_map(|bin| row(bin, f64::cos));
        let imaginary = (0..BINS).flat_map(|bin| row(bin, |phase| -phase.sin()));
        let weights = real.chain(imaginary);
        weights.map(|(n, wave)| (window(n) * wave) as f32).collect()
    }

    #[test]
    fn spectrum_takes_any_window_and_no_other_basis() {
        let mut learnt = basis(|n| 0.3 + (n as f64 * 0.1).sin());
        assert!(Spectrum::from_basis(&learnt).is_some());
        for changed in [5 * FFT + 17, (BINS + 3) * FFT + 250] {
            learnt[changed] += 1e-3;
            assert!(Spectrum::from_basis(&learnt).is_none());
            learnt[changed] -= 1e-3;
        }
    }
}
