// SPDX-License-Identifier: MPL-2.0
//! Which words of an update are final.

use crate::decoder::{AlignAttResult, Stop, WordTokens, split_words};
use whisper_frontend::EncoderFrame;
use whisper_model::{Config, Tokenizer};

/// Words that look at the last frames of the audio are left for later; at fewer frames where no
/// audio will follow.
const MARGIN: EncoderFrame = EncoderFrame::new(35);
const LAST_MARGIN: EncoderFrame = EncoderFrame::new(4);
/// A word is final if each of its tokens has this probability, or this one where two updates in a
/// row agree on it.
const MIN_PROBABILITY: f32 = 0.5;
const MIN_PROBABILITY_AGREED: f32 = 0.2;
/// Else it is final once it ended so long before the end of the audio. Delays of 1.5, 2.2 and 3 s
/// leave tiny.en with 352, 351, 360 of 2655 words wrong and base with 329, 327, 304 (4 s: 307).
/// Larger models were not tried.
const COMMIT_DELAY_TINY: EncoderFrame = EncoderFrame::new(75);
const COMMIT_DELAY: EncoderFrame = EncoderFrame::new(150);
/// Layers of the decoder of tiny.
const TINY_LAYERS: usize = 4;

/// Why there is an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Time has passed.
    Regular,
    /// The speaker pauses.
    Pause,
    /// The utterance ended.
    Last,
}

/// How an update tells what no more audio can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// By where cross-attention looks (see [`crate::decoder::AlignAttRequest`]).
    AlignAtt,
    /// By what two updates in a row agree on: LocalAgreement-2 (Liu, Spanakis, Niehues 2020;
    /// Macháček, Dabre, Bojar 2023, arXiv 2307.14743). Later by one update, and without a view into
    /// the model.
    Agreement,
}

impl Policy {
    /// AlignAtt where the model's heads are known to follow the audio. Those of large-v3-turbo,
    /// with four layers on a large encoder, do not well enough (WhisperLiveKit's benchmarks: 18
    /// against 5 % WER).
    pub fn of(config: &Config) -> Self {
        if !config.alignment_heads.is_empty() && config.text_layers == config.audio_layers {
            Self::AlignAtt
        } else {
            Self::Agreement
        }
    }

    /// Frames at the end of the audio that no final token may look at.
    pub(super) fn margin(self, update: Update) -> Option<EncoderFrame> {
        match (self, update) {
            (Self::AlignAtt, Update::Regular) => Some(MARGIN),
            (Self::AlignAtt, Update::Pause | Update::Last) => Some(LAST_MARGIN),
            (Self::Agreement, _) => None,
        }
    }

    /// How long before the end of the audio an unsure word has to end, to be final.
    pub(super) fn commit_delay(config: &Config) -> EncoderFrame {
        if config.text_layers > TINY_LAYERS {
            COMMIT_DELAY
        } else {
            COMMIT_DELAY_TINY
        }
    }

    /// The words of an update that are final. An unsure word waits until it ended `commit_delay`
    /// before the end of the audio.
    ///
    /// In a pause an unsure word waits for the end of the utterance, a moment later: more words may
    /// yet make it clear.
    pub(super) fn final_words(
        self,
        text: &UpdateText,
        commit_delay: EncoderFrame,
        update: Update,
    ) -> Vec<WordTokens> {
        let result = text.result;
        let has_ended = self == Self::Agreement && result.stop == Stop::EndOfText;
        let mut words = text.whole_words(update != Update::Regular || has_ended);
        match (self, update) {
            (_, Update::Last) | (Self::Agreement, Update::Pause) => return words,
            _ => {}
        }
        let agreed = text.agreed();
        let is_final = |word: &WordTokens| {
            let is_agreed = word.tokens.end <= agreed;
            match self {
                Self::Agreement => is_agreed,
                Self::AlignAtt => {
                    let age = text.content.saturating_sub(result.begins[word.tokens.end]);
                    let enough = if is_agreed {
                        MIN_PROBABILITY_AGREED
                    } else {
                        MIN_PROBABILITY
                    };
                    let mut own = result.probabilities[word.tokens.clone()].iter();
                    (age >= commit_delay && update == Update::Regular)
                        || own.all(|probability| *probability >= enough)
                }
            }
        };
        let count = words.iter().take_while(|word| is_final(word)).count();
        words.truncate(count);
        words
    }
}

/// What an update decoded.
#[derive(Clone, Copy)]
pub struct UpdateText<'a> {
    pub result: &'a AlignAttResult,
    /// What the update before left for later.
    pub draft: &'a [u32],
    /// How much of the window holds audio.
    pub content: EncoderFrame,
    pub tokenizer: &'a Tokenizer,
    /// The language is written without spaces between words.
    pub unspaced: bool,
}

