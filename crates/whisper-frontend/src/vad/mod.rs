// SPDX-License-Identifier: MPL-2.0
//! Does anybody speak? One probability for each row of a track.

mod silero;

pub use silero::{SileroError, Weights as SileroWeights};

use std::sync::Arc;

use crate::Samples;
use crate::mel::{HOP, MelRing};

/// Samples that `earshot` takes at once, 16 ms.
const EARSHOT_BLOCK: usize = 256;

/// Voice activity detection beside the mel analysis, on the same samples. Allocates nothing after `new`.
///
/// Either Silero's network, whose weights are a file, or the crate `earshot`'s, which brings its own but takes most
/// music for voice.
pub struct VoiceDetector {
    net: Net,
    /// Full scale ±1.
    block: [f32; silero::BLOCK],
    filled: usize,
    /// Samples of this run in whole blocks.
    position: u64,
    /// Rows of this run that were told.
    rows: u64,
    last: f32,
    /// Whether upstream says that somebody speaks.
    hint: bool,
}

/// What upstream's word that somebody speaks adds to the probability. Such detectors take music for speech, so it only
/// decides where ours is in doubt; their silence says nothing, as `level` never hears a voice.
const HINT: f32 = 0.2;

enum Net {
    Silero(Arc<SileroWeights>, Box<silero::State>),
    Earshot(Box<earshot::Detector>),
}

impl Net {
    fn block(&self) -> usize {
        match self {
            Self::Silero(..) => silero::BLOCK,
            Self::Earshot(_) => EARSHOT_BLOCK,
        }
    }

    fn hear(&mut self, block: &[f32; silero::BLOCK]) -> f32 {
        match self {
            Self::Silero(weights, state) => state.hear(weights, block),
            Self::Earshot(detector) => detector.predict_f32(&block[..EARSHOT_BLOCK]),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Silero(_, state) => **state = silero::State::new(),
            Self::Earshot(detector) => detector.reset(),
        }
    }
}

impl VoiceDetector {
    /// Silero's network, which tells music from voice.
    pub fn silero(weights: Arc<SileroWeights>) -> Self {
        Self::with(Net::Silero(weights, Box::new(silero::State::new())))
    }

    /// The detector that needs no file.
    pub fn earshot() -> Self {
        Self::with(Net::Earshot(earshot::Detector::default_boxed()))
    }

    fn with(net: Net) -> Self {
        Self {
            net,
            block: [0.0; silero::BLOCK],
            filled: 0,
            position: 0,
            rows: 0,
            last: 0.0,
            hint: false,
        }
    }

    /// What runs, for users.
    pub fn description(&self) -> &'static str {
        match self.net {
            Net::Silero(..) => "silero",
            Net::Earshot(_) => "earshot",
        }
    }

    /// What upstream says of the samples that follow: whether somebody speaks.
    pub fn hint(&mut self, voice: bool) {
        self.hint = voice;
    }

    /// Takes the run's next samples, and tells `track` about the rows whose middle lies in blocks that are complete:
    /// up to 32 ms behind the rows.
    pub fn push(&mut self, samples: Samples<'_>, track: &mut MelRing) {
        let length = self.net.block();
        let mut rest = samples;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(length - self.filled);
            for (slot, sample) in self.block[self.filled..].iter_mut().zip(piece.iter()) {
                *slot = if sample.is_finite() {
                    sample.clamp(-1.0, 1.0)
                } else {
                    0.0
                };
            }
            self.filled += piece.len();
            if self.filled == length {
                self.filled = 0;
                self.position += length as u64;
                let hint = if self.hint { HINT } else { 0.0 };
                self.last = (self.net.hear(&self.block) + hint).min(1.0);
                self.tell(self.position.div_ceil(HOP as u64), track);
            }
            rest = after;
        }
    }

    /// Ends the run: its last rows are as the block before them.
    pub fn finish(&mut self, track: &mut MelRing) {
        self.tell(track.end(), track);
    }

    /// Begins a new run.
    pub fn reset(&mut self) {
        self.net.reset();
        self.filled = 0;
        self.position = 0;
        self.rows = 0;
        self.last = 0.0;
        self.hint = false;
    }

    fn tell(&mut self, until: u64, track: &mut MelRing) {
        for _ in self.rows..until {
            track.push_voice(self.last);
        }
        self.rows = self.rows.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mel::{Analyzer, MelRingMemory};
    use crate::pool::Pool;

    fn track(rows: usize) -> MelRing {
        MelRing::new(
            Pool::new(1, move || MelRingMemory::new(rows, 80)).acquire(),
            80,
        )
    }

    /// Voice of the rows when the samples come in pieces.
    fn voice(mut detector: VoiceDetector, samples: &[u8], piece: usize) -> Vec<f32> {
        let mut track = track(400);
        let mut analyzer = Analyzer::new(80);
        for bytes in samples.chunks(piece * 2) {
            analyzer.push(Samples::S16Le(bytes), &mut track);
            detector.push(Samples::S16Le(bytes), &mut track);
            assert!(
                track.end() - track.heard() <= 4,
                "{} {}",
                track.end(),
                track.heard()
            );
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
        for make in [VoiceDetector::earshot] {
            let whole = voice(make(), &samples, 32_123);
            assert_eq!(whole.len(), 201);
            for piece in [1, 160, 333] {
                assert_eq!(voice(make(), &samples, piece), whole);
            }
        }
    }

    #[test]
    fn a_hint_from_upstream_raises_the_probability_and_is_forgotten_with_the_run() {
        let mut detector = VoiceDetector::earshot();
        let mut voice = |hint| {
            let mut track = track(400);
            detector.reset();
            if hint {
                detector.hint(true);
            }
            detector.push(Samples::Silence(16_000), &mut track);
            track.voice(0)
        };
        let (without, with, after) = (voice(false), voice(true), voice(false));
        assert!((with - without - HINT).abs() < 1e-6 && after == without);
    }

    #[test]
    fn nobody_speaks_in_digital_silence() {
        for make in [VoiceDetector::earshot] {
            let voice = voice(make(), &[0; 64_000], 160);
            assert!(voice.iter().all(|&voice| voice < 0.3));
        }
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
        let mut detector = VoiceDetector::earshot();
        detector.push(Samples::F32Le(&bytes), &mut track);
        detector.reset();
        detector.push(Samples::Silence(4000), &mut track);
    }
}
