// SPDX-License-Identifier: MPL-2.0
//! What is not printed although the model wrote it: hallucinations.

use crate::decoder::{AlignAttResult, Stop, is_known_hallucination};
use whisper_frontend::MelFrame;

/// Above this probability of no speech, a guess means silence (openai/whisper `transcribe.py`).
const NO_SPEECH: f32 = 0.6;
const LOGPROB_THRESHOLD: f32 = -1.0;
/// The same for utterances with little voice, where either is enough.
const SHORT_NO_SPEECH: f32 = 0.45;
const SHORT_LOGPROB_THRESHOLD: f32 = -0.7;
/// An utterance with less voice is a short one.
const SHORT: MelFrame = MelFrame::new(150);
/// A known hallucination needs at least so much voice and trust to be believed.
const BOILERPLATE_NO_SPEECH: f32 = 0.3;
const BOILERPLATE_VOICE: MelFrame = MelFrame::new(100);
const BOILERPLATE_LOGPROB_THRESHOLD: f32 = -0.5;

/// Why an update was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// The model guesses, and hears no speech.
    Silence,
    /// More text than can be said in the time.
    TooMuch,
    Loop,
    /// Attention jumped back, or stood still.
    Unsteady,
    /// The whole utterance is a known hallucination.
    Boilerplate,
}

/// Why the text that was added to an utterance is to be thrown away; `None` if it is sound.
/// `voiced` frames of the utterance hold voice; `last` says that no update will follow.
pub fn judge(result: &AlignAttResult, voiced: MelFrame, last: bool) -> Option<RejectReason> {
    match result.stop {
        Stop::TooMany => return Some(RejectReason::TooMuch),
        Stop::Loop => return Some(RejectReason::Loop),
        Stop::Rewound | Stop::Stuck => return Some(RejectReason::Unsteady),
        Stop::EndOfText | Stop::EndOfAudio => {}
    }
    let guess = result.avg_logprob < LOGPROB_THRESHOLD && result.no_speech > NO_SPEECH;
    let doubtful =
        result.no_speech > SHORT_NO_SPEECH || result.avg_logprob < SHORT_LOGPROB_THRESHOLD;
    (guess || (last && voiced < SHORT && doubtful)).then_some(RejectReason::Silence)
}

/// Whether an utterance is to be rejected because all of it is a known hallucination.
pub fn is_hallucination(text: &str, result: &AlignAttResult, voiced: MelFrame) -> bool {
    is_known_hallucination(text)
        && (result.no_speech > BOILERPLATE_NO_SPEECH
            || voiced < BOILERPLATE_VOICE
            || result.avg_logprob < BOILERPLATE_LOGPROB_THRESHOLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use whisper_frontend::EncoderFrame;

    fn result(stop: Stop, avg_logprob: f32, no_speech: f32) -> AlignAttResult {
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
    fn runaway_text_is_rejected_whatever_it_says() {
        for (stop, reason) in [
            (Stop::TooMany, RejectReason::TooMuch),
            (Stop::Loop, RejectReason::Loop),
            (Stop::Rewound, RejectReason::Unsteady),
            (Stop::Stuck, RejectReason::Unsteady),
        ] {
            assert_eq!(
                judge(&result(stop, -0.1, 0.0), MelFrame::new(900), false),
                Some(reason)
            );
        }
    }

    #[test]
    fn guesses_over_silence_are_rejected() {
        let end = Stop::EndOfText;
        assert_eq!(
            judge(&result(end, -0.2, 0.9), MelFrame::new(900), true),
            None
        );
        assert_eq!(
            judge(&result(end, -1.1, 0.7), MelFrame::new(900), false),
            Some(RejectReason::Silence)
        );
        assert_eq!(
            judge(&result(end, -0.2, 0.5), MelFrame::new(60), true),
            Some(RejectReason::Silence)
        );
        assert_eq!(
            judge(&result(end, -0.8, 0.1), MelFrame::new(60), true),
            Some(RejectReason::Silence)
        );
        assert_eq!(
            judge(&result(end, -0.8, 0.1), MelFrame::new(60), false),
            None
        );
        assert_eq!(
            judge(&result(end, -0.5, 0.2), MelFrame::new(60), true),
            None
        );
    }

    #[test]
    fn a_known_hallucination_is_rejected_unless_said_clearly() {
        let sure = result(Stop::EndOfText, -0.2, 0.05);
        let unsure = result(Stop::EndOfText, -0.2, 0.4);
        assert!(is_hallucination(" Thank you.", &unsure, MelFrame::new(300)));
        assert!(is_hallucination("Thank you!", &sure, MelFrame::new(60)));
        assert!(!is_hallucination("Thank you.", &sure, MelFrame::new(130)));
        assert!(!is_hallucination(
            "Thank you, Mr. Hale.",
            &unsure,
            MelFrame::new(60)
        ));
        assert!(!is_hallucination("", &unsure, MelFrame::new(60)));
    }
}
