// SPDX-License-Identifier: MPL-2.0
//! Where lines and cues break: the cheapest way through the words since the last cue.
//!
//! A paragraph is a row of words without a pause or the end of a long sentence. Every place between two words is a possible end
//! of a cue; [`Paragraph`] keeps for each of them the cheapest layout of all words before it (dynamic
//! programming, as Knuth and Plass break paragraphs: "Breaking Paragraphs into Lines", 1981). As words
//! come in, the ways to go on soon share their first cue: then that cue is decided, and given out. So
//! the result does not depend on how the words were cut into updates.
//!
//! The costs are this project's own; the places come from [`super::breaks`].

use std::time::Duration;

use super::Word;
use super::breaks;
use super::width::{LETTER, width};

/// A cue is not shown for less, unless the next one comes sooner (Netflix: 5/6 s).
pub const SHORTEST: Duration = Duration::from_millis(833);
/// A cue is never shown for longer (Netflix: 7 s).
pub const LONGEST: Duration = Duration::from_secs(7);

/// Silence between two words that always parts their cues.
///
/// The BBC closes gaps of less than a second. A cue that has lingered half a second after its last word is
/// chained to the next over less than another half: so a pause is what can be seen as a gap.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Letters a second above which a cue is hard to read (Netflix: 20 for adults).
const FASTEST: u64 = 20;
const TOO_FAST: f32 = 2.0;
const TOO_SHORT: f32 = 5.0;
/// For each letter that a line is off the mean of its cue's lines.
const UNBALANCED: f32 = 1.0 / 20.0;
/// For a line that is longer than the lines below.
const TOP_HEAVY: f32 = 0.5;
/// For each cue, so that none breaks for the joy of it.
const CUE: f32 = 1.0;
/// For an almost empty cue; falls with the square of what is filled, which evens out neighbours.
const EMPTY: f32 = 4.0;
/// For each second of silence at a cue's end. A second is as good as a sentence end.
const SILENCE: f32 = -4.0;

/// How large a cue may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In Latin letters. A Chinese, Japanese or Korean character counts as two and a half: 42 letters
    /// are 16 of them. At least 3.
    pub max_line_length: usize,
    /// At least 1.
    pub max_lines: usize,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            max_line_length: 42,
            max_lines: 2,
        }
    }
}

impl Layout {
    /// Widest line, in the units of [`super::width`].
    pub(super) fn line(&self) -> u64 {
        LETTER * self.max_line_length.max(3) as u64
    }

    pub(super) fn lines(&self) -> usize {
        self.max_lines.max(1)
    }

    fn capacity(&self) -> u64 {
        self.line().saturating_mul(self.lines() as u64)
    }
}

/// The text of a cue, top line first.
pub type Lines = Vec<Vec<Word>>;

#[derive(Debug)]
struct Placed {
    word: Word,
    /// Its place if all were set on one endless line.
    from: u64,
    to: u64,
    /// Cost of a break before it.
    break_cost: f32,
}

/// The cheapest layout of all words before a place.
#[derive(Clone, Copy, Debug)]
struct BreakPath {
    cost: f32,
    /// Where its last part (cue or line) begins.
    from: usize,
}

/// Words that are not yet in a cue, none wider than a line.
#[derive(Debug)]
pub struct Paragraph {
    layout: Layout,
    words: Vec<Placed>,
    /// `ways[n]`: to the cue break before word `n`.
    ways: Vec<BreakPath>,
}

