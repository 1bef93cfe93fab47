// SPDX-License-Identifier: MPL-2.0
//! Each word on its own, for those who translate, align or accumulate words downstream.

use std::collections::VecDeque;

use std::time::Duration;

use super::layout::LONGEST;
use super::sanitizer::WordSanitizer;
use super::{Cue, Word};

/// Whisper's step of time: what a word lasts at least, also where several start at one instant.
const STEP: Duration = Duration::from_millis(20);

/// Yields each word as a [`Cue`] of one word, with `end > start` and no later than the next start.
///
/// A word is held back until its end is known: the next word is there, or is settled not to come before.
#[derive(Debug, Default)]
pub struct WordItems {
    intake: WordSanitizer,
    words: VecDeque<Word>,
    /// End of the last word that was given out.
    shown_until: Option<Duration>,
    drained: bool,
}

impl WordItems {
    /// Adds words that will not change any more.
    pub fn push(&mut self, words: &[Word]) {
        for word in words {
            let Some(word) = self.intake.admit(word) else {
                continue;
            };
            self.words.push_back(word);
            self.drained = false;
        }
    }

    /// The utterance ended, which changes nothing for single words.
    pub fn pause(&mut self) {}

    /// No later word starts before `until`.
    pub fn settled(&mut self, until: Duration) {
        self.intake.settled(until);
    }

    /// No more words: everything becomes ready.
    pub fn drain(&mut self) {
        self.drained = true;
    }

    /// The next word whose end is final.
    pub fn pop(&mut self) -> Option<Cue> {
        let word = self.words.front()?;
        let start = self
            .shown_until
            .map_or(word.start, |shown| word.start.max(shown));
        let shortest = start.saturating_add(STEP);
        let wish = word.end.max(shortest).min(start.saturating_add(LONGEST));
        let end = match self.words.get(1) {
            Some(next) => wish.min(next.start.max(shortest)),
            None if self.drained || self.intake.floor() >= Some(wish) => wish,
            None => return None,
        };
        self.shown_until = Some(end);
        let word = self.words.pop_front()?;
        Some(Cue::all_new(start, end, vec![vec![word]]))
    }

    /// Time before which no word that is still to come starts.
    pub fn reached(&self) -> Option<Duration> {
        let next = self
            .words
            .front()
            .map(|word| word.start)
            .or(self.intake.floor());
        next.max(self.shown_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, start: u64, end: u64) -> Word {
        let (start, end) = (Duration::from_millis(start), Duration::from_millis(end));
        Word {
            text: text.into(),
            spaced: true,
            start,
            end,
            probability: 1.0,
        }
    }

    fn times(items: &mut WordItems) -> Vec<(String, u64, u64)> {
        std::iter::from_fn(|| items.pop())
            .map(|cue| {
                (
                    cue.text(),
                    cue.start.as_millis() as u64,
                    cue.end.as_millis() as u64,
                )
            })
            .collect()
    }

    #[test]
    fn a_word_is_held_until_its_end_is_known() {
        let mut items = WordItems::default();
        items.push(&[word(" one ", 0, 500), word("two", 400, 900)]);
        assert_eq!(times(&mut items), [("one".into(), 0, 400)]);
        items.settled(Duration::from_millis(899));
        assert_eq!(items.pop(), None);
        assert_eq!(items.reached(), Some(Duration::from_millis(400)));
        items.settled(Duration::from_millis(900));
        assert_eq!(times(&mut items), [("two".into(), 400, 900)]);
        assert_eq!(items.reached(), Some(Duration::from_millis(900)));
    }

    #[test]
    fn words_on_one_instant_follow_each_other() {
        let mut items = WordItems::default();
        items.push(&[
            word("a", 100, 100),
            word(" ", 100, 100),
            word("b", 100, 100),
            word("c", 90, 100),
        ]);
        items.drain();
        assert_eq!(
            times(&mut items),
            [
                ("a".into(), 100, 120),
                ("b".into(), 120, 140),
                ("c".into(), 140, 160)
            ]
        );
    }
}
