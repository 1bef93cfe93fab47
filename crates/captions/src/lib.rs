// SPDX-License-Identifier: MPL-2.0
//! Timed words to subtitles: cues, lines, and the bytes of SubRip, WebVTT, ASS, Pango markup or JSON.
//!
//! | step | type | what it does |
//! |---|---|---|
//! | 1 | [`Word`] | comes from a speech recogniser, with its start and end |
//! | 2 | [`Captioner`] | cleans words, breaks lines, and yields [`Cue`]s that never overlap |
//! | 3 | [`Writer`], [`FileWriter`] | puts cues into a [`Format`], or into a file of a [`FileFormat`] |
//!
//! The crate knows no recogniser and no media framework. All times are [`Duration`]s on the
//! timeline of the words.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use captions::{Captioner, Format, Layout, Word, Writer};
//!
//! let word = |text: &str, start_ms, end_ms| Word {
//!     text: text.into(),
//!     spaced: true,
//!     start: Duration::from_millis(start_ms),
//!     end: Duration::from_millis(end_ms),
//!     probability: 1.0,
//! };
//! let mut captioner = Captioner::cues(Layout::default());
//! captioner.push(&[word("Ask", 500, 800), word("not", 800, 1200)]);
//! captioner.push(&[word("<anything>.", 1200, 2000)]);
//! captioner.finish();
//!
//! let mut subrip = Writer::new(Format::SubRip);
//! let mut webvtt = Writer::new(Format::WebVtt);
//! while let Some(cue) = captioner.pop() {
//!     let expected = "1\n00:00:00,500 --> 00:00:02,500\nAsk not <anything>.\n\n";
//!     assert_eq!(subrip.write(&cue), expected);
//!     let expected =
//!         "WEBVTT\n\n00:00:00.500 --> 00:00:02.500\nAsk not &lt;anything&gt;.\n\n";
//!     assert_eq!(webvtt.write(&cue), expected);
//! }
//! ```
//!
//! # Live
//!
//! Words may arrive one update after the other. [`Captioner::advance_watermark`] tells how far the
//! recogniser has got, [`Captioner::pop`] yields each cue once nothing can change it any more, and
//! [`Captioner::watermark`] tells how far the cues have got: time without a cue before it stays
//! without one. [`Captioner::roll_up`] shows each word as soon as it comes.
//!
//! # Rules
//!
//! Times and line breaks follow the guides of subtitlers: Netflix's "Timed Text Style Guide"
//! (General Requirements, and English) and the BBC's "Subtitle Guidelines". Each constant names its
//! source.

#![forbid(unsafe_code)]

mod breaks;
mod captioner;
mod cue_builder;
mod dictionary;
mod format;
mod layout;
mod paragraph;
#[cfg(test)]
mod proptests;
mod roll_up;
mod sanitizer;
#[cfg(test)]
mod unspaced;
mod width;
mod word_cues;

use std::time::Duration;

pub use captioner::Captioner;
pub use format::{FileFormat, FileWriter, Format, Writer, cue_from_json, words_as_json};
pub use layout::Layout;

/// A recognised word with its place in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The word with its punctuation, without surrounding white space.
    pub text: String,
    /// Whether white space parts it from the word before (never in Chinese, Japanese, Thai…).
    pub spaced: bool,
    /// When the word begins, on whatever timeline its owner counts: the samples of a file, or a
    /// stream's timestamps.
    pub start: Duration,
    /// When the word ends: `end >= start`.
    pub end: Duration,
    /// Mean probability of the word's tokens, 0 to 1.
    pub probability: f32,
}

/// A subtitle: text that is on the screen from `start` to `end`.
///
/// The cues of a [`Captioner`] have `end > start` and no blank line.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    /// When the text appears.
    pub start: Duration,
    /// When the text goes.
    pub end: Duration,
    /// The words of each line, top line first.
    pub lines: Vec<Vec<Word>>,
    /// How many of the words, counted from the end, no earlier cue has shown.
    pub new_words: usize,
}

impl Cue {
    /// A cue that is the first to show any of its words.
    pub fn all_new(start: Duration, end: Duration, lines: Vec<Vec<Word>>) -> Self {
        let new_words = lines.iter().map(Vec::len).sum();
        Self {
            start,
            end,
            lines,
            new_words,
        }
    }

    /// The words that no earlier cue has shown.
    pub fn new_words(&self) -> impl Iterator<Item = &Word> {
        let words: usize = self.lines.iter().map(Vec::len).sum();
        let old = words.saturating_sub(self.new_words);
        self.lines.iter().flatten().skip(old)
    }

    /// The lines joined by `\n`, their words by a space where one belongs.
    pub fn text(&self) -> String {
        self.lines
            .iter()
            .map(|line| join(line))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// How long the text is on the screen.
    pub fn duration(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

/// One line of words as text.
fn join(line: &[Word]) -> String {
    let mut text = String::new();
    for word in line {
        if word.spaced && !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&word.text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cue_joins_words_with_spaces_where_they_belong() {
        let word = |text: &str, spaced| Word {
            text: text.into(),
            spaced,
            start: Duration::ZERO,
            end: Duration::from_secs(1),
            probability: 1.0,
        };
        let lines = vec![
            vec![word("Hello", true), word("world", true), word("!", false)],
            vec![word("今日", true), word("は", false)],
        ];
        let mut cue = Cue::all_new(Duration::ZERO, Duration::from_secs(1), lines);
        assert_eq!(cue.text(), "Hello world!\n今日は");
        assert_eq!(cue.duration(), Duration::from_secs(1));
        assert_eq!(cue.new_words().count(), 5);
        cue.new_words = 2;
        let new: Vec<_> = cue.new_words().map(|word| word.text.as_str()).collect();
        assert_eq!(new, ["今日", "は"]);
    }
}
