// SPDX-License-Identifier: MPL-2.0
//! What is not printed although the model wrote it: text that nobody said.

use crate::decoder::{AlignAttResult, Stop, is_known_hallucination};

/// Above this probability of no speech, a draft means that nobody speaks (openai/whisper `transcribe.py`).
const NO_SPEECH: f32 = 0.6;
const LOGPROB_THRESHOLD: f32 = -1.0;
/// The same for utterances with little voice, where either is enough.
const SHORT_NO_SPEECH: f32 = 0.45;
const SHORT_GUESS: f32 = -0.7;
/// Frames of 10 ms with voice that make an utterance a short one.
const SHORT: u64 = 150;
/// A boilerplate phrase needs at least so much voice and trust to be believed.
const BOILERPLATE_NO_SPEECH: f32 = 0.3;
const BOILERPLATE_VOICE: u64 = 100;
const BOILERPLATE_GUESS: f32 = -0.5;

/// Why an update was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// The model guesses, and hears nobody.
    Silence,
    /// More text than can be said in the time.
    TooMuch,
    Loop,
    /// Attention jumped back, or stood still.
    Unsteady,
    /// The whole utterance is a phrase that models invent.
    Boilerplate,
}

/// Judges what was added to an utterance of which `voiced` frames hold voice. `last` says that no update will follow.
pub fn judge(followed: &AlignAttResult, voiced: u64, last: bool) -> Option<RejectReason> {
    match followed.stop {
        Stop::TooMany => return Some(RejectReason::TooMuch),
        Stop::Loop => return Some(RejectReason::Loop),
        Stop::Rewound | Stop::Stuck => return Some(RejectReason::Unsteady),
        Stop::EndOfText | Stop::EndOfAudio => {}
    }
    let draft = followed.avg_logprob < LOGPROB_THRESHOLD && followed.no_speech > NO_SPEECH;
    let doubtful = followed.no_speech > SHORT_NO_SPEECH || followed.avg_logprob < SHORT_GUESS;
    (draft || (last && voiced < SHORT && doubtful)).then_some(RejectReason::Silence)
}

/// Whether an utterance is to be refused because all of it is a phrase that models invent.
pub fn is_invented(text: &str, followed: &AlignAttResult, voiced: u64) -> bool {
    is_known_hallucination(text)
        && (followed.no_speech > BOILERPLATE_NO_SPEECH
            || voiced < BOILERPLATE_VOICE
            || followed.avg_logprob < BOILERPLATE_GUESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use whisper_frontend::EncoderFrame;

    fn followed(stop: Stop, avg_logprob: f32, no_speech: f32) -> AlignAttResult {
        AlignAttResult {
            tokens: vec![1],
            probabilities: vec![0.5],
            begins: vec![EncoderFrame::ZERO, EncoderFrame::ONE],
            attended: Some(EncoderFrame::ZERO),
            tail: vec![],
            unheard: 0,
            avg_logprob,
            no_speech,
            stop,
        }
    }

    #[test]
    fn runaway_text_is_refused_whatever_it_says() {
        for (stop, refusal) in [
            (Stop::TooMany, RejectReason::TooMuch),
            (Stop::Loop, RejectReason::Loop),
            (Stop::Rewound, RejectReason::Unsteady),
            (Stop::Stuck, RejectReason::Unsteady),
        ] {
            assert_eq!(judge(&followed(stop, -0.1, 0.0), 900, false), Some(refusal));
        }
    }

    #[test]
    fn guesses_over_silence_are_refused_and_short_utterances_need_more_trust() {
        let end = Stop::EndOfText;
        assert_eq!(judge(&followed(end, -0.2, 0.9), 900, true), None);
        assert_eq!(
            judge(&followed(end, -1.1, 0.7), 900, false),
            Some(RejectReason::Silence)
        );
        assert_eq!(
            judge(&followed(end, -0.2, 0.5), 60, true),
            Some(RejectReason::Silence)
        );
        assert_eq!(
            judge(&followed(end, -0.8, 0.1), 60, true),
            Some(RejectReason::Silence)
        );
        assert_eq!(judge(&followed(end, -0.8, 0.1), 60, false), None);
        assert_eq!(judge(&followed(end, -0.5, 0.2), 60, true), None);
    }

    #[test]
    fn a_phrase_that_models_invent_is_refused_unless_it_was_clearly_said() {
        let sure = followed(Stop::EndOfText, -0.2, 0.05);
        let unsure = followed(Stop::EndOfText, -0.2, 0.4);
        assert!(is_invented(" Thank you.", &unsure, 300));
        assert!(is_invented("Thank you!", &sure, 60));
        assert!(!is_invented("Thank you.", &sure, 130));
        assert!(!is_invented("Thank you, Mr. Hale.", &unsure, 60));
        assert!(!is_invented("", &unsure, 60));
    }
}
