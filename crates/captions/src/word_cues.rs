// SPDX-License-Identifier: MPL-2.0
//! Each word as its own cue.

use std::collections::VecDeque;
use std::time::Duration;

use crate::layout::MAX_DURATION;
use crate::sanitizer::WordSanitizer;
use crate::{Cue, Word};

/// What a word lasts at least, also where several start at one instant: Whisper's resolution of
/// time.
const MIN_WORD: Duration = Duration::from_millis(20);

/// Implements [`Captioner::words`](crate::Captioner::words).
#[derive(Debug, Default)]
pub struct WordCues {
    sanitizer: WordSanitizer,
    words: VecDeque<Word>,
    /// End of the last word that was given out.
    shown_until: Option<Duration>,
    finished: bool,
}

impl WordCues {
    pub fn push(&mut self, words: &[Word]) {
        for word in words {
            let Some(word) = self.sanitizer.admit(word) else {
                continue;
            };
            self.words.push_back(word);
            self.finished = false;
        }
    }

    /// Single words do not depend on utterances.
    pub fn end_utterance(&mut self) {}

    pub fn advance_watermark(&mut self, until: Duration) {
        self.sanitizer.advance_watermark(until);
    }

    pub fn finish(&mut self) {
        self.finished = true;
    }

    pub fn pop(&mut self) -> Option<Cue> {
        let word = self.words.front()?;
        let start = self
            .shown_until
            .map_or(word.start, |shown| word.start.max(shown));
        let shortest = start.saturating_add(MIN_WORD);
        let wish = word
            .end
            .max(shortest)
            .min(start.saturating_add(MAX_DURATION));
        let end = match self.words.get(1) {
            Some(next) => wish.min(next.start.max(shortest)),
            None if self.finished || self.sanitizer.watermark() >= Some(wish) => wish,
            None => return None,
        };
        self.shown_until = Some(end);
        let word = self.words.pop_front()?;
        Some(Cue::all_new(start, end, vec![vec![word]]))
    }

    pub fn watermark(&self) -> Option<Duration> {
        let next = self.words.front().map(|word| word.start);
        next.or(self.sanitizer.watermark()).max(self.shown_until)
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

    fn times(words: &mut WordCues) -> Vec<(String, u64, u64)> {
        std::iter::from_fn(|| words.pop())
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
    fn word_is_held_until_its_end_is_known() {
        let mut words = WordCues::default();
        words.push(&[word(" one ", 0, 500), word("two", 400, 900)]);
        assert_eq!(times(&mut words), [("one".into(), 0, 400)]);
        words.advance_watermark(Duration::from_millis(899));
        assert_eq!(words.pop(), None);
        assert_eq!(words.watermark(), Some(Duration::from_millis(400)));
        words.advance_watermark(Duration::from_millis(900));
        assert_eq!(times(&mut words), [("two".into(), 400, 900)]);
        assert_eq!(words.watermark(), Some(Duration::from_millis(900)));
    }

    #[test]
    fn words_on_one_instant_follow_each_other() {
        let mut words = WordCues::default();
        words.push(&[
            word("a", 100, 100),
            word(" ", 100, 100),
            word("b", 100, 100),
            word("c", 90, 100),
        ]);
        words.finish();
        assert_eq!(
            times(&mut words),
            [
                ("a".into(), 100, 120),
                ("b".into(), 120, 140),
                ("c".into(), 140, 160)
            ]
        );
    }
}
