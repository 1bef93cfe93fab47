// SPDX-License-Identifier: MPL-2.0
//! Makes recognised words fit for print: clean text, times that never go back.

use std::time::Duration;

use super::Word;
use super::width::{pieces, width};

/// The gate through which every word comes in.
#[derive(Debug, Default)]
pub struct WordSanitizer {
    /// Nothing that still comes in starts before.
    floor: Option<Duration>,
}

impl WordSanitizer {
    /// The word with its text cleaned and its times in order; `None` when there is nothing to see.
    pub fn admit(&mut self, word: &Word) -> Option<Word> {
        let text = clean(&word.text);
        if text.is_empty() {
            return None;
        }
        let start = self.floor.map_or(word.start, |floor| word.start.max(floor));
        self.floor = Some(start);
        let probability = if word.probability.is_nan() {
            0.0
        } else {
            word.probability.clamp(0.0, 1.0)
        };
        Some(Word {
            text,
            spaced: word.spaced,
            start,
            end: word.end.max(start),
            probability,
        })
    }

    /// No later word starts before `until`.
    pub fn settled(&mut self, until: Duration) {
        self.floor = self.floor.max(Some(until));
    }

    pub fn floor(&self) -> Option<Duration> {
        self.floor
    }
}

/// Without control characters; white space of any kind and length is one space, and what has no width
/// on its own (a zero-width space, a mark without its letter) is nothing.
pub fn clean(text: &str) -> String {
    let spaced: String = text
        .chars()
        .filter(|&c| c != '\u{feff}')
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let parts = spaced.split_whitespace().filter(|part| width(part) > 0);
    parts.collect::<Vec<_>>().join(" ")
}

/// Cuts a word that has spaces inside or is wider than `limit` into words that have none and are not.
/// Each gets the part of the time that its width is of the whole.
pub fn cut(word: Word, limit: u64) -> Vec<Word> {
    if !word.text.contains(' ') && width(&word.text) <= limit {
        return vec![word];
    }
    let whole = u128::from(width(&word.text).max(1));
    let duration = word.end.saturating_sub(word.start).as_nanos();
    let mut before = 0;
    let mut words = Vec::new();
    for part in word.text.split(' ') {
        for (nth, piece) in pieces(part, limit).into_iter().enumerate() {
            let at = |width: u64| {
                let share = duration * u128::from(width) / whole;
                let share = Duration::from_nanos(u64::try_from(share).unwrap_or(0));
                word.start.saturating_add(share).min(word.end)
            };
            let after = before + width(piece);
            words.push(Word {
                text: piece.to_owned(),
                spaced: if words.is_empty() {
                    word.spaced
                } else {
                    nth == 0
                },
                start: at(before),
                end: at(after),
                probability: word.probability,
            });
            before = after;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, start: u64, end: u64) -> Word {
        Word {
            text: text.into(),
            spaced: true,
            start: Duration::from_millis(start),
            end: Duration::from_millis(end),
            probability: 0.5,
        }
    }

    #[test]
    fn text_loses_control_characters_and_surplus_space() {
        assert_eq!(clean(" a\r\nb\u{2028}\u{0}c\u{7f} \u{200b} "), "a b c");
        assert!(
            WordSanitizer::default()
                .admit(&word("\n\u{200b}\t", 0, 1))
                .is_none()
        );
    }

    #[test]
    fn times_never_go_back() {
        let mut intake = WordSanitizer::default();
        let first = intake.admit(&word("a", 100, 50)).unwrap();
        assert_eq!(
            (first.start, first.end),
            (Duration::from_millis(100), Duration::from_millis(100))
        );
        let second = intake.admit(&word("b", 90, 95)).unwrap();
        assert_eq!(
            (second.start, second.end),
            (Duration::from_millis(100), Duration::from_millis(100))
        );
        intake.settled(Duration::from_millis(300));
        assert_eq!(
            intake.admit(&word("c", 200, 250)).unwrap().start,
            Duration::from_millis(300)
        );
    }

    #[test]
    fn a_probability_is_always_a_number_from_0_to_1() {
        for (given, admitted) in [
            (f32::NAN, 0.0),
            (f32::INFINITY, 1.0),
            (-1.0, 0.0),
            (0.25, 0.25),
        ] {
            let word = Word {
                probability: given,
                ..word("a", 0, 1)
            };
            assert_eq!(
                WordSanitizer::default().admit(&word).unwrap().probability,
                admitted
            );
        }
    }

    #[test]
    fn a_cut_word_shares_its_time_among_the_parts() {
        let parts = cut(word("aaaa bb", 0, 600), 4);
        let texts: Vec<_> = parts
            .iter()
            .map(|word| (word.text.as_str(), word.spaced))
            .collect();
        assert_eq!(texts, [("aa", true), ("aa", false), ("bb", true)]);
        assert_eq!(parts[0].start, Duration::ZERO);
        assert_eq!(parts[1].start, parts[0].end);
        assert!(parts[2].end <= Duration::from_millis(600));
        assert!(parts.iter().all(|part| part.end > part.start));
    }
}
