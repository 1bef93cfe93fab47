// SPDX-License-Identifier: MPL-2.0
//! Voice activity detection: the probability of a voice for each mel row.
//!
//! | network | weights | block | music |
//! |---|---|---|---|
//! | Silero, version 6 | a file: [`SileroWeights::open`] | 512 samples, 32 ms | told from voice |
//! | `earshot` | built in | 256 samples, 16 ms | mostly taken for voice |
//!
//! Both take samples at 16 kHz, quiet ones raised by a gain that follows their level, and give one
//! probability a block, which holds for the rows whose middle lies in the block. A detector decides
//! nothing: where an utterance begins and ends, at which thresholds, is up to the reader of
//! [`MelRing::voice`].
//!
//! Sources: [snakers4/silero-vad](https://github.com/snakers4/silero-vad) and the crate
//! [earshot](https://docs.rs/earshot).

mod level;
mod silero;

pub use silero::{SileroError, SileroWeights};

use std::sync::Arc;

use level::Level;

use crate::mel::{HOP, MelRing};
use crate::{MelFrame, Samples};

/// Samples that `earshot` takes at once, 16 ms.
const EARSHOT_BLOCK: usize = 256;

/// Samples that are taken before any block is computed, where so many come at once.
const CAPACITY: usize = silero::BATCH * silero::BLOCK;
/// Blocks of either network in so many samples.
const MAX_BLOCKS: usize = CAPACITY / EARSHOT_BLOCK;

/// A voice activity detector beside the mel analysis, on the same samples. Allocates nothing once
/// it is made.
///
/// The front page of this [crate](crate#examples) shows it at work; the [module](self) compares the
/// two networks.
pub struct VoiceDetector {
    net: Net,
    level: Level,
    /// Those that are not heard yet, full scale ±1.
    samples: Box<[f32; CAPACITY]>,
    filled: usize,
    /// Samples of this run in whole blocks.
    position: u64,
    /// Rows of this run whose probability was told.
    told: MelFrame,
    last: f32,
    /// Whether upstream says that there is a voice.
    hint: bool,
}

/// What a hint from upstream adds to the probability. Detectors upstream take music for speech, so
/// the hint only decides where ours is in doubt. Their silence says nothing: `level` never finds a
/// voice.
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

    /// The probability of a voice in each block, which is multiplied by its gain.
    fn probabilities(&mut self, samples: &[f32], gains: &[f32], out: &mut [f32]) {
        match self {
            Self::Silero(weights, state) => weights.probabilities(state, samples, gains, out),
            Self::Earshot(detector) => {
                let blocks = samples.as_chunks::<EARSHOT_BLOCK>().0.iter().zip(gains);
                for ((block, gain), voice) in blocks.zip(out) {
                    *voice = detector.predict_f32(&block.map(|sample| gain * sample));
                }
            }
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Silero(_, state) => state.reset(),
            Self::Earshot(detector) => detector.reset(),
        }
    }
}

impl VoiceDetector {
    /// A detector with Silero's network, which tells music from voice. Detectors may share their
    /// weights.
    pub fn silero(weights: Arc<SileroWeights>) -> Self {
        let state = Box::new(weights.state());
        Self::with(Net::Silero(weights, state))
    }

    /// A detector that needs no file, but takes most music for voice.
    pub fn earshot() -> Self {
        Self::with(Net::Earshot(earshot::Detector::default_boxed()))
    }

    fn with(net: Net) -> Self {
        Self {
            level: Level::new(net.block()),
            net,
            samples: Box::new([0.0; CAPACITY]),
            filled: 0,
            position: 0,
            told: MelFrame::ZERO,
            last: 0.0,
            hint: false,
        }
    }