impl Paragraph {
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            words: Vec::new(),
            ways: Vec::new(),
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
        let lasting = next.start.saturating_sub(first.word.start) >= SHORTEST;
        self.ends_in_silence(next.start) || (sentence && long && lasting)
    }

    /// Whether nothing said between the last word and `until` makes a pause.
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
        let (to, next) = (from + width(&word.text), word.start);
        self.words.push(Placed {
            word,
            from,
            to,
            break_cost,
        });
        let way = self.way_to(self.words.len() - 1, Some(next));
        self.ways.push(way);
    }

    /// The first cue, if every way to go on begins with it, or if too many words wait.
    pub fn take_decided(&mut self) -> Option<Lines> {
        let count = self.words.len();
        // The cue that will hold the newest word begins at one of these.
        let open = (0..count)
            .rev()
            .take_while(|&first| self.line_count(first, count).is_some());
        let end = if self.is_overfull() {
            let cheapest = open.min_by(|&a, &b| self.ways[a].cost.total_cmp(&self.ways[b].cost))?;
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

    /// The paragraph ends, and the next cannot begin before `next`: gives out all cues at the cheapest.
    pub fn close(&mut self, next: Option<Duration>) -> Vec<Lines> {
        if self.words.is_empty() {
            return Vec::new();
        }
        let way = self.way_to(self.words.len(), next);
        self.ways.push(way);
        let mut ends = Vec::new();
        let mut place = self.words.len();
        while place > 0 {
            ends.push(place);
            place = self.ways[place].from;
        }
        let mut cues = Vec::with_capacity(ends.len());
        let mut first = 0;
        for &end in ends.iter().rev() {
            cues.push(self.set(first, end));
            first = end;
        }
        self.words.clear();
        self.ways.clear();
        cues
    }

    /// More than two cues' worth of words bring no better insight.
    fn is_overfull(&self) -> bool {
        let (Some(first), Some(last)) = (self.words.first(), self.words.last()) else {
            return false;
        };
        let span = last.word.start.saturating_sub(first.word.start);
        last.to - first.from > 2 * self.layout.capacity() || span > 2 * LONGEST
    }

    /// Where the first cue on the way to `place` ends; 0 when no cue is on that way.
    fn first_cue(&self, mut place: usize) -> usize {
        while place > 0 && self.ways[place].from > 0 {
            place = self.ways[place].from;
        }
        place
    }

    /// Gives out the words before `end` as one cue, and weighs the rest anew from there.
    fn take(&mut self, end: usize) -> Lines {
        let lines = self.set(0, end);
        self.words.drain(..end);
        self.ways.clear();
        for place in 0..self.words.len() {
            let way = self.way_to(place, Some(self.words[place].word.start));
            self.ways.push(way);
        }
        lines
    }

    /// The cheapest way to a cue break at `end`. The next cue cannot begin before `next`.
    fn way_to(&self, end: usize, next: Option<Duration>) -> BreakPath {
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
            let cost = self.ways[first].cost + self.cue_cost(first, end, count, next);
            if cost < best.cost {
                best = BreakPath { cost, from: first };
            }
        }
        best
    }

    /// How many lines the words from `first` to `end` need at least; `None` when they are too much for a
    /// cue. What is too much stays so with more words in front.
    fn line_count(&self, first: usize, end: usize) -> Option<usize> {
        let words = &self.words[first..end];
        let span = words.last()?.word.end.saturating_sub(words[0].word.start);
        if words.len() > 1 && span > LONGEST {
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

    fn cue_cost(&self, first: usize, end: usize, lines: usize, next: Option<Duration>) -> f32 {
        let (begin, last) = (&self.words[first], &self.words[end - 1]);
        let width = last.to - begin.from;
        let unfilled = 1.0 - (width as f32 / self.layout.capacity() as f32).min(1.0);
        let mut cost = CUE + EMPTY * unfilled * unfilled + self.line_breaks(first, end, lines).0;
        if let Some(next) = next {
            let room = next.saturating_sub(begin.word.start);
            if room < SHORTEST {
                cost += TOO_SHORT;
            }
            if room < reading_time(width, FASTEST) {
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

    /// The cheapest breaks of the words from `first` to `end` into `count` lines, and what they cost.
    fn line_breaks(&self, first: usize, end: usize, count: usize) -> (f32, Vec<usize>) {
        if count == 1 {
            return (0.0, Vec::new());
        }
        let words = &self.words[first..end];
        let mean = (words[words.len() - 1].to - words[0].from) as f32 / count as f32;
        // rows[n][place]: all words before `place` in n lines.
        let mut rows = vec![vec![None; words.len() + 1]; count + 1];
        rows[0][0] = Some(BreakPath { cost: 0.0, from: 0 });
        for line in 1..=count {
            let bottom = line == count;
            for place in if bottom { words.len() } else { line }..=words.len() {
                let mut best: Option<BreakPath> = None;
                for from in (0..place).rev() {
                    let width = words[place - 1].to - words[from].from;
                    if width > self.layout.line() {
                        break;
                    }
                    let Some(BreakPath { cost: before, .. }) = rows[line - 1][from] else {
                        continue;
                    };
                    let off = width as f32 - mean;
                    let mut cost = before + UNBALANCED * off.abs() / LETTER as f32;
                    if !bottom {
                        cost += words.get(place).map_or(0.0, |next| next.break_cost);
                        cost += if off > 0.0 { TOP_HEAVY } else { 0.0 };
                    }
                    if best.is_none_or(|best| cost < best.cost) {
                        best = Some(BreakPath { cost, from });
                    }
                }
                rows[line][place] = best;
            }
        }
        let mut breaks = Vec::new();
        let mut place = words.len();
        for line in (1..=count).rev() {
            place = rows[line][place].map_or(0, |way| way.from);
            breaks.push(first + place);
        }
        breaks.pop();
        breaks.reverse();
        (
            rows[count][words.len()].map_or(f32::INFINITY, |way| way.cost),
            breaks,
        )
    }

    /// The words from `first` to `end` as a cue.
    fn set(&self, first: usize, end: usize) -> Lines {
        let count = self.line_count(first, end).unwrap_or(1);
        let mut edges = vec![first];
        edges.extend(self.line_breaks(first, end, count).1);
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

/// Time it takes to read text of this width at `speed` letters a second.
pub fn reading_time(width: u64, speed: u64) -> Duration {
    Duration::from_millis(width.saturating_mul(1000) / (LETTER * speed))
}

/// Width of all the text of a cue, spaces and line ends included.
pub fn text_width(lines: &Lines) -> u64 {
    let ends = lines.len().saturating_sub(1) as u64 * LETTER;
    lines
        .iter()
        .map(|line| width(&super::join(line)))
        .sum::<u64>()
        + ends
}

#[cfg(test)]
mod tests;
