// SPDX-License-Identifier: MPL-2.0
//! Whether a hypothesis is good enough (openai/whisper `transcribe.py`, `decode_with_fallback`:
//! temperature fallback and the silence rule).

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

use super::Hypothesis;

/// What models learned from subtitles to write over noise, in any case and punctuation.
const KNOWN_HALLUCINATIONS: [&str; 18] = [
    "thank you",
    "thank you very much",
    "thanks for watching",
    "thank you for watching",
    "please subscribe",
    "subtitles by the amara org community",
    "you",
    "bye",
    "so",
    "oh",
    "the end",
    "music",
    "ご視聴ありがとうございました",
    "untertitel im auftrag des zdf",
    "sous titres réalisés par la communauté d amara org",
    "subtítulos realizados por la comunidad de amara org",
    "请不吝点赞 订阅 转发 打赏",
    "字幕由amara org社区提供",
];

/// What becomes of a hypothesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is good enough.
    Accept,
    /// There was no speech: the text is a hallucination.
    Silence,
    /// It loops or guesses: decode again at a higher temperature.
    Retry,
}

/// Thresholds with openai/whisper's defaults. Those for known hallucinations are this library's
/// own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FallbackThresholds {
    /// Text that compresses better than this repeats itself.
    pub compression_ratio: f32,
    /// Below this mean log-probability the model guesses.
    pub avg_logprob: f32,
    /// Above this probability of no speech, a guess means silence.
    pub no_speech: f32,
    /// Below this mean log-probability a known hallucination means silence.
    pub hallucination_avg_logprob: f32,
    /// Above this probability of no speech a known hallucination means silence.
    pub hallucination_no_speech: f32,
}

impl Default for FallbackThresholds {
    fn default() -> Self {
        Self {
            compression_ratio: 2.4,
            avg_logprob: -1.0,
            no_speech: 0.6,
            hallucination_avg_logprob: -0.5,
            hallucination_no_speech: 0.3,
        }
    }
}

impl FallbackThresholds {
    /// Judges a hypothesis and its text.
    pub fn judge(&self, hypothesis: &Hypothesis, text: &str) -> Decision {
        let guess = hypothesis.avg_logprob < self.avg_logprob;
        let doubtful = hypothesis.avg_logprob < self.hallucination_avg_logprob
            || hypothesis.no_speech > self.hallucination_no_speech;
        if (guess && hypothesis.no_speech > self.no_speech)
            || (doubtful && is_known_hallucination(text))
        {
            Decision::Silence
        } else if guess || compression_ratio(text) > self.compression_ratio {
            Decision::Retry
        } else {
            Decision::Accept
        }
    }
}

/// Whether the text is a phrase that models hallucinate over noise, and nothing else.
pub fn is_known_hallucination(text: &str) -> bool {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    KNOWN_HALLUCINATIONS.contains(&words.join(" ").as_str())
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
    fn sure_text_is_accepted_at_any_no_speech() {
        assert_eq!(
            FallbackThresholds::default().judge(&hypothesis(-0.3, 0.9), "And so."),
            Decision::Accept
        );
    }

    #[test]
    fn a_guess_over_likely_silence_is_silence() {
        assert_eq!(
            FallbackThresholds::default().judge(&hypothesis(-1.2, 0.7), "you"),
            Decision::Silence
        );
    }

    #[test]
    fn known_hallucination_is_silence_unless_clear() {
        let judge = |avg_logprob, no_speech, text| {
            FallbackThresholds::default().judge(&hypothesis(avg_logprob, no_speech), text)
        };
        assert_eq!(judge(-0.2, 0.4, " Thank you."), Decision::Silence);
        assert_eq!(judge(-0.6, 0.1, " you"), Decision::Silence);
        assert_eq!(judge(-0.2, 0.1, " Thank you."), Decision::Accept);
        assert_eq!(judge(-0.2, 0.4, " Thank you, Mr. Hale."), Decision::Accept);
    }

    #[test]
    fn guesses_and_loops_are_tried_again() {
        assert_eq!(
            FallbackThresholds::default().judge(&hypothesis(-1.2, 0.1), "hm"),
            Decision::Retry
        );
        let text = "the same again ".repeat(20);
        assert_eq!(
            FallbackThresholds::default().judge(&hypothesis(-0.1, 0.1), &text),
            Decision::Retry
        );
    }

    #[test]
    fn plain_sentences_compress_less_than_the_limit() {
        let text = "there's iron they say in all our blood and a grain or two perhaps is good";
        assert!(compression_ratio(text) < 1.5);
        assert_eq!(compression_ratio(""), 0.0);
    }
}
