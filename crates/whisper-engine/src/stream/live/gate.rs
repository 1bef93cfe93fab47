// SPDX-License-Identifier: MPL-2.0
//! Where an utterance begins and ends, by the probability of voice.

use whisper_frontend::MelFrame;

/// Silence that ends an utterance.
const HANG_OVER: MelFrame = MelFrame::new(40);
/// Voice that makes an utterance; less is a noise.
const MIN_VOICE: MelFrame = MelFrame::new(25);
/// How far below the threshold voice may fall without being over (as Silero's iterator has it).
const HYSTERESIS: f32 = 0.15;

/// Speech so far, in frames from the run's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speech {
    /// The first frame with voice.
    pub start: MelFrame,
    /// The last frame with voice.
    pub last_voice: MelFrame,
    /// Frames over the threshold.
    pub voiced: MelFrame,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was enough voice for an utterance.
    Began,
    Ended,
}

pub struct SpeechGate {
    threshold: f32,
    position: MelFrame,
    speech: Option<Speech>,
    ignored: u64,
}

impl SpeechGate {
    /// Threshold 0 takes everything for speech.
    pub fn new(threshold: f32) -> Self {
        Self {
            threshold,
            position: MelFrame::ZERO,
            speech: None,
            ignored: 0,
        }
    }

    /// The frame after the last one that passed the gate.
    pub fn position(&self) -> MelFrame {
        self.position
    }

    /// What is being said, or may become an utterance.
    pub fn speech(&self) -> Option<Speech> {
        self.speech
    }

    /// Noises since the last call.
    pub fn take_ignored(&mut self) -> u64 {
        std::mem::take(&mut self.ignored)
    }

    /// Whether a frame with this probability goes on with speech that was there.
    pub fn is_voice(&self, probability: f32) -> bool {
        probability >= self.threshold - HYSTERESIS
    }

    /// Takes the frames before `until`, up to the first change.
    pub fn advance(&mut self, until: MelFrame, voice: impl Fn(MelFrame) -> f32) -> Option<Change> {
        while self.position < until {
            let frame = self.position;
            self.position += MelFrame::ONE;
            let change = self.pass(frame, voice(frame));
            if change.is_some() {
                return change;
            }
        }
        None
    }

    /// Ends the utterance here, whatever comes next.
    pub fn close(&mut self) {
        self.speech = None;
    }

    fn pass(&mut self, frame: MelFrame, probability: f32) -> Option<Change> {
        let goes_on = self.is_voice(probability);
        let is_sure = probability >= self.threshold;
        let Some(speech) = &mut self.speech else {
            self.speech = is_sure.then_some(Speech {
                start: frame,
                last_voice: frame,
                voiced: MelFrame::ONE,
            });
            return None;
        };
        if goes_on {
            speech.last_voice = frame;
            speech.voiced += MelFrame::new(u64::from(is_sure));
            return (is_sure && speech.voiced == MIN_VOICE).then_some(Change::Began);
        }
        if frame - speech.last_voice < HANG_OVER {
            return None;
        }
        let was_utterance = speech.voiced >= MIN_VOICE;
        self.speech = None;
        self.ignored += u64::from(!was_utterance);
        was_utterance.then_some(Change::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes, and the position after each.
    fn changes(threshold: f32, voice: &[(usize, f32)]) -> Vec<(Change, u64)> {
        let voice: Vec<f32> = voice
            .iter()
            .flat_map(|&(frames, p)| std::iter::repeat_n(p, frames))
            .collect();
        let mut gate = SpeechGate::new(threshold);
        let mut changes = Vec::new();
        let end = MelFrame::from_usize(voice.len());
        while gate.position() < end {
            let change = gate.advance(end, |frame| voice[frame.to_usize()]);
            changes.extend(change.map(|change| (change, gate.position().get())));
        }
        changes
    }

    #[test]
    fn an_utterance_begins_with_voice_and_ends_after_silence() {
        assert_eq!(
            changes(0.5, &[(100, 0.1), (200, 0.9), (100, 0.2)]),
            [(Change::Began, 125), (Change::Ended, 340)]
        );
    }

    #[test]
    fn a_short_pause_and_a_weak_voice_end_nothing() {
        let weak = [(100, 0.9), (39, 0.0), (30, 0.9), (300, 0.36), (39, 0.1)];
        assert_eq!(changes(0.5, &weak), [(Change::Began, 25)]);
    }

    #[test]
    fn a_click_is_no_utterance() {
        assert_eq!(changes(0.5, &[(10, 0.1), (20, 0.9), (200, 0.1)]), []);
        let mut gate = SpeechGate::new(0.5);
        let click = MelFrame::new(20);
        gate.advance(
            MelFrame::new(300),
            |frame| if frame < click { 0.9 } else { 0.0 },
        );
        assert_eq!(
            (gate.speech(), gate.take_ignored(), gate.take_ignored()),
            (None, 1, 0)
        );
    }

    #[test]
    fn without_a_threshold_everything_is_speech() {
        assert_eq!(changes(0.0, &[(1000, 0.0)]), [(Change::Began, 25)]);
    }
}
