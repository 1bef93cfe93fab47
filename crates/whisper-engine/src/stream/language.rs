// SPDX-License-Identifier: MPL-2.0
//! Which language is spoken: decided on speech alone, and reconsidered at each utterance.
//!
//! Whisper names a language for anything that it hears, music included. Openai/whisper takes what it
//! says of the first 30 s; here each utterance speaks for itself, the more the longer it is, and a
//! change of language takes much more than a likely name.

use std::ops::Range;
use std::sync::Arc;

use super::TranscribeOptions;
use whisper_frontend::MelFrame;
use whisper_model::Tokenizer;

/// Speech that decides by itself, if the model is sure.
const ENOUGH: MelFrame = MelFrame::from_secs(2);
/// Speech after which the likeliest language is taken, sure or not.
const PLENTY: MelFrame = MelFrame::from_secs(8);
/// Utterances that are shorter never change the language.
const MIN_CHANGE: MelFrame = MelFrame::from_secs(1);
/// Longer ones change it more easily.
const LONG: MelFrame = MelFrame::from_secs(3);
/// Probability that decides at first.
const SURE: f32 = 0.7;
/// Probability of another language that changes it, and how much likelier than the present one it
/// must be: for a long utterance, and for a short one.
const CHANGE_LONG: (f32, f32) = (0.6, 4.0);
const CHANGE_SHORT: (f32, f32) = (0.9, 20.0);
/// No utterance counts a language for less likely than this.
const FLOOR: f32 = 1e-4;
/// Speech that counts once.
const UNIT: MelFrame = MelFrame::from_secs(3);

/// Follows the language of a stream.
pub struct LanguageTracker {
    tokenizer: Arc<Tokenizer>,
    /// The language that was asked for: it stays.
    asked: Option<u32>,
    /// The languages that may come, counted from the first; empty for all.
    allowed: Vec<usize>,
    current: Option<u32>,
    /// What all utterances so far say, as log-probabilities.
    evidence: Vec<f32>,
    listened: MelFrame,
    has_warned: bool,
}

impl LanguageTracker {
    pub fn new(options: &TranscribeOptions, tokenizer: Arc<Tokenizer>) -> Self {
        let first = tokenizer.special().languages.start;
        let token = |code: &String| tokenizer.language_token(code);
        let allowed = options.languages.iter().filter_map(token);
        let asked = options.language.as_ref().and_then(token);
        Self {
            allowed: allowed.map(|token| (token - first) as usize).collect(),
            current: asked.or((!tokenizer.is_multilingual()).then_some(first)),
            asked,
            evidence: Vec::new(),
            listened: MelFrame::ZERO,
            has_warned: false,
            tokenizer,
        }
    }

    /// The token of the language that is spoken, once it is known.
    pub fn current(&self) -> Option<u32> {
        self.current
    }

    /// Whether speech has to be listened to, to tell its language or that it is not the one that
    /// was asked for.
    pub fn listens(&self) -> bool {
        let warns = self.asked.is_some() && !self.has_warned && self.listened < PLENTY;
        self.tokenizer.is_multilingual() && (self.asked.is_none() || warns)
    }

    /// Takes in what the model says of an utterance: the probability of each language. True once
    /// the language is known.
    pub fn listen(&mut self, probabilities: &[f32], voice: MelFrame) -> bool {
        let probabilities = self.allowed(probabilities);
        self.evidence.resize(probabilities.len(), 0.0);
        let weight = voice.min(UNIT * 3).as_secs_f32() / UNIT.as_secs_f32();
        for (sum, probability) in self.evidence.iter_mut().zip(&probabilities) {
            *sum += weight * probability.max(FLOOR).ln();
        }
        self.listened += voice;
        if self.asked.is_none() && self.current.is_none() {
            let (best, probability) = likeliest(&softmax(&self.evidence));
            let is_sure = self.listened >= ENOUGH && probability >= SURE;
            if is_sure || self.listened >= PLENTY {
                self.current = Some(self.first() + best as u32);
            }
        }
        self.current.is_some()
    }

    /// Takes the likeliest language so far, sure or not.
    pub fn settle_for_likeliest(&mut self) {
        if self.current.is_none() && !self.evidence.is_empty() {
            self.current = Some(self.first() + likeliest(&self.evidence).0 as u32);
        }
    }

    /// The language of an utterance by what the model says of it. It becomes the present one.
    pub fn language_of(&mut self, probabilities: &[f32], voice: MelFrame) -> Option<u32> {
        self.current = self.guess(probabilities, voice, self.current);
        self.current
    }

    /// The language of an utterance that comes after one in the language `present`.
    pub fn guess(
        &self,
        probabilities: &[f32],
        voice: MelFrame,
        present: Option<u32>,
    ) -> Option<u32> {
        let token = present?;
        if self.asked.is_some() || !self.tokenizer.is_multilingual() {
            return present;
        }
        let probabilities = self.allowed(probabilities);
        let (best, probability) = likeliest(&probabilities);
        let its = probabilities.get((token - self.first()) as usize);
        let (least, factor) = if voice >= LONG {
            CHANGE_LONG
        } else {
            CHANGE_SHORT
        };
        let is_other = probability >= least && probability >= factor * its.unwrap_or(&0.0);
        if voice >= MIN_CHANGE && is_other {
            return Some(self.first() + best as u32);
        }
        present
    }

