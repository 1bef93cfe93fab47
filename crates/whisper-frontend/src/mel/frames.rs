// SPDX-License-Identifier: MPL-2.0
//! The frames in progress: every sample goes, times the window, into the frames that cover it.
//!
//! Frame i is centred on sample 160 i and covers samples [160 i − 200, 160 i + 200), so each sample
//! lies in two or three frames. Which ones changes only at samples 40, 120, 200, … (every half
//! hop): between two such edges a piece of samples meets the same frames, and one loop reads it
//! once and writes all its products.

use std::iter::{self, Zip};
use std::slice;

use super::{HOP, N_FFT};
use crate::{Samples, decode_f32, decode_s16, scale_s16};

/// Samples from a frame's centre to its end.
const HALF: usize = N_FFT / 2;
/// Samples from edge to edge: from a frame's end to the begin of a later one, and from there to the
/// next end.
const STEP: usize = HOP / 2;
/// The run's first edge: frame −1 would end here.
const FIRST_EDGE: usize = HALF - HOP;
/// Most frames that cover one sample.
const OVERLAP: usize = N_FFT.div_ceil(HOP);
/// Larger samples, 180 dB above full scale, are no audio, and their powers would overflow.
const PLAUSIBLE: f32 = 1e9;

/// Frames that are complete once `position` samples of a run are there.
pub(super) fn completed(position: u64) -> u64 {
    position.saturating_sub(FIRST_EDGE as u64) / HOP as u64
}

/// Samples after which `frame` is complete.
pub(super) fn end_of(frame: u64) -> u64 {
    frame * HOP as u64 + HALF as u64
}

/// Samples from `position` to the next edge.
pub(super) fn until_edge(position: u64) -> usize {
    STEP - (position as usize % STEP + STEP - FIRST_EDGE) % STEP
}

/// Windowed frames in progress; a frame's slot is its number modulo `OVERLAP`.
///
/// No slot is cleared between two frames, since every place of a frame is written before it is
/// complete.
pub(super) struct Frames {
    window: [f32; N_FFT],
    slots: [[f32; N_FFT]; OVERLAP],
}

impl Frames {
    pub fn new() -> Self {
        Self {
            window: hann(),
            slots: [[0.0; N_FFT]; OVERLAP],
        }
    }

    /// Forgets what is in progress. Zeroes matter at the start of a run: see `open`.
    pub fn reset(&mut self) {
        self.slots = [[0.0; N_FFT]; OVERLAP];
    }

    /// Adds a piece that starts at `position` and does not reach beyond the next edge. Returns how
    /// many of its samples were no audio (NaN, infinite, implausibly large) and so count as 0.
    pub fn add(&mut self, position: u64, piece: Samples<'_>) -> u64 {
        match piece {
            Samples::S16Le(bytes) => self.add_decoded(position, decode_s16(bytes)),
            Samples::F32Le(bytes) => self.add_decoded(position, decode_f32(bytes)),
            Samples::S16(samples) => self.add_decoded(position, samples.iter().map(scale_s16)),
            Samples::F32(samples) => self.add_decoded(position, samples.iter().copied()),
            Samples::Silence(len) => self.add_decoded(position, iter::repeat_n(0.0, len)),
        }
    }

    fn add_decoded(&mut self, position: u64, piece: impl ExactSizeIterator<Item = f32>) -> u64 {
        if position < FIRST_EDGE as u64 {
            self.open(position as usize, piece)
        } else {
            self.scatter(position, piece)
        }
    }

    /// Takes the run's first samples, which frame 1 also sees reflected: s[−n] = s[n]. (Frame 0's
    /// reflection comes later, in `complete`.) Both frames begin with a sample whose window weight
    /// is 0; it is never written.
    fn open(&mut self, position: usize, piece: impl Iterator<Item = f32>) -> u64 {
        let [first, second, _] = &mut self.slots;
        let mut implausible = 0;
        for (n, sample) in (position..).zip(piece) {
            let sample = checked(sample, &mut implausible);
            first[HALF + n] = sample * self.window[HALF + n];
            for place in [FIRST_EDGE + n, FIRST_EDGE - n] {
                second[place] = sample * self.window[place];
            }
        }
        u64::from(implausible)
    }

    fn scatter(&mut self, position: u64, piece: impl ExactSizeIterator<Item = f32>) -> u64 {
        let oldest = completed(position);
        let [x, y, z] = &mut self.slots;
        let [a, b, c] = match oldest % OVERLAP as u64 {
            0 => [x, y, z],
            1 => [y, z, x],
            _ => [z, x, y],
        };
        // Where the piece begins in the oldest frame; in each younger one it is a hop further left.
        let place = (position + HALF as u64 - oldest * HOP as u64) as usize;
        let len = piece.len();
        let tap = |frame, place| Tap::new(frame, &self.window, place, len);
        let [a, b] = [tap(a, place), tap(b, place - HOP)];
        let mut implausible = 0;
        if let Some(place) = place.checked_sub(2 * HOP) {
            for (((sample, a), b), c) in piece.zip(a).zip(b).zip(tap(c, place)) {
                let sample = checked(sample, &mut implausible);
                *a.0 = sample * a.1;
                *b.0 = sample * b.1;
                *c.0 = sample * c.1;
            }
        } else {
            for ((sample, a), b) in piece.zip(a).zip(b) {
                let sample = checked(sample, &mut implausible);
                *a.0 = sample * a.1;
                *b.0 = sample * b.1;
            }
        }
        u64::from(implausible)
    }

