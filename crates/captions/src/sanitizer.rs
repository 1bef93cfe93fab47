// SPDX-License-Identifier: MPL-2.0
//! Recognised words made printable: clean text, and times that never go back.

use std::time::Duration;

use crate::Word;
use crate::width::{HalfLetters, pieces, width};

/// Cleans each word on its way into a captioner.
#[derive(Debug, Default)]
pub struct WordSanitizer {
    /// No word that is still to come starts before this.
    watermark: Option<Duration>,
}

impl WordSanitizer {
    /// The word with its text cleaned and its times in order; `None` when it shows nothing.
    pub fn admit(&mut self, word: &Word) -> Option<Word> {
        let text = clean(&word.text);
        if text.is_empty() {
            return None;
        }
        let start = self
            .watermark
            .map_or(word.start, |watermark| word.start.max(watermark));
        self.watermark = Some(start);
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
    pub fn advance_watermark(&mut self, until: Duration) {
        self.watermark = self.watermark.max(Some(until));
    }

    /// Time before which no later word starts; `None` before the first word.
    pub fn watermark(&self) -> Option<Duration> {
        self.watermark
    }
}

/// `text` without control characters and surrounding white space.
///
/// Among these are the controls of direction, which would turn what follows the cue, and spaces
/// without width, which hide in a text (Unicode Standard Annex 9, and Technical Report 36).
/// Other white space of any kind and length becomes one space. A part without width, such as a
/// zero-width space or a mark without its letter, is left out.
pub fn clean(text: &str) -> String {
    let spaced: String = text
        .chars()
        .filter(|&c| !is_hidden(c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let parts = spaced.split_whitespace().filter(|part| width(part) > 0);
    parts.collect::<Vec<_>>().join(" ")
}

/// Whether a character is an embedding, override or isolate of direction, or a space or joiner
/// without width. The joiners of emoji and of Persian (U+200C, U+200D) are not.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{2060}' | '\u{feff}')
}

/// Cuts a word at its inner spaces, and into pieces of at most `limit`.
///
/// Each piece gets a share of the word's time in proportion to its width.
pub fn cut(word: Word, limit: HalfLetters) -> Vec<Word> {
    if !word.text.contains(' ') && width(&word.text) <= limit {
        return vec![word];
    }
    let whole = u128::from(width(&word.text).max(1));
    let duration = word.end.saturating_sub(word.start).as_nanos();
    let mut before = 0;
    let mut words = Vec::new();
    for part in word.text.split(' ') {
        for (nth, piece) in pieces(part, limit).into_iter().enumerate() {
            let at = |width: HalfLetters| {
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
    fn text_loses_control_characters_and_extra_space() {
        assert_eq!(clean(" a\r\nb\u{2028}\u{0}c\u{7f} \u{200b} "), "a b c");
        assert!(
            WordSanitizer::default()
                .admit(&word("\n\u{200b}\t", 0, 1))
                .is_none()
        );
    }

    #[test]
    fn text_turns_and_hides_nothing_around_it() {
        let turned = "a\u{202e}b\u{2066}c\u{2069} \u{200b}d\u{2060}e\u{feff}";
        assert_eq!(clean(turned), "abc de");
        let joined = "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}";
        assert_eq!(clean(joined), joined);
    }

    #[test]
    fn times_never_go_back() {
        let mut sanitizer = WordSanitizer::default();
        let first = sanitizer.admit(&word("a", 100, 50)).unwrap();
        assert_eq!(
            (first.start, first.end),
            (Duration::from_millis(100), Duration::from_millis(100))
        );
        let second = sanitizer.admit(&word("b", 90, 95)).unwrap();
        assert_eq!(
            (second.start, second.end),
            (Duration::from_millis(100), Duration::from_millis(100))
        );
        sanitizer.advance_watermark(Duration::from_millis(300));
        assert_eq!(
            sanitizer.admit(&word("c", 200, 250)).unwrap().start,
            Duration::from_millis(300)
        );
    }

    #[test]
    fn probability_is_a_number_from_0_to_1() {
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
    fn cut_shares_the_time_among_the_pieces() {
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