    /// The code of the language that is spoken although another one was asked for; once.
    pub fn take_mismatch(&mut self) -> Option<&'static str> {
        let asked = self
            .asked
            .filter(|_| !self.has_warned && self.listened >= ENOUGH)?;
        let probabilities = softmax(&self.evidence);
        let (best, probability) = likeliest(&probabilities);
        let token = self.first() + best as u32;
        if token == asked || probability < SURE || self.listened < LONG {
            return None;
        }
        self.has_warned = true;
        self.tokenizer.language_code(token)
    }

    fn first(&self) -> u32 {
        self.languages().start
    }

    fn languages(&self) -> Range<u32> {
        self.tokenizer.special().languages.clone()
    }

    /// The probabilities among the languages that may come.
    fn allowed(&self, probabilities: &[f32]) -> Vec<f32> {
        if self.allowed.is_empty() {
            return probabilities.to_vec();
        }
        let total: f32 = self
            .allowed
            .iter()
            .filter_map(|i| probabilities.get(*i))
            .sum();
        let share = |(index, probability): (usize, &f32)| {
            let is_allowed = self.allowed.contains(&index);
            if is_allowed {
                probability / total.max(f32::MIN_POSITIVE)
            } else {
                0.0
            }
        };
        probabilities.iter().enumerate().map(share).collect()
    }
}

/// The place of the largest number, and the number.
fn likeliest(probabilities: &[f32]) -> (usize, f32) {
    let all = probabilities.iter().copied().enumerate();
    all.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

fn softmax(logs: &[f32]) -> Vec<f32> {
    let most = likeliest(logs).1;
    let all: Vec<f32> = logs.iter().map(|log| (log - most).exp()).collect();
    let total: f32 = all.iter().sum();
    all.iter().map(|x| x / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: usize = 0;
    const GERMAN: usize = 2;
    const WELSH: usize = 40;

    fn tracker(options: TranscribeOptions) -> LanguageTracker {
        LanguageTracker::new(&options, Arc::new(multilingual_tokenizer()))
    }

    /// All bytes, and as many pairs of them as a multilingual model has text tokens; 99 languages.
    fn multilingual_tokenizer() -> Tokenizer {
        let bytes = (0..=255u8).map(|byte| Box::from([byte]));
        let pairs = (0..=255u8).flat_map(|a| (0..=255u8).map(move |b| Box::from([a, b])));
        let tokens: Vec<Box<[u8]>> = bytes.chain(pairs).take(50_257).collect();
        let rows = tokens.len() + 8 + 99 + 1501;
        Tokenizer::from_bytes(tokens, rows).expect("the tokens merge")
    }

    /// What the model says when it takes an utterance for a language with this probability.
    fn said(language: usize, probability: f32) -> Vec<f32> {
        let mut said = vec![(1.0 - probability) / 98.0; 99];
        said[language] = probability;
        said
    }

    fn seconds(seconds: u64) -> MelFrame {
        MelFrame::from_secs(seconds)
    }

    /// The language after utterances of so many seconds, counted from the first language.
    fn current(tracker: &LanguageTracker) -> Option<usize> {
        tracker
            .current()
            .map(|token| (token - tracker.first()) as usize)
    }

    #[test]
    fn language_is_taken_once_the_model_is_sure() {
        let mut tracker = tracker(TranscribeOptions::default());
        assert!(tracker.listens() && current(&tracker).is_none());
        assert!(!tracker.listen(&said(WELSH, 0.3), seconds(2)));
        assert!(tracker.listen(&said(GERMAN, 0.95), seconds(3)));
        assert_eq!(current(&tracker), Some(GERMAN));
    }

    #[test]
    fn language_is_the_likeliest_after_plenty_of_speech() {
        let mut tracker = tracker(TranscribeOptions::default());
        assert!(!tracker.listen(&said(GERMAN, 0.2), seconds(1)));
        tracker.settle_for_likeliest();
        assert_eq!(current(&tracker), Some(GERMAN));
    }

    #[test]
    fn language_changes_with_a_clear_utterance_alone() {
        let mut tracker = tracker(TranscribeOptions::default());
        tracker.listen(&said(ENGLISH, 0.99), seconds(4));
        let mut after = |language, probability, tenths: u64| {
            let voice = MelFrame::new(10 * tenths);
            tracker.language_of(&said(language, probability), voice);
            current(&tracker)
        };
        assert_eq!(after(WELSH, 0.5, 50), Some(ENGLISH), "unsure");
        assert_eq!(after(WELSH, 0.95, 9), Some(ENGLISH), "short");
        assert_eq!(after(WELSH, 0.8, 20), Some(ENGLISH), "not long");
        assert_eq!(after(GERMAN, 0.9, 40), Some(GERMAN));
        assert_eq!(after(ENGLISH, 0.96, 15), Some(ENGLISH));
    }

    #[test]
    fn languages_that_are_not_allowed_never_come() {
        let mut tracker = tracker(TranscribeOptions {
            languages: vec!["en".into(), "de".into()],
            ..TranscribeOptions::default()
        });
        let mut both = said(WELSH, 0.9);
        both[GERMAN] = 0.05;
        tracker.listen(&both, seconds(3));
        assert_eq!(current(&tracker), Some(GERMAN));
    }

    #[test]
    fn language_that_was_not_asked_for_is_told_once() {
        let mut tracker = tracker(TranscribeOptions {
            language: Some("de".into()),
            ..TranscribeOptions::default()
        });
        tracker.listen(&said(ENGLISH, 0.97), seconds(2));
        assert_eq!(tracker.take_mismatch(), None, "not enough");
        tracker.listen(&said(ENGLISH, 0.97), seconds(4));
        tracker.language_of(&said(ENGLISH, 0.97), seconds(4));
        assert_eq!(current(&tracker), Some(GERMAN), "it stays");
        assert_eq!(tracker.take_mismatch(), Some("en"));
        assert_eq!(tracker.take_mismatch(), None);
        assert!(!tracker.listens());
    }
}
