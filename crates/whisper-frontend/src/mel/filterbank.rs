// SPDX-License-Identifier: MPL-2.0
//! Triangular filters on Slaney's mel scale.
//!
//! Source: M. Slaney, "Auditory Toolbox", version 2, 1998 (Interval Research technical report
//! 1998-010). Whisper's filters are those that librosa computes with `htk=False, norm="slaney"` for
//! 0 to 8000 Hz.

use super::{N_FFT, SAMPLE_RATE};

/// Bins of the power spectrum, 0 to 8000 Hz in steps of 40 Hz.
pub(super) const BINS: usize = N_FFT / 2 + 1;

/// Bands that are summed side by side: a block's sums stay in vector registers.
const LANES: usize = 8;

/// The filters in blocks of `LANES` neighbouring bands.
pub(super) struct Filterbank {
    n_mels: usize,
    blocks: Vec<Block>,
}

/// Neighbouring bands, which together see adjacent bins: the zeros around those are not stored,
/// those within are.
struct Block {
    /// First bin with a weight in any band.
    first: usize,
    /// Each bin's weight in each band, from `first` on, 1 / Hz.
    weights: Vec<[f32; LANES]>,
}

impl Filterbank {
    pub fn new(n_mels: usize) -> Self {
        let edges = edges(n_mels);
        let triangles: Vec<_> = edges
            .windows(3)
            .map(|edges| [edges[0], edges[1], edges[2]])
            .collect();
        let blocks = triangles.chunks(LANES).map(Block::new).collect();
        Self { n_mels, blocks }
    }

    pub fn n_mels(&self) -> usize {
        self.n_mels
    }

    /// Sums the `BINS` powers of a frame into one power per band.
    pub fn apply(&self, power: &[f32; BINS], row: &mut [f32]) {
        for (row, block) in row.chunks_mut(LANES).zip(&self.blocks) {
            row.copy_from_slice(&block.sums(power)[..row.len()]);
        }
    }
}

impl Block {
    /// At most `LANES` triangles by their edges and centres in Hz.
    fn new(triangles: &[[f64; 3]]) -> Self {
        let weights = |bin| {
            let mut weights = [0.0; LANES];
            for (weight, &edges) in weights.iter_mut().zip(triangles) {
                *weight = triangle(edges, bin) as f32;
            }
            weights
        };
        let heard = |bin: &usize| weights(*bin) != [0.0; LANES];
        let first = (0..BINS).find(heard).unwrap_or(0);
        let end = (0..BINS).rfind(heard).map_or(first, |last| last + 1);
        Self {
            first,
            weights: (first..end).map(weights).collect(),
        }
    }

    fn sums(&self, power: &[f32; BINS]) -> [f32; LANES] {
        let mut sums = [0.0; LANES];
        for (power, weights) in power[self.first..].iter().zip(&self.weights) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += power * weight;
            }
        }
        sums
    }
}

/// Weight at `bin` of a triangle from `low` to `high` Hz with its peak at `centre`, of area 1
/// (Slaney's norm).
fn triangle([low, centre, high]: [f64; 3], bin: usize) -> f64 {
    let hz = bin as f64 * f64::from(SAMPLE_RATE) / N_FFT as f64;
    let rising = (hz - low) / (centre - low);
    let falling = (high - hz) / (high - centre);
    rising.min(falling).max(0.0) * 2.0 / (high - low)
}

/// `n_mels + 2` frequencies in Hz at equal distances on the mel scale, 0 to 8000 Hz: each band's
/// lower edge, centre and upper edge are three in a row.
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
    fn every_band_has_bins_inside_the_spectrum() {
        for n_mels in [80, 128] {
            let filterbank = Filterbank::new(n_mels);
            assert_eq!(filterbank.n_mels(), n_mels);
            for block in &filterbank.blocks {
                assert!(block.first + block.weights.len() <= BINS);
                for band in 0..LANES {
                    assert!(block.weights.iter().any(|weights| weights[band] > 0.0));
                }
            }
        }
    }

    #[test]
    fn sparse_bands_sum_as_the_dense_triangles_do() {
        let power: [f32; BINS] = std::array::from_fn(|bin| (bin as f32 * 0.7).sin() + 1.5);
        // 41: a last block that is not full.
        for n_mels in [80, 128, 41] {
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
}