    /// The name of the network, for users.
    pub fn description(&self) -> &'static str {
        match self.net {
            Net::Silero(..) => "silero",
            Net::Earshot(_) => "earshot",
        }
    }

    /// Says whether a detector upstream finds a voice in the samples that follow. That raises the
    /// probability a little.
    pub fn hint(&mut self, voice: bool) {
        self.hint = voice;
    }

    /// Takes the run's next samples, and tells `ring` about the rows whose middle lies in complete
    /// blocks: up to 32 ms behind the rows.
    ///
    /// Blocks that come together are computed together, which is faster and changes nothing.
    pub fn push(&mut self, samples: Samples<'_>, ring: &mut MelRing) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(CAPACITY - self.filled);
            let slots = &mut self.samples[self.filled..][..piece.len()];
            piece.copy_to(slots);
            for sample in slots {
                *sample = if sample.is_finite() {
                    sample.clamp(-1.0, 1.0)
                } else {
                    0.0
                };
            }
            self.filled += piece.len();
            self.hear(ring);
            rest = after;
        }
    }

    /// Computes the blocks that are complete.
    fn hear(&mut self, ring: &mut MelRing) {
        let length = self.net.block();
        let count = self.filled / length;
        if count == 0 {
            return;
        }
        let (blocks, _) = self.samples.split_at(count * length);
        let (mut gains, mut voices) = ([1.0; MAX_BLOCKS], [0.0; MAX_BLOCKS]);
        for (gain, block) in gains.iter_mut().zip(blocks.chunks_exact(length)) {
            *gain = self.level.gain(block);
        }
        self.net
            .probabilities(blocks, &gains[..count], &mut voices[..count]);
        let hint = if self.hint { HINT } else { 0.0 };
        for voice in &voices[..count] {
            self.position += length as u64;
            self.last = (voice + hint).min(1.0);
            self.tell(MelFrame::new(self.position.div_ceil(HOP as u64)), ring);
        }
        self.samples.copy_within(count * length..self.filled, 0);
        self.filled -= count * length;
    }

    /// Ends the run: its last rows get the probability of the block before them.
    pub fn finish(&mut self, ring: &mut MelRing) {
        self.tell(ring.end(), ring);
    }

    /// Begins a new run.
    pub fn reset(&mut self) {
        self.net.reset();
        self.level.reset();
        self.filled = 0;
        self.position = 0;
        self.told = MelFrame::ZERO;
        self.last = 0.0;
        self.hint = false;
    }

    fn tell(&mut self, until: MelFrame, ring: &mut MelRing) {
        for _ in self.told.until(until) {
            ring.push_voice(self.last);
        }
        self.told = self.told.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mel::{MelAnalyzer, MelRingMemory};
    use crate::pool::Pool;

    fn ring(rows: usize) -> MelRing {
        MelRing::new(
            Pool::new(1, move || MelRingMemory::new(rows, 80)).acquire(),
            80,
        )
    }

    /// Voice of the rows when the samples come in pieces.
    fn voice(mut detector: VoiceDetector, samples: &[u8], piece: usize) -> Vec<f32> {
        let mut ring = ring(400);
        let mut analyzer = MelAnalyzer::new(80);
        for bytes in samples.chunks(piece * 2) {
            analyzer.push(Samples::S16Le(bytes), &mut ring);
            detector.push(Samples::S16Le(bytes), &mut ring);
            assert!(
                ring.end() - ring.voice_end() <= MelFrame::new(4),
                "{:?} {:?}",
                ring.end(),
                ring.voice_end()
            );
        }
        analyzer.finish(&mut ring);
        detector.finish(&mut ring);
        assert_eq!(ring.voice_end(), ring.end());
        MelFrame::ZERO
            .until(ring.end())
            .map(|row| ring.voice(row))
            .collect()
    }

    /// Silero's network with weights at random.
    fn untaught() -> VoiceDetector {
        let weights = SileroWeights::from_bytes(&test_support::synthetic::silero_bytes(1));
        VoiceDetector::silero(Arc::new(weights.expect("weights")))
    }

    #[test]
    fn voice_of_a_row_does_not_depend_on_the_cuts() {
        let samples: Vec<u8> = (0..32_123i32)
            .flat_map(|i| (((i * i) % 7919 * (i / 5000) / 64) as i16).to_le_bytes())
            .collect();
        for detector in [VoiceDetector::earshot, untaught] {
            let whole = voice(detector(), &samples, 32_123);
            assert_eq!(whole.len(), 201);
            for piece in [1, 160, 333, 512, 7000] {
                assert_eq!(voice(detector(), &samples, piece), whole);
            }
            assert!(whole.windows(2).any(|pair| pair[0] != pair[1]));
        }
    }

    #[test]
    fn a_hint_raises_the_probability_until_the_run_ends() {
        let mut detector = VoiceDetector::earshot();
        let mut voice = |hint| {
            let mut ring = ring(400);
            detector.reset();
            if hint {
                detector.hint(true);
            }
            detector.push(Samples::Silence(16_000), &mut ring);
            ring.voice(MelFrame::ZERO)
        };
        let (without, with, after) = (voice(false), voice(true), voice(false));
        assert!((with - without - HINT).abs() < 1e-6 && after == without);
    }

    #[test]
    fn digital_silence_holds_no_voice() {
        let voice = voice(VoiceDetector::earshot(), &[0; 64_000], 160);
        assert!(voice.iter().all(|&voice| voice < 0.3));
    }

    #[test]
    fn hostile_floats_are_no_voice_and_no_panic() {
        let bytes: Vec<u8> = [f32::NAN, f32::INFINITY, -1e30, 1e30]
            .iter()
            .cycle()
            .take(2000)
            .flat_map(|x| x.to_le_bytes())
            .collect();
        for mut detector in [VoiceDetector::earshot(), untaught()] {
            let mut ring = ring(400);
            detector.push(Samples::F32Le(&bytes), &mut ring);
            detector.reset();
            detector.push(Samples::Silence(4000), &mut ring);
            let rows = MelFrame::ZERO.until(ring.voice_end());
            let mut voices = rows.map(|row| ring.voice(row));
            assert!(voices.all(|voice| (0.0..=1.0).contains(&voice)));
        }
    }
}
