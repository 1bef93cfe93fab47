// SPDX-License-Identifier: MPL-2.0
//! Words to lines to cues to bytes in the negotiated subtitle format.
//!
//! Nothing here knows GStreamer or models. The way of a word: `sanitizer` makes
//! it fit for print, `layout` weighs where lines and cues may break (with `breaks` and `width`),
//! [`CueBuilder`] gives the cues their times, [`Writer`] puts them into bytes. [`RollUp`] shows words while
//! they are being said, and [`WordItems`] is the short way for those who want each word on its own.

mod breaks;
mod builder;
mod format;
mod items;
mod layout;
#[cfg(test)]
mod proptests;
mod rollup;
mod sanitizer;
mod width;

use std::time::Duration;

pub use builder::CueBuilder;
pub use format::{Format, Writer, words_as_json};
pub use items::WordItems;
pub use layout::Layout;
pub use rollup::RollUp;

/// A recognised word, timed on whatever timeline its owner counts: the samples of a file, or a stream's time stamps.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The word with its punctuation, without surrounding white space.
    pub text: String,
    /// Whether white space parts it from the word before (never in Chinese, Japanese, Thai…).
    pub spaced: bool,
    pub start: Duration,
    /// `end >= start`.
    pub end: Duration,
    /// Mean probability of the word's tokens, 0 to 1.
    pub probability: f32,
}

/// Text that is on the screen from `start` to `end`. `end > start`, no line is blank.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    pub start: Duration,
    pub end: Duration,
    /// Top line first.
    pub lines: Vec<Vec<Word>>,
    /// How many of the words, counted from the end, no cue has shown before.
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

    /// The words that no cue has shown before.
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

/// Words to whatever granularity the user asked for.
#[derive(Debug)]
pub enum Captioner {
    /// A cue is a subtitle of one or more lines.
    Cues(CueBuilder),
    /// A cue is what is on the screen, where words appear while they are being said.
    RollUp(RollUp),
    /// Each word is a cue of its own.
    Words(WordItems),
}

macro_rules! each {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self {
            Self::Cues($inner) => $call,
            Self::RollUp($inner) => $call,
            Self::Words($inner) => $call,
        }
    };
}

/// See [`CueBuilder`] for what each of these promises.
impl Captioner {
    pub fn cues(layout: Layout) -> Self {
        Self::Cues(CueBuilder::new(layout))
    }

    pub fn roll_up(layout: Layout) -> Self {
        Self::RollUp(RollUp::new(layout))
    }

    pub fn words() -> Self {
        Self::Words(WordItems::default())
    }

    pub fn push(&mut self, words: &[Word]) {
        each!(self, inner => inner.push(words));
    }

    pub fn pause(&mut self) {
        each!(self, inner => inner.pause());
    }

    pub fn settled(&mut self, until: Duration) {
        each!(self, inner => inner.settled(until));
    }

    /// All that was said so far is to come out, even if it would be held back otherwise. More may follow at any time,
    /// so text that rolls up, of which nothing is held back, is not given more time on the screen.
    pub fn release(&mut self) {
        match self {
            Self::Cues(cues) => cues.drain(),
            Self::RollUp(_) => {}
            Self::Words(words) => words.drain(),
        }
    }

    pub fn drain(&mut self) {
        each!(self, inner => inner.drain());
    }

    pub fn pop(&mut self) -> Option<Cue> {
        each!(self, inner => inner.pop())
    }

    pub fn reached(&self) -> Option<Duration> {
        each!(self, inner => inner.reached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cue_joins_words_with_spaces_only_where_they_belong() {
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
