// SPDX-License-Identifier: MPL-2.0
//! Live text: words appear one after the other, and lines roll up.
//!
//! The screen follows the BBC's "Subtitle Guidelines" for live subtitles: word by word,
//! left-aligned, scrolling up when a line is full. A line that was shown is never laid out again.
//! As a line ends before its next words are known, it is filled greedily; only its last letters
//! give way to a better place to break, as [`crate::breaks`] judges it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::breaks;
use crate::layout::{LIVE_LINGER, Lines, MAX_DURATION, READING_SPEED_CPS, reading_time};
use crate::sanitizer::{self, WordSanitizer};
use crate::width::{HalfLetters, LETTER, WIDE, width};
use crate::{Cue, Layout, Word, join};

/// Words that start within this time appear together, and no screen is shown for less.
const MIN_SCREEN: Duration = Duration::from_millis(100);
/// While nothing is said, the screen is repeated in parts of at least this length: each is a cue,
/// and a buffer.
const MIN_HOLD: Duration = Duration::from_millis(500);
/// Where the rest of a line is no longer than this, it may be left empty for a better break.
const RAGGED: HalfLetters = 12 * LETTER;
/// Width that the next word is expected to need, with its space.
const USUAL_WORD: HalfLetters = 6 * LETTER;
/// Width that a word of Chinese or Japanese is expected to need.
const USUAL_WIDE_WORD: HalfLetters = 2 * WIDE;
/// Words behind the next one that are looked at to tell where its phrase ends.
const LOOK_AHEAD: usize = 8;

/// Words of Chinese or Japanese that should stay on one line.
#[derive(Clone, Copy)]
struct Phrase {
    /// Cost of a break before it.
    cost_before: f32,
    width: HalfLetters,
}

