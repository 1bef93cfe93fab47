// SPDX-License-Identifier: MPL-2.0
//! Live text: words appear one after the other, and lines roll up.
//!
//! What is on the screen follows the BBC's Subtitle Guidelines for live subtitles: word by word, left-justified, scrolling
//! up when a line is full, and a line that was once shown is never set anew. Where a line ends is decided before its
//! words come, so it is filled greedily; only its last letters give way to a better place to break (see [`super::breaks`]).

use std::collections::VecDeque;

use std::time::Duration;

use super::breaks;
use super::builder::{LINGER, READING_SPEED_CPS};
use super::layout::{LONGEST, Lines, SHORTEST, reading_time};
use super::sanitizer::{self, WordSanitizer};
use super::width::{LETTER, WIDE, width};
use super::{Cue, Layout, Word, join};

/// Words that start within so short a time appear together, and nothing is shown for less.
const STEP: Duration = Duration::from_millis(100);
/// Where the rest of a line is no longer than this, it may be left empty for a better break.
const RAGGED: u64 = 12 * LETTER;
/// Room that the next word will want, with its space.
const USUAL_WORD: u64 = 6 * LETTER;

/// Yields what is on the screen as consecutive [`Cue`]s, each of which lasts until the next.
///
/// Each word appears at its own start, at once when it comes in, behind the words before it; it never moves within its
/// line. The text stays while no word comes, as cues of the same text without new words that reach as far as
/// is settled, until it has been read: at 17 letters a second counted from when each word was shown, 5/6 s after the last
/// one appeared and half a second after it was said, never longer than 7 s. Then the screen is empty. The next utterance
/// begins with a line of its own, below the lines that are still there.
#[derive(Debug)]
pub struct RollUp {
    layout: Layout,
    sanitizer: WordSanitizer,
    /// Words that are not yet shown, and whether they begin a line in any case.
    waiting: VecDeque<(Word, bool)>,
    /// Whether the next word begins a line in any case.
    breaks_next: bool,
    /// What is on the screen.
    lines: Lines,
    /// End of the last cue that was given out.
    shown_until: Option<Duration>,
    /// When a reader has got to the end of the text.
    read: Duration,
    /// When the text leaves the screen.
    stays_until: Duration,
    drained: bool,
}

impl RollUp {
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            sanitizer: WordSanitizer::default(),
            waiting: VecDeque::new(),
            breaks_next: false,
            lines: Lines::new(),
            shown_until: None,
            read: Duration::ZERO,
            stays_until: Duration::ZERO,
            drained: false,
        }
    }

    /// Adds words that will not change any more.
    pub fn push(&mut self, words: &[Word]) {
        for word in words {
            let Some(word) = self.sanitizer.admit(word) else {
                continue;
            };
            for word in sanitizer::cut(word, self.layout.line()) {
                // The last part of a cut word may start after the next word.
                self.sanitizer.settled(word.start);
                let breaks = std::mem::take(&mut self.breaks_next);
                self.waiting.push_back((word, breaks));
            }
            self.drained = false;
        }
    }

    /// The utterance ended: the next begins with a line of its own.
    pub fn pause(&mut self) {
        self.breaks_next = true;
    }

    /// No later word starts before `until`.
    pub fn settled(&mut self, until: Duration) {
        self.sanitizer.settled(until);
    }

    /// No more words: the text stays until it has been read.
    pub fn drain(&mut self) {
        self.pause();
        self.drained = true;
    }

    /// What is on the screen next, if that is known.
    pub fn pop(&mut self) -> Option<Cue> {
        let next = self.waiting.front().map(|(word, _)| word.start);
        let until = match next {
            Some(start) => start,
            None if self.drained => Duration::MAX,
            None => self.sanitizer.floor()?,
        };
        if let Some(cue) = self.hold(until) {
            return Some(cue);
        }
        next.map(|start| self.show(start.max(self.shown_until.unwrap_or(start))))
    }

    /// Time before which no cue that is still to come starts.
    pub fn reached(&self) -> Option<Duration> {
        if self.is_holding() {
            return self.shown_until;
        }
        let next = self.waiting.front().map(|(word, _)| word.start);
        next.or(self.sanitizer.floor()).max(self.shown_until)
    }

    fn is_holding(&self) -> bool {
        self.shown_until
            .is_some_and(|shown| shown < self.stays_until)
    }

    /// The text goes on unchanged until `until`, or until it has been read.
    fn hold(&mut self, until: Duration) -> Option<Cue> {
        let start = self.shown_until.filter(|_| self.is_holding())?;
        let end = until.min(self.stays_until);
        if end <= start {
            return None;
        }
        self.shown_until = Some(end);
        Some(Cue {
            start,
            end,
            lines: self.lines.clone(),
            new_words: 0,
        })
    }

    /// The next word appears at `start`, with those that follow it too closely to be told apart.
    fn show(&mut self, start: Duration) -> Cue {
        if start > self.stays_until {
            self.lines.clear();
        }
        let earliest_end = start.saturating_add(STEP);
        let mut new_words = 0;
        while let Some((word, breaks)) = self.waiting.pop_front() {
            let begins_line = breaks || !self.takes(&word);
            // No more than one line rolls up at a time, or one could pass by unseen.
            if new_words > 0 && (begins_line || word.start >= earliest_end) {
                self.waiting.push_front((word, breaks));
                break;
            }
            self.read = self
                .read
                .max(start)
                .saturating_add(reading_time(width(&word.text) + LETTER, READING_SPEED_CPS));
            let lingers = word.end.saturating_add(LINGER);
            self.stays_until = lingers
                .max(self.read)
                .max(start.saturating_add(SHORTEST))
                .min(start.saturating_add(LONGEST));
            self.place(word, begins_line);
            new_words += 1;
        }
        let next = self.waiting.front().map(|(word, _)| word.start);
        let known = next.or(self.sanitizer.floor()).unwrap_or(start);
        let end = known.max(earliest_end).min(self.stays_until);
        self.shown_until = Some(end);
        Cue {
            start,
            end,
            lines: self.lines.clone(),
            new_words,
        }
    }

    /// Whether the word goes onto the bottom line.
    fn takes(&self, word: &Word) -> bool {
        let Some((bottom, last)) = self
            .lines
            .last()
            .and_then(|line| Some((line, line.last()?)))
        else {
            return false;
        };
        let limit = self.layout.line();
        let text = join(bottom);
        let filled = width(&text);
        let needed = width(&(text + if word.spaced { " " } else { "" } + &word.text));
        if needed > limit {
            return false;
        }
        let before = breaks::cost(last, word);
        if filled + RAGGED < limit || before > breaks::INSIDE_PAIR {
            return true;
        }
        let is_last = needed + USUAL_WORD > limit;
        let bad_end = is_last && breaks::leads_on(&word.text) && before < breaks::INSIDE_PAIR;
        // Where no space parts words, a mark may follow that must not begin a line.
        let fits_mark = word.spaced || needed + WIDE <= limit;
        before >= 0.0 && !bad_end && fits_mark
    }

    fn place(&mut self, word: Word, begins_line: bool) {
        match self.lines.last_mut() {
            Some(bottom) if !begins_line => bottom.push(word),
            _ => self.lines.push(vec![word]),
        }
        let surplus = self.lines.len().saturating_sub(self.layout.lines());
        self.lines.drain(..surplus);
    }
}

#[cfg(test)]
mod tests;
