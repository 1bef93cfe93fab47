// SPDX-License-Identifier: MPL-2.0
//! Which words of an update are final.

use crate::decoder::{Followed, Stop, TimedWord, split_words};
use crate::model::{Config, Tokenizer};

/// Words are left for later if they look at the last frames (20 ms) of the audio; of all audio that there will be, less.
const MARGIN: usize = 35;
const LAST_MARGIN: usize = 4;
/// A word that ended so many frames before the end of the audio is heard as well as it ever will be.
const FAR: usize = 75;
/// Nearer, it is final if the model is so sure of each of its tokens, or less but says it for the second time.
const SURE: f32 = 0.5;
const SURE_TWICE: f32 = 0.2;

/// How an update tells what no more audio can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// By where cross-attention looks (see [`crate::decoder::Follow`]).
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

    /// Frames at the end of the audio that no final token may look at; `last` says that no audio will follow.
    pub fn margin(self, last: bool) -> Option<usize> {
        match self {
            Self::AlignAtt => Some(if last { LAST_MARGIN } else { MARGIN }),
            Self::Agreement => None,
        }
    }

    /// The words of an update that are final. `before` is what the update before left for later, `content` counts the
    /// frames of audio; `last` says that no audio will follow.
    pub fn final_words(
        self,
        followed: &Followed,
        before: &[u32],
        content: usize,
        last: bool,
        writing: Writing,
    ) -> Vec<TimedWord> {
        let is_closed = last || (self == Self::Agreement && followed.stop == Stop::EndOfText);
        let mut words = writing.whole_words(followed, is_closed);
        if last {
            return words;
        }
        let agreed = followed
            .tokens
            .iter()
            .zip(before)
            .take_while(|(now, before)| now == before)
            .count();
        let is_final = |word: &TimedWord| {
            let is_agreed = word.tokens.end <= agreed;
            match self {
                Self::Agreement => is_agreed,
                Self::AlignAtt => {
                    let age = content.saturating_sub(followed.begins[word.tokens.end]);
                    let enough = if is_agreed { SURE_TWICE } else { SURE };
                    let mut own = followed.probabilities[word.tokens.clone()].iter();
                    age >= FAR || own.all(|probability| *probability >= enough)
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
    fn whole_words(self, followed: &Followed, closed: bool) -> Vec<TimedWord> {
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
    fn is_broken(self, followed: &Followed, word: &TimedWord) -> bool {
        let tokens = followed.tokens[word.tokens.clone()].iter();
        let bytes: Vec<u8> = tokens
            .flat_map(|&token| self.tokenizer.bytes(token))
            .copied()
            .collect();
        std::str::from_utf8(&bytes).is_err()
    }
}