    /// The windowed samples of a frame whose last one has come. The caller may overwrite them.
    pub fn complete(&mut self, frame: u64) -> &mut [f32; N_FFT] {
        let slot = &mut self.slots[(frame % OVERLAP as u64) as usize];
        if frame == 0 {
            // s[−n] = s[n], and the window is symmetric around its centre: so are the products.
            let (left, right) = slot.split_at_mut(HALF);
            for (mirrored, &product) in left[1..].iter_mut().rev().zip(&right[1..]) {
                *mirrored = product;
            }
        }
        slot
    }
}

/// A stretch of one frame with the window's weights there.
struct Tap<'a> {
    products: &'a mut [f32],
    weights: &'a [f32],
}

impl<'a> Tap<'a> {
    fn new(
        frame: &'a mut [f32; N_FFT],
        window: &'a [f32; N_FFT],
        place: usize,
        len: usize,
    ) -> Self {
        Self {
            products: &mut frame[place..][..len],
            weights: &window[place..][..len],
        }
    }
}

impl<'a> IntoIterator for Tap<'a> {
    type Item = (&'a mut f32, &'a f32);
    type IntoIter = Zip<slice::IterMut<'a, f32>, slice::Iter<'a, f32>>;

    fn into_iter(self) -> Self::IntoIter {
        self.products.iter_mut().zip(self.weights)
    }
}

/// The sample, or 0 for what is no audio.
#[inline(always)]
fn checked(sample: f32, implausible: &mut u32) -> f32 {
    // False for NaN too.
    let plausible = sample.abs() <= PLAUSIBLE;
    *implausible += u32::from(!plausible);
    if plausible { sample } else { 0.0 }
}

/// Periodic Hann window, exactly symmetric: w[k] = w[400 − k], w[0] = 0.
fn hann() -> [f32; N_FFT] {
    std::array::from_fn(|k| {
        let phase = std::f64::consts::TAU * k.min(N_FFT - k) as f64 / N_FFT as f64;
        (0.5 - 0.5 * phase.cos()) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples that tell their place, all different and never 0.
    fn ramp(len: usize) -> Vec<f32> {
        (0..len).map(|n| 1.0 + n as f32).collect()
    }

    /// Frame `frame` of `samples` by its definition.
    fn defined(samples: &[f32], frame: usize) -> [f32; N_FFT] {
        let window = hann();
        std::array::from_fn(|k| {
            let n = (frame * HOP + k).abs_diff(HALF);
            samples.get(n).copied().unwrap_or(0.0) * window[k]
        })
    }

    #[test]
    fn frames_complete_at_edges_every_half_hop() {
        assert_eq!(
            [0, 1, 39, 40, 119, 120].map(until_edge),
            [40, 39, 1, 80, 1, 80]
        );
        assert_eq!([0, 199, 200, 359, 360].map(completed), [0, 0, 1, 1, 2]);
        for frame in 0..5 {
            assert_eq!(completed(end_of(frame)), frame + 1);
            assert_eq!(completed(end_of(frame) - 1), frame);
            assert_eq!(until_edge(end_of(frame)), STEP);
        }
    }

    #[test]
    fn every_frame_has_all_its_samples_read_once() {
        let samples = ramp(2000);
        let mut frames = Frames::new();
        let (mut position, mut reads) = (0u64, vec![0; samples.len()]);
        while (position as usize) < samples.len() {
            let len = until_edge(position).min(samples.len() - position as usize);
            let range = position as usize..position as usize + len;
            let counted = range.map(|n| {
                reads[n] += 1;
                samples[n]
            });
            frames.add_decoded(position, counted);
            let before = completed(position);
            position += len as u64;
            if completed(position) > before {
                let frame = frames.complete(before);
                assert_eq!(*frame, defined(&samples, before as usize), "frame {before}");
                // The transform leaves rubbish behind.
                frame[1..].fill(f32::NAN);
            }
        }
        assert_eq!(completed(position), 12);
        assert!(reads.iter().all(|&reads| reads == 1));
    }

    #[test]
    fn what_is_no_audio_counts_as_zero() {
        let mut bad = 0;
        let inputs = [0.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -2e9, -1e9];
        let outputs = inputs.map(|sample| checked(sample, &mut bad));
        assert_eq!((outputs, bad), ([0.5, 0.0, 0.0, 0.0, 0.0, -1e9], 4));
    }
}
