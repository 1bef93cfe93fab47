// SPDX-License-Identifier: MPL-2.0
//! Final words in, timed cues out.

use std::collections::VecDeque;

use std::time::Duration;

use super::layout::{LONGEST, Lines, Paragraph, SHORTEST, reading_time, text_width};
use super::sanitizer::{self, WordSanitizer};
use super::{Cue, Layout, Word};

/// A cue stays for so long after its last word (Netflix: up to 12 frames).
pub const LINGER: Duration = Duration::from_millis(500);
/// Shorter gaps between cues flicker: they are closed (BBC: close gaps < 1 s; Netflix: chain < 0.5 s).
const CHAIN: Duration = Duration::from_millis(500);
/// Two frames at 25 a second: what is left open where a gap can be neither closed nor kept.
const TWO_FRAMES: Duration = Duration::from_millis(80);
/// Letters a second that a cue stays long enough for (Netflix: 17).
pub const READING_SPEED_CPS: u64 = 17;
/// What a cue gets at least when the recogniser puts the words of several on one instant.
const MIN_CUE: Duration = Duration::from_millis(100);

/// Groups final words into cues.
///
/// Each word comes out once, in order, in a cue with `end > start` that ends no later than the next
/// starts. A cue begins with its first word. It stays until half a second after its last word, at least
/// for 5/6 s and long enough to be read at 17 letters a second, at most for 7 s, and never into the next.
/// Times stay in order whatever comes in: a word that starts before an earlier one, or before what was
/// settled, is moved. After a flush begin with a new builder; where a new run of audio follows, say
/// [`pause`](Self::pause) and [`settled`](Self::settled), not [`drain`](Self::drain).
#[derive(Debug)]
pub struct CueBuilder {
    layout: Layout,
    sanitizer: WordSanitizer,
    paragraph: Paragraph,
    /// Cues whose words are final, whose ends may not be.
    laid_out: VecDeque<Lines>,
    /// End of the last cue that was given out.
    shown_until: Option<Duration>,
    drained: bool,
}

impl CueBuilder {
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            sanitizer: WordSanitizer::default(),
            paragraph: Paragraph::new(layout),
            laid_out: VecDeque::new(),
            shown_until: None,
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
                if self.paragraph.ends_before(&word) {
                    self.laid_out.extend(self.paragraph.close(Some(word.start)));
                }
                self.paragraph.push(word);
                self.laid_out
                    .extend(std::iter::from_fn(|| self.paragraph.take_decided()));
            }
            self.drained = false;
        }
    }

    /// The utterance ended: so does the cue.
    pub fn pause(&mut self) {
        self.laid_out.extend(self.paragraph.close(None));
    }

    /// No later word starts before `until`.
    pub fn settled(&mut self, until: Duration) {
        self.sanitizer.settled(until);
        if self.paragraph.ends_in_silence(until) {
            self.pause();
        }
    }

    /// No more words: everything becomes ready.
    pub fn drain(&mut self) {
        self.pause();
        self.drained = true;
    }

    /// The next cue whose words and end are final.
    pub fn pop(&mut self) -> Option<Cue> {
        let lines = self.laid_out.front()?;
        let (first, last) = (lines.first()?.first()?, lines.last()?.last()?);
        let start = self
            .shown_until
            .map_or(first.start, |shown| first.start.max(shown));
        let wish = wished_end(lines, start, last.end);
        let end = match self
            .laid_out
            .get(1)
            .and_then(|lines| lines.first()?.first())
            .or(self.paragraph.first())
        {
            Some(next) => end_before(next.start.max(start.saturating_add(MIN_CUE)), start, wish),
            None if self.drained || self.sanitizer.floor() >= Some(wish.saturating_add(CHAIN)) => {
                wish
            }
            None => return None,
        };
        self.shown_until = Some(end);
        let lines = self.laid_out.pop_front()?;
        Some(Cue::all_new(start, end, lines))
    }

    /// Time before which no cue that is still to come starts: silence may be reported up to here.
    pub fn reached(&self) -> Option<Duration> {
        let waiting = self
            .laid_out
            .front()
            .and_then(|lines| lines.first()?.first())
            .or(self.paragraph.first());
        let next = waiting.map(|word| word.start).or(self.sanitizer.floor());
        next.max(self.shown_until)
    }
}

/// When a cue would end if it were the last one.
fn wished_end(lines: &Lines, start: Duration, last_word: Duration) -> Duration {
    let reading = reading_time(text_width(lines), READING_SPEED_CPS).max(SHORTEST);
    let lingering = last_word.saturating_add(LINGER);
    lingering
        .max(start.saturating_add(reading))
        .min(start.saturating_add(LONGEST))
}

/// The end of a cue before another one that starts at `next`: they touch, unless the gap is long enough
/// to be seen as one, or this cue would be shown for too long.
fn end_before(next: Duration, start: Duration, wish: Duration) -> Duration {
    if next < wish.saturating_add(CHAIN) && next <= start.saturating_add(LONGEST) {
        next
    } else {
        wish.min(next.saturating_sub(TWO_FRAMES))
    }
}

#[cfg(test)]
mod tests;
