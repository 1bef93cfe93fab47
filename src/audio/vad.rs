// SPDX-License-Identifier: MPL-2.0
//! Does anybody speak? One probability for each row of a track.

use earshot::Detector;

use super::Samples;
use crate::mel::{HOP, Track};

/// Samples that the detector takes at once, 16 ms.
const BLOCK: usize = 256;

/// Voice activity detection (crate `earshot`) beside the mel analysis, on the same samples. Allocates nothing
/// after `new`.
pub struct VoiceDetector {
    detector: Box<Detector>,
    /// Full scale ±1.
    block: [f32; BLOCK],
    filled: usize,
    /// Samples of this run in whole blocks.
    position: u64,
    /// Rows of this run that were told.
    rows: u64,
    last: f32,
}

impl VoiceDetector {
    pub fn new() -> Self {
        Self {
            detector: Detector::default_boxed(),
            block: [0.0; BLOCK],
            filled: 0,
            position: 0,
            rows: 0,
            last: 0.0,
        }
    }

    /// Takes the run's next samples, and tells `track` about the rows whose middle lies in blocks that are complete:
    /// up to 16 ms behind the rows.
    pub fn push(&mut self, samples: Samples<'_>, track: &mut Track) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(BLOCK - self.filled);
            for (slot, sample) in self.block[self.filled..].iter_mut().zip(piece.iter()) {
                *slot = if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
            }
            self.filled += piece.len();
            if self.filled == BLOCK {
                self.filled = 0;
                self.position += BLOCK as u64;
                self.last = self.detector.predict_f32(&self.block);
                self.tell(self.position.div_ceil(HOP as u64), track);
            }
            rest = after;
        }
    }

    /// Ends the run: its last rows are as the block before them.
    pub fn finish(&mut self, track: &mut Track) {
        self.tell(track.end(), track);
    }

    /// Begins a new run.
    pub fn reset(&mut self) {
        self.detector.reset();
        self.filled = 0;
        self.position = 0;
        self.rows = 0;
        self.last = 0.0;
    }

    fn tell(&mut self, until: u64, track: &mut Track) {
        for _ in self.rows..until {
            track.push_voice(self.last);
        }
        self.rows = self.rows.max(until);
    }
}

impl Default for VoiceDetector {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mel::Analyzer;
    use crate::pool::Pool;

    fn track(rows: usize) -> Track {
        Track::new(Pool::new(1, move || vec![0.0; rows * 80]).acquire(), 80)
    }

    /// Voice of the rows when the samples come in pieces.
    fn voice(samples: &[u8], piece: usize) -> Vec<f32> {
        let mut track = track(400);
        let (mut analyzer, mut detector) = (Analyzer::new(80), VoiceDetector::new());
        for bytes in samples.chunks(piece * 2) {
            analyzer.push(Samples::S16Le(bytes), &mut track);
            detector.push(Samples::S16Le(bytes), &mut track);
            assert!(track.end() - track.heard() <= 2, "{} {}", track.end(), track.heard());
        }
        analyzer.finish(&mut track);
        detector.finish(&mut track);
        assert_eq!(track.heard(), track.end());
        (0..track.end()).map(|row| track.voice(row)).collect()
    }

    #[test]
    fn every_row_gets_its_probability_however_the_samples_are_cut() {
        let samples: Vec<u8> = (0..32_123i32)
            .flat_map(|i| (((i * i) % 7919) as i16).to_le_bytes())
            .collect();
        let whole = voice(&samples, 32_123);
        assert_eq!(whole.len(), 201);
        for piece in [1, 160, 333] {
            assert_eq!(voice(&samples, piece), whole);
        }
    }

    #[test]
    fn nobody_speaks_in_digital_silence() {
        assert!(voice(&vec![0; 64_000], 160).iter().all(|&voice| voice < 0.3));
    }

    #[test]
    fn hostile_floats_are_no_voice_and_no_panic() {
        let bytes: Vec<u8> = [f32::NAN, f32::INFINITY, -1e30, 1e30]
            .iter()
            .cycle()
            .take(2000)
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let mut track = track(400);
        let mut detector = VoiceDetector::new();
        detector.push(Samples::F32Le(&bytes), &mut track);
        detector.reset();
        detector.push(Samples::Silence(4000), &mut track);
    }
}
