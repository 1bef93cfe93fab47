// SPDX-License-Identifier: MPL-2.0
//! What is not printed although the model wrote it: hallucinations, live and offline.

use crate::decoder::{AlignAttResult, Stop, is_known_hallucination};
use whisper_frontend::MelFrame;

/// Above this probability of no speech, a guess means silence (openai/whisper `transcribe.py`).
const NO_SPEECH: f32 = 0.6;
/// Below this mean log-probability the model guesses (openai/whisper `transcribe.py`).
pub const LOGPROB_THRESHOLD: f32 = -1.0;
/// The same for utterances with little voice, where either is enough.
const SHORT_NO_SPEECH: f32 = 0.45;
const SHORT_LOGPROB_THRESHOLD: f32 = -0.7;
/// An utterance with less voice is a short one.
const SHORT: MelFrame = MelFrame::new(150);
/// Voice that is clearly one: by Silero clear speech has 0.95 and more on average, short words 0.88,
/// music 0.84 and less; by earshot clear speech has 0.86 and more.
pub const CLEAR: f32 = 0.85;
/// What the guesses at a clear voice must be to count for silence.
const CLEAR_LOGPROB_THRESHOLD: f32 = -1.5;
/// A known hallucination needs at least so much voice and trust to be believed.
const BOILERPLATE_NO_SPEECH: f32 = 0.3;
const BOILERPLATE_VOICE: MelFrame = MelFrame::new(100);
const BOILERPLATE_LOGPROB_THRESHOLD: f32 = -0.5;

/// Letters that may be said in a moment, and in each second with voice: the fastest speakers say
/// some 22.
const LETTERS_AT_FIRST: u64 = 8;
const LETTERS_PER_SECOND: u64 = 26;
/// An ideograph takes as long as so many letters.
const IDEOGRAPH: u64 = 2;

/// So many letters in a row, one by one, are more than a name that is spelled.
const SPELLED: usize = 6;

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
    let evidence = Evidence::of(result, voiced);
    // More words may yet make a short beginning clear.
    let is_silent = if last {
        evidence.is_silent()
    } else {
        evidence.is_guess()
    };
    is_silent.then_some(RejectReason::Silence)
}

/// What is known of a text and the voice that it is to stand for.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// Mean log-probability of the text.
    pub avg_logprob: f32,
    /// The probability of no speech, by the model.
    pub no_speech: f32,
    /// Frames with voice.
    pub voiced: MelFrame,
    /// How probable the voice is, by the detector; 0 where that is not known. A clear voice that
    /// says a single word is hard to understand all the same.
    pub clarity: f32,
}

impl Evidence {
    /// Of a live update.
    pub fn of(result: &AlignAttResult, voiced: MelFrame) -> Self {
        Self {
            avg_logprob: result.avg_logprob,
            no_speech: result.no_speech,
            voiced,
            clarity: 0.0,
        }
    }

    /// Whether the model guesses, and hears no speech.
    fn is_guess(self) -> bool {
        self.avg_logprob < LOGPROB_THRESHOLD && self.no_speech > NO_SPEECH
    }

    /// Whether nobody speaks.
    pub fn is_silent(self) -> bool {
        let is_short = self.voiced < SHORT;
        if is_short && self.clarity >= CLEAR {
            return self.avg_logprob < CLEAR_LOGPROB_THRESHOLD && self.no_speech > NO_SPEECH;
        }
        let is_doubtful =
            self.no_speech > SHORT_NO_SPEECH || self.avg_logprob < SHORT_LOGPROB_THRESHOLD;
        self.is_guess() || (is_short && is_doubtful)
    }

    /// Whether a text is a phrase that models write over noise, and nothing speaks for it.
    pub fn is_invented(self, text: &str) -> bool {
        is_known_hallucination(text)
            && (self.no_speech > BOILERPLATE_NO_SPEECH
                || (self.voiced < BOILERPLATE_VOICE && self.clarity < CLEAR)
                || self.avg_logprob < BOILERPLATE_LOGPROB_THRESHOLD)
    }
}

/// Whether a text has more letters than can be said in so many frames with voice.
pub fn is_too_fast(text: &str, voiced: MelFrame) -> bool {
    let weight = |c: char| if is_ideographic(c) { IDEOGRAPH } else { 1 };
    let letters: u64 = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .map(weight)
        .sum();
    letters > LETTERS_AT_FIRST + LETTERS_PER_SECOND * voiced.get() / MelFrame::PER_SECOND
}

