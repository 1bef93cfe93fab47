// SPDX-License-Identifier: MPL-2.0
//! Where lines and cues break: the cheapest path through the words since the last cue.
//!
//! A paragraph is a row of words without a pause or the end of a long sentence. Each place between
//! two words is a possible end of a cue. [`Paragraph`] keeps for each place the cheapest layout of
//! all words before it: dynamic programming, as in Knuth and Plass, "Breaking Paragraphs into
//! Lines" (1981). As words come in, the paths to all open ends soon share their first cue, and that
//! cue is given out. So the result does not depend on how the words were cut into updates.
//!
//! The costs are this project's own. [`crate::breaks`] judges the places.

use std::time::Duration;

use crate::Word;
use crate::breaks;
use crate::layout::{
    Layout, Lines, MAX_DURATION, MAX_READING_SPEED_CPS, MIN_DURATION, reading_time,
};
use crate::width::{HalfLetters, LETTER, width};

mod line_breaks;

use line_breaks::LineBreaks;

/// Silence between two words that always parts their cues.
///
/// A cue lingers for half a second after its last word, and gaps below half a second are closed. So
/// this is the shortest pause that can be seen as a gap.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Cost of a cue that is read faster than [`MAX_READING_SPEED_CPS`].
const TOO_FAST: f32 = 2.0;
/// Cost of a cue that is shown for less than [`MIN_DURATION`].
const TOO_SHORT: f32 = 5.0;
/// Cost of each letter that a line is off the mean of its cue's lines.
const UNBALANCED: f32 = 1.0 / 20.0;
/// Cost of a line that is longer than the lines below.
const TOP_HEAVY: f32 = 0.5;
/// Cost of each cue, so that none breaks without a reason.
const CUE: f32 = 1.0;
/// Cost of an almost empty cue; falls with the square of what is filled, which evens out
/// neighbours.
const EMPTY: f32 = 4.0;
/// Cost of each second of silence at a cue's end. A second is as good as a sentence end.
const SILENCE: f32 = -4.0;

/// Words of Chinese or Japanese, up to the newest, that a dictionary looks at together.
const RUN: usize = 32;
/// How many of them it may judge otherwise than before.
const REVIEWED: usize = 8;

/// A word and its place on a line without end.
#[derive(Debug)]
struct Placed {
    word: Word,
    from: HalfLetters,
    to: HalfLetters,
    /// Cost of a break before the word.
    break_cost: f32,
}

/// The cheapest layout of all words before a place.
#[derive(Clone, Copy, Debug)]
struct BreakPath {
    cost: f32,
    /// Index of the word that begins the last part, a cue or a line.
    from: usize,
}

/// Words that are not yet in a cue, none wider than a line.
#[derive(Debug)]
pub struct Paragraph {
    layout: Layout,
    words: Vec<Placed>,
    /// `paths[n]` leads to the cue break before word `n`.
    paths: Vec<BreakPath>,
}