/// Implements [`Captioner::roll_up`](crate::Captioner::roll_up).
///
/// Each word appears at its own start, or at once if it comes in later than that. All lines stay
/// for [`LIVE_LINGER`] after the last word was said and appeared, or until they have been read (at
/// [`READING_SPEED_CPS`], counted from when each word appeared), for [`MAX_DURATION`] at most. A
/// next utterance within that time begins its own line below them.
#[derive(Debug)]
pub struct RollUp {
    layout: Layout,
    sanitizer: WordSanitizer,
    /// Words that are not yet shown, each with whether it begins a line in any case.
    waiting: VecDeque<(Word, bool)>,
    /// Whether the next word begins a line in any case.
    breaks_next: bool,
    /// The text on the screen.
    lines: Lines,
    /// End of the last cue that was given out.
    shown_until: Option<Duration>,
    /// When a reader reaches the end of the text.
    read: Duration,
    /// When the text leaves the screen.
    stays_until: Duration,
    finished: bool,
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
            finished: false,
        }
    }

    pub fn push(&mut self, words: &[Word]) {
        for word in words {
            let Some(word) = self.sanitizer.admit(word) else {
                continue;
            };
            for word in sanitizer::cut(word, self.layout.line()) {
                // The last part of a cut word may start after the next word.
                self.sanitizer.advance_watermark(word.start);
                let breaks = std::mem::take(&mut self.breaks_next);
                self.waiting.push_back((word, breaks));
            }
            self.finished = false;
        }
    }

    pub fn end_utterance(&mut self) {
        self.breaks_next = true;
    }

    pub fn advance_watermark(&mut self, until: Duration) {
        self.sanitizer.advance_watermark(until);
    }

    pub fn finish(&mut self) {
        self.end_utterance();
        self.finished = true;
    }

    pub fn pop(&mut self) -> Option<Cue> {
        let next = self.waiting.front().map(|(word, _)| word.start);
        let (until, shortest) = match next {
            Some(start) => (start, Duration::ZERO),
            None if self.finished => (Duration::MAX, Duration::ZERO),
            None => (self.sanitizer.watermark()?, MIN_HOLD),
        };
        if let Some(cue) = self.hold(until, shortest) {
            return Some(cue);
        }
        next.map(|start| self.show(start.max(self.shown_until.unwrap_or(start))))
    }

    pub fn watermark(&self) -> Option<Duration> {
        if self.is_holding() {
            return self.shown_until;
        }
        let next = self.waiting.front().map(|(word, _)| word.start);
        next.or(self.sanitizer.watermark()).max(self.shown_until)
    }

    /// Whether the text of the last cue is to stay for longer.
    fn is_holding(&self) -> bool {
        self.shown_until
            .is_some_and(|shown| shown < self.stays_until)
    }

    /// The same text for longer: until `until`, or until it leaves the screen. Waits for more than
    /// is `shortest`, unless that is the end.
    fn hold(&mut self, until: Duration, shortest: Duration) -> Option<Cue> {
        let start = self.shown_until.filter(|_| self.is_holding())?;
        let end = until.min(self.stays_until);
        let is_short = end < self.stays_until && end - start.min(end) < shortest;
        if end <= start || is_short {
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

    /// The screen after the next word appeared at `start`, with those that follow at once.
    fn show(&mut self, start: Duration) -> Cue {
        if start > self.stays_until {
            self.lines.clear();
        }
        let earliest_end = start.saturating_add(MIN_SCREEN);
        let mut new_words = 0;
        while let Some((word, breaks)) = self.waiting.pop_front() {
            let begins_line = breaks || !self.takes(&word);
            // Lines roll up one at a time, so that each is seen.
            if new_words > 0 && (begins_line || word.start >= earliest_end) {
                self.waiting.push_front((word, breaks));
                break;
            }
            self.read = self
                .read
                .max(start)
                .saturating_add(reading_time(width(&word.text) + LETTER, READING_SPEED_CPS));
            let lingers = word.end.max(start).saturating_add(LIVE_LINGER);
            self.stays_until = lingers
                .max(self.read)
                .min(start.saturating_add(MAX_DURATION));
            self.place(word, begins_line);
            new_words += 1;
        }
        let next = self.waiting.front().map(|(word, _)| word.start);
        let known = next.or(self.sanitizer.watermark()).unwrap_or(start);
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
        let phrase = breaks::runs_on(last, word).then(|| self.phrase(bottom, word));
        let before = phrase.map_or_else(|| breaks::cost(last, word), |phrase| phrase.cost_before);
        if before > breaks::INSIDE_PAIR {
            return true;
        }
        // Where no space parts words, a mark may follow that must not begin a line.
        if phrase.is_some_and(|phrase| filled + phrase.width + WIDE > limit) {
            return false;
        }
        if filled + RAGGED < limit {
            return true;
        }
        let is_last = needed + USUAL_WORD > limit;
        let bad_end = is_last && breaks::leads_on(&word.text) && before < breaks::INSIDE_PAIR;
        let fits_mark = word.spaced || needed + WIDE <= limit;
        before >= 0.0 && !bad_end && fits_mark
    }

    /// The phrase that begins with `word`, which runs on from the bottom line, as far as its words
    /// are known.
    fn phrase(&self, bottom: &[Word], word: &Word) -> Phrase {
        let on_line = bottom.windows(2).rev();
        let on_line = on_line
            .take_while(|pair| breaks::runs_on(&pair[0], &pair[1]))
            .count();
        let mut run: Vec<_> = bottom[bottom.len() - 1 - on_line..].iter().collect();
        let at = run.len();
        run.push(word);
        let mut is_open = true;
        for (next, begins_line) in &self.waiting {
            is_open = !begins_line && breaks::runs_on(run[run.len() - 1], next);
            if !is_open || run.len() > at + LOOK_AHEAD {
                break;
            }
            run.push(next);
        }
        let costs = breaks::costs_in_run(&run);
        let end_before = |cost: f32| {
            let end = (at + 1..run.len()).find(|&place| costs[place] < cost);
            let words = &run[at..end.unwrap_or(run.len())];
            let width: HalfLetters = words.iter().map(|word| width(&word.text)).sum();
            match end {
                None if is_open => width.max(USUAL_WIDE_WORD),
                _ => width,
            }
        };
        // Particles go with their word, unless the two are long.
        let with_particles = end_before(breaks::INSIDE_PAIR);
        Phrase {
            cost_before: costs[at],
            width: if with_particles <= RAGGED {
                with_particles
            } else {
                end_before(breaks::INSIDE_WORD)
            },
        }
    }

    /// Adds the word to the screen. The top line goes when there are too many.
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