/// Whether a text has letters one by one ("s-n-a-s-j-r-n"), as Whisper writes what it cannot make out.
pub fn is_spelled(text: &str) -> bool {
    let is_letter = |part: &str| part.len() == 1 && part.chars().all(|c| c.is_ascii_alphabetic());
    let parts: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).collect();
    parts
        .windows(SPELLED)
        .any(|row| row.iter().all(|part| is_letter(part)))
}

/// Whether a text has no word but those that the model was told to have been said before. What was
/// really said comes without having been told, too.
pub fn is_echo(text: &str, prompt: &str) -> bool {
    let (said, told) = (words(text), words(prompt));
    !said.is_empty() && said.iter().all(|word| told.contains(word))
}

/// Whether two words differ in nothing but case and punctuation.
pub fn is_same(one: &str, other: &str) -> bool {
    words(one) == words(other)
}

/// The words of a text, without case and punctuation.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Whether a character stands for a syllable or a word.
fn is_ideographic(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
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

    fn invented(text: &str, result: &AlignAttResult, voiced: MelFrame) -> bool {
        evidence(result.avg_logprob, result.no_speech, voiced, 0.0).is_invented(text)
    }

    fn evidence(avg_logprob: f32, no_speech: f32, voiced: MelFrame, clarity: f32) -> Evidence {
        Evidence {
            avg_logprob,
            no_speech,
            voiced,
            clarity,
        }
    }

    #[test]
    fn a_clear_voice_may_say_a_single_word() {
        let short = MelFrame::new(31);
        assert!(evidence(-1.2, 0.71, short, 0.7).is_silent());
        assert!(!evidence(-1.2, 0.71, short, 0.9).is_silent());
        assert!(evidence(-2.0, 0.9, short, 0.9).is_silent());
        assert!(evidence(-0.2, 0.1, short, 0.7).is_invented(" Thank you."));
        assert!(!evidence(-0.2, 0.1, short, 0.95).is_invented(" Thank you."));
    }

    #[test]
    fn a_known_hallucination_is_rejected_unless_said_clearly() {
        let sure = result(Stop::EndOfText, -0.2, 0.05);
        let unsure = result(Stop::EndOfText, -0.2, 0.4);
        assert!(invented(" Thank you.", &unsure, MelFrame::new(300)));
        assert!(invented("Thank you!", &sure, MelFrame::new(60)));
        assert!(!invented("Thank you.", &sure, MelFrame::new(130)));
        assert!(!invented(
            "Thank you, Mr. Hale.",
            &unsure,
            MelFrame::new(60)
        ));
        assert!(!invented("", &unsure, MelFrame::new(60)));
    }

    #[test]
    fn text_is_too_fast_beyond_what_is_said_in_the_time() {
        let seconds = |seconds| MelFrame::from_secs(seconds);
        let sentence = " He should make inquiries as to symptoms and the time.";
        assert!(!is_too_fast(sentence, seconds(2)) && is_too_fast(sentence, seconds(1)));
        assert!(!is_too_fast(" doctor", MelFrame::new(20)));
        let chinese = "知识就是力量知识就是力量知识就是力量";
        assert!(!is_too_fast(chinese, seconds(3)) && is_too_fast(chinese, seconds(1)));
    }

    #[test]
    fn letters_one_by_one_are_spelled() {
        assert!(is_spelled(" warning the dera-e-s-n-a-s-n-a-s-j-r-n-e-j-p."));
        assert!(!is_spelled(
            " It is spelled J-A-R-V-S, and I am a well-to-do man."
        ));
        assert!(!is_spelled("") && !is_spelled(" ...!! - - - - - -"));
    }

    #[test]
    fn an_echo_has_words_of_the_prompt_and_no_others() {
        let prompt = "The assistant is called Jarvix. Ask it anything.";
        assert!(is_echo(" The assistant is called Jarvix.", prompt));
        assert!(is_echo(" Jarvix is called jarvix!", prompt));
        assert!(!is_echo(
            " The assistant is called Jarvix, I think.",
            prompt
        ));
        assert!(!is_echo("", prompt) && !is_echo(" Jarvix", ""));
    }
}