impl Paragraph {
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            words: Vec::new(),
            paths: Vec::new(),
        }
    }

    pub fn first(&self) -> Option<&Word> {
        self.words.first().map(|placed| &placed.word)
    }

    /// Whether the paragraph should end before `next`: silence parts them, or the last word ends a
    /// sentence and there is enough for a cue (half a line, and not too short in time).
    pub fn ends_before(&self, next: &Word) -> bool {
        let (Some(first), Some(last)) = (self.words.first(), self.words.last()) else {
            return false;
        };
        let sentence =
            breaks::ends_sentence(&last.word.text) && !breaks::begins_with_closing(&next.text);
        let long = last.to - first.from >= self.layout.line() / 2;
        let lasting = next.start.saturating_sub(first.word.start) >= MIN_DURATION;
        self.ends_in_silence(next.start) || (sentence && long && lasting)
    }

    /// Whether silence from the last word to `until` makes a pause.
    pub fn ends_in_silence(&self, until: Duration) -> bool {
        self.words
            .last()
            .is_some_and(|last| until >= last.word.end.saturating_add(PAUSE))
    }

    /// Adds a word that starts no earlier than the last one.
    pub fn push(&mut self, word: Word) {
        let (mut from, mut break_cost) = (0, 0.0);
        if let Some(last) = self.words.last_mut() {
            last.word.end = last.word.end.min(word.start);
            from = last.to + if word.spaced { LETTER } else { 0 };
            break_cost = breaks::cost(&last.word, &word);
        }
        let to = from + width(&word.text);
        self.words.push(Placed {
            word,
            from,
            to,
            break_cost,
        });
        let changed = self.review_breaks();
        self.paths.truncate(changed);
        for place in changed..self.words.len() {
            let path = self.path_to(place, Some(self.words[place].word.start));
            self.paths.push(path);
        }
    }

    /// Judges the places between the last words by a dictionary, where the script needs one. Gives
    /// the first word before which a break costs something else now, or the newest.
    fn review_breaks(&mut self) -> usize {
        let end = self.words.len();
        let runs_on =
            |&place: &usize| breaks::runs_on(&self.words[place - 1].word, &self.words[place].word);
        let places = (1..end).rev().take(RUN - 1).take_while(runs_on);
        let first = places.last().map_or(end, |place| place - 1);
        let run: Vec<_> = self.words[first..]
            .iter()
            .map(|placed| &placed.word)
            .collect();
        let costs = breaks::costs_in_run(&run);
        let mut changed = end - 1;
        for place in (first + 1..end).rev().take(REVIEWED) {
            let cost = costs[place - first];
            if std::mem::replace(&mut self.words[place].break_cost, cost) != cost {
                changed = place;
            }
        }
        changed
    }

    /// The first cue, if all paths that stay open begin with it, or if too many words wait.
    pub fn take_decided(&mut self) -> Option<Lines> {
        let count = self.words.len();
        // The cue that will hold the newest word begins at one of these.
        let open = (0..count)
            .rev()
            .take_while(|&first| self.line_count(first, count).is_some());
        let end = if self.is_overfull() {
            let cheapest =
                open.min_by(|&a, &b| self.paths[a].cost.total_cmp(&self.paths[b].cost))?;
            self.first_cue(cheapest)
        } else {
            let mut ends = open.map(|first| self.first_cue(first));
            let end = ends.next()?;
            if ends.all(|other| other == end) {
                end
            } else {
                0
            }
        };
        (end > 0).then(|| self.take(end))
    }

    /// Ends the paragraph, and gives out its cues. The next paragraph begins at `next` or later.
    pub fn close(&mut self, next: Option<Duration>) -> Vec<Lines> {
        if self.words.is_empty() {
            return Vec::new();
        }
        let path = self.path_to(self.words.len(), next);
        self.paths.push(path);
        let mut ends = Vec::new();
        let mut place = self.words.len();
        while place > 0 {
            ends.push(place);
            place = self.paths[place].from;
        }
        let mut cues = Vec::with_capacity(ends.len());
        let mut first = 0;
        for &end in ends.iter().rev() {
            cues.push(self.set(first, end));
            first = end;
        }
        self.words.clear();
        self.paths.clear();
        cues
    }

    /// More than two cues' worth of words bring no better insight.
    fn is_overfull(&self) -> bool {
        let (Some(first), Some(last)) = (self.words.first(), self.words.last()) else {
            return false;
        };
        let span = last.word.start.saturating_sub(first.word.start);
        last.to - first.from > 2 * self.layout.capacity() || span > 2 * MAX_DURATION
    }

    /// Where the first cue on the path to `place` ends; 0 when the path holds no cue.
    fn first_cue(&self, mut place: usize) -> usize {
        while place > 0 && self.paths[place].from > 0 {
            place = self.paths[place].from;
        }
        place
    }

    /// Gives out the words before `end` as one cue, and lays out the rest from there.
    fn take(&mut self, end: usize) -> Lines {
        let lines = self.set(0, end);
        self.words.drain(..end);
        self.paths.clear();
        for place in 0..self.words.len() {
            let path = self.path_to(place, Some(self.words[place].word.start));
            self.paths.push(path);
        }
        lines
    }

    /// The cheapest path to a cue break at `end`. The next cue begins at `next` or later.
    fn path_to(&self, end: usize, next: Option<Duration>) -> BreakPath {
        if end == 0 {
            return BreakPath { cost: 0.0, from: 0 };
        }
        let mut best = BreakPath {
            cost: f32::INFINITY,
            from: end - 1,
        };
        for first in (0..end).rev() {
            let Some(count) = self.line_count(first, end) else {
                break;
            };
            let cost = self.paths[first].cost + self.cue_cost(first, end, count, next);
            if cost < best.cost {
                best = BreakPath { cost, from: first };
            }
        }
        best
    }

    /// Fewest lines that hold the words from `first` to `end`; `None` when they are too many for a
    /// cue, as they then are with any more words in front.
    fn line_count(&self, first: usize, end: usize) -> Option<usize> {
        let words = &self.words[first..end];
        let span = words.last()?.word.end.saturating_sub(words[0].word.start);
        if words.len() > 1 && span > MAX_DURATION {
            return None;
        }
        let (mut lines, mut from) = (1, words[0].from);
        for placed in words {
            if placed.to - from > self.layout.line() {
                (lines, from) = (lines + 1, placed.from);
            }
            if lines > self.layout.lines() {
                return None;
            }
        }
        Some(lines)
    }

    /// Cost of a cue of the words from `first` to `end` in `lines` lines.
    fn cue_cost(&self, first: usize, end: usize, lines: usize, next: Option<Duration>) -> f32 {
        let (begin, last) = (&self.words[first], &self.words[end - 1]);
        let width = last.to - begin.from;
        let unfilled = 1.0 - (width as f32 / self.layout.capacity() as f32).min(1.0);
        let mut cost = CUE + EMPTY * unfilled * unfilled + self.line_breaks(first, end, lines).cost;
        if let Some(next) = next {
            let room = next.saturating_sub(begin.word.start);
            if room < MIN_DURATION {
                cost += TOO_SHORT;
            }
            if room < reading_time(width, MAX_READING_SPEED_CPS) {
                cost += TOO_FAST;
            }
            let silence = next
                .saturating_sub(last.word.end)
                .min(Duration::from_secs(1));
            cost += SILENCE * silence.as_millis() as f32 / 1000.0;
            cost += self.words.get(end).map_or(0.0, |next| next.break_cost);
        }
        cost
    }

    fn line_breaks(&self, first: usize, end: usize, count: usize) -> LineBreaks {
        let mut breaks = line_breaks::cheapest(&self.words[first..end], count, self.layout.line());
        breaks.begins.iter_mut().for_each(|begin| *begin += first);
        breaks
    }

    /// The words from `first` to `end` as a cue.
    fn set(&self, first: usize, end: usize) -> Lines {
        let count = self.line_count(first, end).unwrap_or(1);
        let mut edges = vec![first];
        edges.extend(self.line_breaks(first, end, count).begins);
        edges.push(end);
        let line = |from: usize, to: usize| {
            self.words[from..to]
                .iter()
                .map(|placed| placed.word.clone())
                .collect()
        };
        edges
            .windows(2)
            .map(|edge| line(edge[0], edge[1]))
            .collect()
    }
}

#[cfg(test)]
mod tests;
