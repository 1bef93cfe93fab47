// SPDX-License-Identifier: MPL-2.0
//! What a window was decoded to, and whether it can be trusted.

use super::coverage;
use super::passage::Passage;
use super::window::Window;
use crate::decoder::{Hypothesis, TimedText, compression_ratio};
use crate::stream::guards::{self, Evidence, LOGPROB_THRESHOLD};
use whisper_frontend::EncoderFrame;

/// Text that compresses better than this repeats itself (openai/whisper `transcribe.py`).
const COMPRESSION_RATIO: f32 = 2.4;
/// How much a rank of verdicts counts against the mean log-probability.
const RANK: f32 = 2.0;
/// Attention that goes back further than this, in more than one token of ten, does not follow the
/// audio.
const BACK: EncoderFrame = EncoderFrame::new(50);

/// What becomes of an attempt, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is good enough.
    Sound,
    /// The model guesses: another attempt may do better, else it stands.
    Unsure,
    /// Nobody speaks: the text is invented.
    Silent,
    /// It repeats itself or the prompt, or has more text than can be said: it is never printed.
    Refused,
}

/// One text of a window.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub hypothesis: Hypothesis,
    pub text: String,
    pub timed: TimedText,
    pub verdict: Verdict,
    /// Voice that none of its tokens looks at.
    pub unheard: Vec<Passage>,
}

impl Attempt {
    /// Judges a text by itself and by where it looks. `prompt` is what the model was told to have
    /// been said before.
    pub fn new(
        window: &Window,
        hypothesis: Hypothesis,
        timed: TimedText,
        text: String,
        prompt: &str,
    ) -> Self {
        let mut attempt = Self {
            unheard: coverage::unheard(window, &timed.attended),
            verdict: Verdict::Sound,
            hypothesis,
            text,
            timed,
        };
        attempt.verdict = attempt.judge(window, prompt);
        attempt
    }

    /// The better of two attempts at one window; this one, if they are as good.
    pub fn better(self, other: Self) -> Self {
        if other.score() > self.score() {
            other
        } else {
            self
        }
    }

    /// Whether it is printed if no attempt is better.
    pub fn is_printed(&self) -> bool {
        self.verdict <= Verdict::Unsure
    }

    fn score(&self) -> f32 {
        self.hypothesis.avg_logprob - RANK * f32::from(self.verdict as u8)
    }

    fn judge(&self, window: &Window, prompt: &str) -> Verdict {
        let (text, voice) = (&self.text, window.voice());
        let evidence = Evidence {
            avg_logprob: self.hypothesis.avg_logprob,
            no_speech: self.hypothesis.no_speech,
            voiced: voice,
            clarity: window.clarity(),
        };
        if evidence.is_silent() || evidence.is_invented(text) {
            return Verdict::Silent;
        }
        let repeats = compression_ratio(text) > COMPRESSION_RATIO;
        let was_said = self.unheard.is_empty() && follows_audio(&self.timed.attended);
        if self.hypothesis.truncated
            || guards::is_too_fast(text, voice)
            || guards::is_echo(text, prompt)
            || (repeats && !was_said)
        {
            return Verdict::Refused;
        }
        if self.hypothesis.avg_logprob < LOGPROB_THRESHOLD || guards::is_spelled(text) {
            return Verdict::Unsure;
        }
        Verdict::Sound
    }
}

/// Whether tokens look at one place of the audio after the other.
fn follows_audio(attended: &[EncoderFrame]) -> bool {
    let pairs = || attended.windows(2);
    let back = pairs().filter(|pair| pair[1] + BACK < pair[0]).count();
    let moves = pairs().filter(|pair| pair[0] != pair[1]).count();
    10 * back <= attended.len() && 2 * moves + 1 >= attended.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use whisper_frontend::MelFrame;

    /// A window of one passage with so many seconds of voice.
    fn window(seconds: u64) -> Window {
        let end = MelFrame::from_secs(seconds);
        let passage = Passage {
            span: MelFrame::ZERO..end,
            voiced: vec![MelFrame::ZERO..end],
            clarity: 0.9,
        };
        Window::new(vec![passage])
    }

    /// An attempt whose tokens look at one place after the other.
    fn attempt(seconds: u64, text: &str, avg_logprob: f32, no_speech: f32) -> Attempt {
        let hypothesis = Hypothesis {
            avg_logprob,
            no_speech,
            ..Hypothesis::default()
        };
        let places = (0..2 * seconds).map(|half| EncoderFrame::new(25 * half + 12));
        let timed = TimedText {
            attended: places.collect(),
            ..TimedText::default()
        };
        Attempt::new(
            &window(seconds),
            hypothesis,
            timed,
            text.into(),
            "The assistant is Jarvix.",
        )
    }

    fn verdict(seconds: u64, text: &str, avg_logprob: f32, no_speech: f32) -> Verdict {
        attempt(seconds, text, avg_logprob, no_speech).verdict
    }

    #[test]
    fn sound_text_is_sure_and_fits_its_speech() {
        assert_eq!(
            verdict(3, " Put this in a double boiler.", -0.3, 0.1),
            Verdict::Sound
        );
        assert_eq!(
            verdict(3, " Put this in a double boiler.", -1.2, 0.1),
            Verdict::Unsure
        );
    }

    #[test]
    fn text_that_is_longer_than_its_speech_is_refused() {
        let text = " Running with a inhaler. Set up the blood releases to close it.";
        assert_eq!(verdict(1, text, -0.3, 0.1), Verdict::Refused);
        assert_eq!(verdict(4, text, -0.3, 0.1), Verdict::Sound);
    }

    #[test]
    fn loops_are_refused_unless_they_were_said() {
        let text = " You didn't want to come.".repeat(8);
        assert_eq!(verdict(16, &text, -0.1, 0.0), Verdict::Sound);
        let said = attempt(16, &text, -0.1, 0.0);
        let stuck = TimedText {
            attended: vec![EncoderFrame::new(40); 32],
            ..TimedText::default()
        };
        let stuck = Attempt::new(&window(16), said.hypothesis, stuck, text, "");
        assert_eq!(stuck.verdict, Verdict::Refused);
    }

    #[test]
    fn echoes_of_the_prompt_are_refused() {
        assert_eq!(
            verdict(3, " The assistant is Jarvix.", -0.1, 0.1),
            Verdict::Refused
        );
        assert_eq!(verdict(3, " Ask the assistant.", -0.1, 0.1), Verdict::Sound);
    }

    #[test]
    fn guesses_and_boilerplate_over_silence_are_silent() {
        assert_eq!(verdict(3, " Hm.", -1.2, 0.7), Verdict::Silent);
        assert_eq!(verdict(3, " Thank you.", -0.2, 0.5), Verdict::Silent);
    }

    #[test]
    fn attempts_compare_by_verdict_and_then_by_sureness() {
        let sure = attempt(3, " Put this in.", -0.3, 0.1);
        let less = attempt(3, " Put this.", -0.6, 0.1);
        let guess = attempt(3, " Put.", -1.2, 0.1);
        let refused = attempt(1, &" word".repeat(40), -0.05, 0.1);
        let text = |attempt: Attempt| attempt.text;
        assert_eq!(text(less.clone().better(sure)), " Put this in.");
        assert_eq!(text(guess.clone().better(less)), " Put this.");
        assert_eq!(text(refused.better(guess)), " Put.");
    }
}
