// SPDX-License-Identifier: MPL-2.0
//! Which words of an update are final.

use crate::decoder::{AlignAttResult, Stop, WordTokens, split_words};
use whisper_frontend::EncoderFrame;
use whisper_model::{Config, Tokenizer};

/// Words are left for later if they look at the last frames (20 ms) of the audio; of all audio that there will be, less.
const MARGIN: EncoderFrame = EncoderFrame::new(35);
const LAST_MARGIN: EncoderFrame = EncoderFrame::new(4);
/// A word is final if the model is so sure of each of its tokens, or less but says it for the second time.
const SURE: f32 = 0.5;
const SURE_TWICE: f32 = 0.2;
/// Else it is once it ended so many frames before the end of the audio. tiny.en makes nothing of more audio, base does (larger
/// models were not tried): with 1.5, 2.2 and 3 s they have 352, 351, 360 and 329, 327, 304 of 2655 words wrong (base, 4 s: 307).
const FAR_SMALL: EncoderFrame = EncoderFrame::new(75);
const FAR: EncoderFrame = EncoderFrame::new(150);
/// Layers of the decoder of tiny.
const SMALL: usize = 4;

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
    /// By what two updates in a row agree on: LocalAgreement-2 (Liu, Spanakis, Niehues 2020; Macháček, Dabre, Bojar
    /// 2023, arXiv 2307.14743). Later by one update, and without a view into the model.
    Agreement,
}

impl Policy {
    /// AlignAtt where the model's heads are known to follow the audio. Those of large-v3-turbo, with four layers on a
    /// large encoder, do not well enough (WhisperLiveKit's benchmarks: 18 against 5 % WER).
    pub fn of(config: &Config) -> Self {
        if !config.alignment_heads.is_empty() && config.text_layers == config.audio_layers {
            Self::AlignAtt
        } else {
            Self::Agreement
        }
    }

    /// Frames at the end of the audio that no final token may look at.
    pub fn margin(self, update: Update) -> Option<EncoderFrame> {
        match (self, update) {
            (Self::AlignAtt, Update::Regular) => Some(MARGIN),
            (Self::AlignAtt, Update::Pause | Update::Last) => Some(LAST_MARGIN),
            (Self::Agreement, _) => None,
        }
    }

    /// Frames after which an unsure word is heard as well as it ever will be.
    pub fn commit_delay(config: &Config) -> EncoderFrame {
        if config.text_layers > SMALL {
            FAR
        } else {
            FAR_SMALL
        }
    }

    /// The words of an update that are final. `before` is what the update before left for later, `content` counts the
    /// frames of audio, `commit_delay` those that an unsure word waits for.
    ///
    /// In a pause an unsure word waits for the end of the utterance, a moment later: more words may yet make it clear.
    pub fn final_words(
        self,
        followed: &AlignAttResult,
        before: &[u32],
        content: EncoderFrame,
        commit_delay: EncoderFrame,
        update: Update,
        writing: Writing,
    ) -> Vec<WordTokens> {
        let has_ended = self == Self::Agreement && followed.stop == Stop::EndOfText;
        let mut words = writing.whole_words(followed, update != Update::Regular || has_ended);
        match (self, update) {
            (_, Update::Last) | (Self::Agreement, Update::Pause) => return words,
            _ => {}
        }
        let agreed = followed
            .tokens
            .iter()
            .zip(before)
            .take_while(|(now, before)| now == before)
            .count();
        let is_final = |word: &WordTokens| {
            let is_agreed = word.tokens.end <= agreed;
            match self {
                Self::Agreement => is_agreed,
                Self::AlignAtt => {
                    let age = content.saturating_sub(followed.begins[word.tokens.end]);
                    let enough = if is_agreed { SURE_TWICE } else { SURE };
                    let mut own = followed.probabilities[word.tokens.clone()].iter();
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

/// How the language is written.
#[derive(Clone, Copy)]
pub struct Writing<'a> {
    pub tokenizer: &'a Tokenizer,
    /// Without spaces between words.
    pub unspaced: bool,
}

impl Writing<'_> {
    /// The words of an update that nothing can be added to; `closed` says that the text ended with the last one.
    fn whole_words(self, followed: &AlignAttResult, closed: bool) -> Vec<WordTokens> {
        let mut words = split_words(&followed.tokens, self.tokenizer, self.unspaced);
        let starts_word =
            |token: &u32| self.unspaced || self.tokenizer.bytes(*token).starts_with(b" ");
        let is_whole = closed || followed.tail.first().is_some_and(starts_word);
        if words
            .last()
            .is_some_and(|word| !is_whole || self.is_broken(followed, word))
        {
            words.pop();
        }
        words
    }

    /// Whether the word's last character misses bytes.
    fn is_broken(self, followed: &AlignAttResult, word: &WordTokens) -> bool {
        let tokens = followed.tokens[word.tokens.clone()].iter();
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

    /// "hello world wor", each token spoken for half a second and as sure as said; half a second more is silent.
    fn followed(tokenizer: &Tokenizer, probabilities: [f32; 3]) -> AlignAttResult {
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
        count_patiently(policy, probabilities, before, FAR_SMALL, update)
    }

    fn count_patiently(
        policy: Policy,
        probabilities: [f32; 3],
        before: &[&str],
        commit_delay: EncoderFrame,
        update: Update,
    ) -> usize {
        let tokenizer = small();
        let followed = followed(&tokenizer, probabilities);
        let end = followed.begins.last().copied().unwrap_or_default();
        let content = end + EncoderFrame::new(25);
        let before = tokenizer.encode(&before.concat());
        let writing = Writing {
            tokenizer: &tokenizer,
            unspaced: false,
        };
        let words = policy.final_words(&followed, &before, content, commit_delay, update, writing);
        words.len()
    }

    #[test]
    fn an_unsure_word_waits_with_all_that_follow_until_it_is_said_again_or_long_ago() {
        let count = |probabilities, before: &[&str]| {
            count(Policy::AlignAtt, probabilities, before, Update::Regular)
        };
        assert_eq!(count([0.9, 0.9, 0.9], &[]), 3);
        assert_eq!(count([0.9, 0.9, 0.4], &[]), 2);
        assert_eq!(count([0.9, 0.9, 0.4], &["hello", " world", " wor"]), 3);
        assert_eq!(count([0.9, 0.9, 0.1], &["hello", " world", " wor"]), 2);
        assert_eq!(count([0.4, 0.9, 0.9], &[]), 3, "long ago");
        let patiently =
            |unsure| count_patiently(Policy::AlignAtt, unsure, &[], FAR, Update::Regular);
        assert_eq!(
            patiently([0.4, 0.9, 0.9]),
            0,
            "not long ago for a larger model"
        );
    }

    #[test]
    fn in_a_pause_an_unsure_word_waits_for_the_end_of_the_utterance() {
        let unsure = [0.4, 0.9, 0.4];
        assert_eq!(count(Policy::AlignAtt, unsure, &[], Update::Pause), 0);
        assert_eq!(
            count(Policy::AlignAtt, unsure, &["hello"], Update::Pause),
            2
        );
        assert_eq!(count(Policy::AlignAtt, unsure, &[], Update::Last), 3);
    }

    #[test]
    fn agreement_asks_for_the_same_words_twice_until_the_speaker_pauses() {
        let unsure = [0.1; 3];
        let count = |before: &[&str], update| count(Policy::Agreement, unsure, before, update);
        assert_eq!(count(&[], Update::Regular), 0);
        assert_eq!(count(&["hello", " world"], Update::Regular), 2);
        assert_eq!(count(&[], Update::Pause), 3);
    }
}
