// SPDX-License-Identifier: MPL-2.0
//! Triangular filters on Slaney's mel scale.
//!
//! Source: M. Slaney, "Auditory Toolbox", version 2, 1998 (Interval Research technical report 1998-010). Whisper's
//! filters are those that librosa computes with `htk=False, norm="slaney"` for 0 to 8000 Hz.

use super::{N_FFT, SAMPLE_RATE};

/// Bins of the power spectrum, 0 to 8000 Hz in steps of 40 Hz.
pub(super) const BINS: usize = N_FFT / 2 + 1;

/// The filters, of which each sees a short run of bins: the zeros around it are not stored.
pub(super) struct Filterbank {
    bands: Vec<Band>,
}

struct Band {
    /// First bin that counts.
    first: usize,
    /// Weights of the bins from `first` on, 1 / Hz.
    weights: Vec<f32>,
}

impl Filterbank {
    pub fn new(n_mels: usize) -> Self {
        let edges = edges(n_mels);
        let bands = edges
            .windows(3)
            .map(|edges| Band::new(edges[0], edges[1], edges[2]))
            .collect();
        Self { bands }
    }

    pub fn n_mels(&self) -> usize {
        self.bands.len()
    }

    /// Sums the `BINS` powers of a frame into one power per band.
    pub fn apply(&self, power: &[f32; BINS], row: &mut [f32]) {
        for (out, band) in row.iter_mut().zip(&self.bands) {
            let bins = &power[band.first..][..band.weights.len()];
            *out = bins.iter().zip(&band.weights).map(|(p, w)| p * w).sum();
        }
    }
}

impl Band {
    /// A triangle over `low..high` Hz with its peak at `centre`, of area 1 (Slaney's norm).
    fn new(low: f64, centre: f64, high: f64) -> Self {
        let weight = |bin: usize| {
            let hz = bin as f64 * f64::from(SAMPLE_RATE) / N_FFT as f64;
            let rising = (hz - low) / (centre - low);
            let falling = (high - hz) / (high - centre);
            rising.min(falling).max(0.0) * 2.0 / (high - low)
        };
        let first = (0..BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
        let weights = (first..BINS)
            .map(weight)
            .take_while(|&weight| weight > 0.0)
            .map(|weight| weight as f32)
            .collect();
        Self { first, weights }
    }
}

/// `n_mels + 2` frequencies in Hz at equal distances on the mel scale, 0 to 8000 Hz: each band's lower edge, centre
/// and upper edge are three in a row.
fn edges(n_mels: usize) -> Vec<f64> {
    let top = hz_to_mel(f64::from(SAMPLE_RATE) / 2.0);
    let step = top / (n_mels + 1) as f64;
    (0..n_mels + 2)
        .map(|i| mel_to_hz(i as f64 * step))
        .collect()
}

/// Slaney's scale is linear up to 1000 Hz = 15 mel …
const LINEAR_HZ: f64 = 1000.0;
const HZ_PER_MEL: f64 = 200.0 / 3.0;
const LINEAR_MEL: f64 = LINEAR_HZ / HZ_PER_MEL;
/// … and logarithmic above: 27 mel are a factor of 6.4.
const LOG_SPAN: f64 = 6.4;
const LOG_MELS: f64 = 27.0;

fn hz_to_mel(hz: f64) -> f64 {
    if hz < LINEAR_HZ {
        hz / HZ_PER_MEL
    } else {
        LINEAR_MEL + (hz / LINEAR_HZ).ln() * LOG_MELS / LOG_SPAN.ln()
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < LINEAR_MEL {
        mel * HZ_PER_MEL
    } else {
        LINEAR_HZ * ((mel - LINEAR_MEL) * LOG_SPAN.ln() / LOG_MELS).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_has_slaneys_fixed_points() {
        for (hz, mel) in [(0.0, 0.0), (200.0, 3.0), (1000.0, 15.0), (6400.0, 42.0)] {
            assert!((hz_to_mel(hz) - mel).abs() < 1e-12);
            assert!((mel_to_hz(mel) - hz).abs() < 1e-9);
        }
    }

    #[test]
    fn every_band_hears_some_bin_and_stays_inside_the_spectrum() {
        for n_mels in [80, 128] {
            let filterbank = Filterbank::new(n_mels);
            assert_eq!(filterbank.n_mels(), n_mels);
            for band in &filterbank.bands {
                assert!(!band.weights.is_empty());
                assert!(band.first + band.weights.len() <= BINS);
            }
        }
    }

    #[test]
    fn sparse_bands_sum_as_the_dense_triangles_do() {
        let power: [f32; BINS] = std::array::from_fn(|bin| (bin as f32 * 0.7).sin() + 1.5);
        let n_mels = 80;
        let mut row = vec![0.0; n_mels];
        Filterbank::new(n_mels).apply(&power, &mut row);
        let edges = edges(n_mels);
        for (band, value) in row.iter().enumerate() {
            let [low, centre, high] = [edges[band], edges[band + 1], edges[band + 2]];
            let dense: f64 = (0..BINS)
                .map(|bin| {
                    let hz = bin as f64 * 40.0;
                    let slope = if hz < centre {
                        (hz - low) / (centre - low)
                    } else {
                        (high - hz) / (high - centre)
                    };
                    slope.max(0.0) * 2.0 / (high - low) * f64::from(power[bin])
                })
                .sum();
            assert!((f64::from(*value) - dense).abs() < 1e-6, "band {band}");
        }
    }
}
