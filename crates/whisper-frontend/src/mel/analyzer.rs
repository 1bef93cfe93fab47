// SPDX-License-Identifier: MPL-2.0
//! Samples in, log-mel rows out.

use std::sync::Arc;

use realfft::RealToComplex;
use realfft::num_complex::Complex;

use super::filterbank::{BINS, Filterbank};
use super::frames::{Frames, completed, end_of, until_edge};
use super::log10::log10_floored;
use super::{HOP, MelRing, N_FFT};
use crate::{Samples, fft};

/// Streaming log-mel analysis of one run at a time.
///
/// Each sample is read once from where it lies and multiplied into the FFT inputs of the frames
/// that cover it; no raw sample is put aside. Once a frame's last sample is there, the frame is
/// transformed and its row written at its final place in the ring. How a run is cut into pushes
/// does not change a bit of the rows. Nothing is allocated after `new`.
///
/// As in openai/whisper, the run's beginning is reflected (`s[−n] = s[n]`) and zeros follow its end:
/// a run of N samples has ⌈N / 160⌉ rows. Row *i* is final once sample 160 *i* + 199 is there.
pub struct MelAnalyzer {
    frames: Frames,
    fft: Arc<dyn RealToComplex<f32>>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: [f32; BINS],
    filterbank: Filterbank,
    /// Samples of this run, and zeros after its end.
    position: u64,
    /// Where the zeros after the run's end may stop, once `finish` was called.
    ending: Option<u64>,
    samples_read: u64,
    non_finite: u64,
}

impl MelAnalyzer {
    /// An analyzer of `n_mels` bands over 0 to 8000 Hz: 80, or 128 for large-v3 and its kin.
    pub fn new(n_mels: usize) -> Self {
        let fft = fft::plan(N_FFT);
        Self {
            frames: Frames::new(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            fft,
            power: [0.0; BINS],
            filterbank: Filterbank::new(n_mels),
            position: 0,
            ending: None,
            samples_read: 0,
            non_finite: 0,
        }
    }

    /// Takes the run's next samples and completes rows. Returns how many samples were taken: fewer
    /// than there are only if `ring` is full; go on with the rest when it is not.
    ///
    /// `ring` has this analyzer's number of bands.
    pub fn push(&mut self, samples: Samples<'_>, ring: &mut MelRing) -> usize {
        debug_assert_eq!(ring.n_mels(), self.filterbank.n_mels());
        let mut rest = samples;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(until_edge(self.position));
            let end = self.position + piece.len() as u64;
            let frame = completed(self.position);
            let completes = completed(end) > frame;
            if completes && ring.free_rows() == 0 {
                break;
            }
            self.read(piece);
            if completes && let Some(row) = ring.next_row() {
                self.write_row(frame, row);
                ring.commit_row();
            }
            rest = after;
        }
        samples.len() - rest.len()
    }

    /// Ends the run: completes its last rows with zeros after the end.
    ///
    /// True when all rows are there. False if `ring` is full: call again when rows are free (two
    /// always suffice). Once true, only [`reset`](Self::reset) may follow.
    pub fn finish(&mut self, ring: &mut MelRing) -> bool {
        let rows = self.position.div_ceil(HOP as u64);
        let unpadded = rows.checked_sub(1).map_or(0, end_of);
        let missing = *self.ending.get_or_insert(unpadded) - self.position;
        let zeros = Samples::Silence(missing as usize);
        self.push(zeros, ring) == zeros.len()
    }

    /// Begins a new run. The counters go on.
    pub fn reset(&mut self) {
        self.frames.reset();
        self.position = 0;
        self.ending = None;
    }

    /// Rows that `samples` more samples complete.
    pub fn rows_for(&self, samples: usize) -> usize {
        (completed(self.position + samples as u64) - completed(self.position)) as usize
    }

    /// Samples that were read from buffers since `new`: as many as were taken, since each is read
    /// once.
    pub fn samples_read(&self) -> u64 {
        self.samples_read
    }

    /// Samples since `new` that were NaN, infinite, or beyond ±1e9, and count as 0.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// Reads samples: nothing else does.
    fn read(&mut self, piece: Samples<'_>) {
        self.non_finite += self.frames.add(self.position, piece);
        self.position += piece.len() as u64;
        if !matches!(piece, Samples::Silence(_)) {
            self.samples_read += piece.len() as u64;
        }
    }

    fn write_row(&mut self, frame: u64, row: &mut [f32]) {
        let windowed = self.frames.complete(frame);
        self.fft
            .process_with_scratch(windowed, &mut self.spectrum, &mut self.scratch)
            .expect("the buffers have the plan's lengths");
        for (power, bin) in self.power.iter_mut().zip(&self.spectrum) {
            *power = bin.norm_sqr();
        }
        self.filterbank.apply(&self.power, row);
        log10_floored(row);
    }
}