impl UpdateText<'_> {
    /// Tokens that this update and the one before agree on.
    fn agreed(&self) -> usize {
        let pairs = self.result.tokens.iter().zip(self.draft);
        pairs.take_while(|(now, before)| now == before).count()
    }

    /// The words that nothing can be added to; `closed` says that the text ended with the last one.
    fn whole_words(&self, closed: bool) -> Vec<WordTokens> {
        let mut words = split_words(&self.result.tokens, self.tokenizer, self.unspaced);
        let starts_word =
            |token: &u32| self.unspaced || self.tokenizer.bytes(*token).starts_with(b" ");
        let is_whole = closed || self.result.tail.first().is_some_and(starts_word);
        if words
            .last()
            .is_some_and(|word| !is_whole || self.is_broken(word))
        {
            words.pop();
        }
        words
    }

    /// Whether the word's last character misses bytes.
    fn is_broken(&self, word: &WordTokens) -> bool {
        let tokens = self.result.tokens[word.tokens.clone()].iter();
        let bytes: Vec<u8> = tokens
            .flat_map(|&token| self.tokenizer.bytes(token))
            .copied()
            .collect();
        std::str::from_utf8(&bytes).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_support::small_tokenizer as small;

    /// "hello world wor", each token spoken for half a second and as sure as said; half a second
    /// more is silent.
    fn result(tokenizer: &Tokenizer, probabilities: [f32; 3]) -> AlignAttResult {
        let words = ["hello", " world", " wor"].map(|word| tokenizer.encode(word));
        let count = words.iter().map(Vec::len).sum::<usize>();
        let sure = words.iter().zip(probabilities);
        AlignAttResult {
            tokens: words.concat(),
            probabilities: sure
                .flat_map(|(word, probability)| vec![probability; word.len()])
                .collect(),
            begins: (0..=count)
                .map(|token| EncoderFrame::from_usize(25 * token))
                .collect(),
            attended: None,
            tail: tokenizer.encode(" wor"),
            unheard: 0,
            avg_logprob: -0.2,
            no_speech: 0.0,
            stop: Stop::EndOfAudio,
        }
    }

    fn count(policy: Policy, probabilities: [f32; 3], before: &[&str], update: Update) -> usize {
        count_delayed(policy, probabilities, before, COMMIT_DELAY_TINY, update)
    }

    fn count_delayed(
        policy: Policy,
        probabilities: [f32; 3],
        before: &[&str],
        commit_delay: EncoderFrame,
        update: Update,
    ) -> usize {
        let tokenizer = small();
        let result = result(&tokenizer, probabilities);
        let end = result.begins.last().copied().unwrap_or_default();
        let text = UpdateText {
            result: &result,
            draft: &tokenizer.encode(&before.concat()),
            content: end + EncoderFrame::new(25),
            tokenizer: &tokenizer,
            unspaced: false,
        };
        policy.final_words(&text, commit_delay, update).len()
    }

    #[test]
    fn an_unsure_word_waits_until_it_is_agreed_or_old() {
        let count = |probabilities, before: &[&str]| {
            count(Policy::AlignAtt, probabilities, before, Update::Regular)
        };
        assert_eq!(count([0.9, 0.9, 0.9], &[]), 3);
        assert_eq!(count([0.9, 0.9, 0.4], &[]), 2);
        assert_eq!(count([0.9, 0.9, 0.4], &["hello", " world", " wor"]), 3);
        assert_eq!(count([0.9, 0.9, 0.1], &["hello", " world", " wor"]), 2);
        assert_eq!(count([0.4, 0.9, 0.9], &[]), 3, "long ago");
        let delayed =
            |unsure| count_delayed(Policy::AlignAtt, unsure, &[], COMMIT_DELAY, Update::Regular);
        assert_eq!(
            delayed([0.4, 0.9, 0.9]),
            0,
            "not long ago for a larger model"
        );
    }

    #[test]
    fn in_a_pause_an_unsure_word_waits_for_the_end() {
        let unsure = [0.4, 0.9, 0.4];
        assert_eq!(count(Policy::AlignAtt, unsure, &[], Update::Pause), 0);
        assert_eq!(
            count(Policy::AlignAtt, unsure, &["hello"], Update::Pause),
            2
        );
        assert_eq!(count(Policy::AlignAtt, unsure, &[], Update::Last), 3);
    }

    #[test]
    fn agreement_asks_for_the_same_words_twice() {
        let unsure = [0.1; 3];
        let count = |before: &[&str], update| count(Policy::Agreement, unsure, before, update);
        assert_eq!(count(&[], Update::Regular), 0);
        assert_eq!(count(&["hello", " world"], Update::Regular), 2);
        assert_eq!(count(&[], Update::Pause), 3);
    }
}
