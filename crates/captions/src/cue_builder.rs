// SPDX-License-Identifier: MPL-2.0
//! Whole subtitles: words to paragraphs to cues with their times.

use std::collections::VecDeque;
use std::time::Duration;

use crate::layout::{
    LINGER, Lines, MAX_DURATION, MIN_DURATION, READING_SPEED_CPS, reading_time, text_width,
};
use crate::paragraph::Paragraph;
use crate::sanitizer::{self, WordSanitizer};
use crate::{Cue, Layout, Word};

/// Shorter gaps between cues flicker: they are closed (BBC: below 1 s; Netflix: below 0.5 s).
const MIN_GAP: Duration = Duration::from_millis(500);
/// What is left open where a gap can be neither closed nor kept: two frames at 25 a second.
const TWO_FRAMES: Duration = Duration::from_millis(80);
/// What a cue gets at least when the recogniser puts the words of several on one instant.
const MIN_CUE: Duration = Duration::from_millis(100);

/// Implements [`Captioner::cues`](crate::Captioner::cues).
#[derive(Debug)]
pub struct CueBuilder {
    layout: Layout,
    sanitizer: WordSanitizer,
    paragraph: Paragraph,
    /// Cues whose words are final and whose ends may not be.
    laid_out: VecDeque<Lines>,
    /// End of the last cue that was given out.
    shown_until: Option<Duration>,
    finished: bool,
}

impl CueBuilder {
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            sanitizer: WordSanitizer::default(),
            paragraph: Paragraph::new(layout),
            laid_out: VecDeque::new(),
            shown_until: None,
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
                if self.paragraph.ends_before(&word) {
                    self.laid_out.extend(self.paragraph.close(Some(word.start)));
                }
                self.paragraph.push(word);
                self.laid_out
                    .extend(std::iter::from_fn(|| self.paragraph.take_decided()));
            }
            self.finished = false;
        }
    }

    pub fn end_utterance(&mut self) {
        self.laid_out.extend(self.paragraph.close(None));
    }

    pub fn advance_watermark(&mut self, until: Duration) {
        self.sanitizer.advance_watermark(until);
        if self.paragraph.ends_in_silence(until) {
            self.end_utterance();
        }
    }

    pub fn finish(&mut self) {
        self.end_utterance();
        self.finished = true;
    }

    pub fn pop(&mut self) -> Option<Cue> {
        let lines = self.laid_out.front()?;
        let (first, last) = (lines.first()?.first()?, lines.last()?.last()?);
        let start = self
            .shown_until
            .map_or(first.start, |shown| first.start.max(shown));
        let wish = wished_end(lines, start, last.end);
        let end = match self.first_word_of(1) {
            Some(next) => end_before(next.start.max(start.saturating_add(MIN_CUE)), start, wish),
            None if self.finished || self.is_past(wish.saturating_add(MIN_GAP)) => wish,
            None => return None,
        };
        self.shown_until = Some(end);
        let lines = self.laid_out.pop_front()?;
        Some(Cue::all_new(start, end, lines))
    }

    pub fn watermark(&self) -> Option<Duration> {
        let next = self.first_word_of(0).map(|word| word.start);
        next.or(self.sanitizer.watermark()).max(self.shown_until)
    }

    /// The first word of the `nth` cue that waits, or of the paragraph behind the cues.
    fn first_word_of(&self, nth: usize) -> Option<&Word> {
        let laid_out = self.laid_out.get(nth);
        laid_out
            .and_then(|lines| lines.first()?.first())
            .or(self.paragraph.first())
    }

    /// Whether no word that is still to come starts before `time`.
    fn is_past(&self, time: Duration) -> bool {
        self.sanitizer.watermark() >= Some(time)
    }
}

/// When a cue would end if it were the last one.
fn wished_end(lines: &Lines, start: Duration, last_word: Duration) -> Duration {
    let reading = reading_time(text_width(lines), READING_SPEED_CPS).max(MIN_DURATION);
    let lingering = last_word.saturating_add(LINGER);
    lingering
        .max(start.saturating_add(reading))
        .min(start.saturating_add(MAX_DURATION))
}

/// The end of a cue before another one that starts at `next`.
///
/// The two touch, unless the gap is long enough to be seen as one, or this cue would be shown for
/// too long.
fn end_before(next: Duration, start: Duration, wish: Duration) -> Duration {
    if next < wish.saturating_add(MIN_GAP) && next <= start.saturating_add(MAX_DURATION) {
        next
    } else {
        wish.min(next.saturating_sub(TWO_FRAMES))
    }
}

#[cfg(test)]
mod tests;
