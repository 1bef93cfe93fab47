// SPDX-License-Identifier: MPL-2.0
//! Is a hypothesis good enough? (openai/whisper `transcribe.py`: temperature fallback and the silence rule.)

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

use super::Hypothesis;

/// What becomes of a hypothesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// Nobody spoke: the text is the model's invention.
    Silence,
    /// Loops or guesses: try again, warmer.
    Retry,
}

/// Thresholds with openai/whisper's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Text that compresses better than this repeats itself.
    pub compression_ratio: f32,
    /// Below this mean log-probability the model guesses.
    pub avg_logprob: f32,
    /// Above this probability of no speech, a guess means silence.
    pub no_speech: f32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compression_ratio: 2.4,
            avg_logprob: -1.0,
            no_speech: 0.6,
        }
    }
}

impl Limits {
    /// Judges a hypothesis and its text.
    pub fn judge(&self, hypothesis: &Hypothesis, text: &str) -> Verdict {
        let guess = hypothesis.avg_logprob < self.avg_logprob;
        if guess && hypothesis.no_speech > self.no_speech {
            Verdict::Silence
        } else if guess || compression_ratio(text) > self.compression_ratio {
            Verdict::Retry
        } else {
            Verdict::Accept
        }
    }
}

/// Bytes of the text over bytes of its zlib stream; 0 for no text.
pub fn compression_ratio(text: &str) -> f32 {
    if text.is_empty() {
        return 0.0;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let compressed = encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish());
    // Writing into a Vec does not fail; were it to, the text would count as incompressible.
    compressed.map_or(0.0, |bytes| text.len() as f32 / bytes.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypothesis(avg_logprob: f32, no_speech: f32) -> Hypothesis {
        Hypothesis {
            avg_logprob,
            no_speech,
            ..Hypothesis::default()
        }
    }

    #[test]
    fn sure_text_is_accepted_whatever_the_no_speech_token_says() {
        assert_eq!(
            Limits::default().judge(&hypothesis(-0.3, 0.9), "And so."),
            Verdict::Accept
        );
    }

    #[test]
    fn a_guess_over_likely_silence_is_silence() {
        assert_eq!(
            Limits::default().judge(&hypothesis(-1.2, 0.7), "you"),
            Verdict::Silence
        );
    }

    #[test]
    fn guesses_and_loops_are_tried_again() {
        assert_eq!(
            Limits::default().judge(&hypothesis(-1.2, 0.1), "hm"),
            Verdict::Retry
        );
        let text = "the same again ".repeat(20);
        assert_eq!(
            Limits::default().judge(&hypothesis(-0.1, 0.1), &text),
            Verdict::Retry
        );
    }

    #[test]
    fn plain_sentences_compress_less_than_the_limit() {
        let text = "there's iron they say in all our blood and a grain or two perhaps is good";
        assert!(compression_ratio(text) < 1.5);
        assert_eq!(compression_ratio(""), 0.0);
    }
}
