// SPDX-License-Identifier: MPL-2.0
//! The one interface to the three ways of showing words.

use std::time::Duration;

use crate::cue_builder::CueBuilder;
use crate::roll_up::RollUp;
use crate::word_cues::WordCues;
use crate::{Cue, Layout, Word};

/// Groups final words into cues.
///
/// Whatever comes in, and however it is cut into updates:
///
/// - Each visible word is new in exactly one cue ([`Cue::new_words`]), in the order of the words. A
///   word that is wider than a line, or has spaces inside, is cut into several.
/// - Each cue has `end > start`, lasts 7 s at most, and ends no later than the next one starts.
/// - Lines fit the [`Layout`], are never blank, and hold no control characters.
/// - Times never go back. A word that starts before the word in front of it, or before the
///   watermark, is moved up to it. A probability that is not a number becomes 0.
///
/// A timeline that jumps back needs a new captioner. One that goes on after a hole, with another
/// run of audio, needs [`end_utterance`](Self::end_utterance) and
/// [`advance_watermark`](Self::advance_watermark).
#[derive(Debug)]
pub struct Captioner(Kind);

#[derive(Debug)]
enum Kind {
    Cues(CueBuilder),
    RollUp(RollUp),
    Words(WordCues),
}

macro_rules! forward {
    ($kind:expr, $inner:ident => $call:expr) => {
        match $kind {
            Kind::Cues($inner) => $call,
            Kind::RollUp($inner) => $call,
            Kind::Words($inner) => $call,
        }
    };
}

impl Captioner {
    /// Whole subtitles of one or more lines, for files and for viewers who need not see text at
    /// once.
    ///
    /// A cue begins with its first word. It stays until half a second after its last word, for at
    /// least 5/6 s, and long enough to be read at 17 letters a second. A cue is held back until its
    /// last word and its end are known: for 14 s at most while speech goes on.
    pub fn cues(layout: Layout) -> Self {
        Self(Kind::Cues(CueBuilder::new(layout)))
    }

    /// Live text: each cue is what the screen shows until the next word appears.
    ///
    /// Nothing is held back. Words are added to the bottom line, and lines roll up when it is full;
    /// a word never moves within its line. While no word comes, cues without new words keep the
    /// text on the screen up to the watermark, until it has been read. Then the screen is empty.
    pub fn roll_up(layout: Layout) -> Self {
        Self(Kind::RollUp(RollUp::new(layout)))
    }

    /// Each word as its own cue, for elements that align, translate or accumulate words.
    ///
    /// A word is held back until its end is known: until the next word comes, or the watermark has
    /// passed its end.
    pub fn words() -> Self {
        Self(Kind::Words(WordCues::default()))
    }

    /// Adds words that will not change any more.
    pub fn push(&mut self, words: &[Word]) {
        forward!(&mut self.0, inner => inner.push(words));
    }

    /// The speaker is done: the next word begins another cue or line.
    pub fn end_utterance(&mut self) {
        forward!(&mut self.0, inner => inner.end_utterance());
    }

    /// No word that is still to come starts before `until`.
    pub fn advance_watermark(&mut self, until: Duration) {
        forward!(&mut self.0, inner => inner.advance_watermark(until));
    }

    /// Makes everything pushed so far ready, although more words may follow at any time.
    ///
    /// [`roll_up`](Self::roll_up) holds nothing back, so there it changes nothing.
    pub fn release(&mut self) {
        match &mut self.0 {
            Kind::Cues(cues) => cues.finish(),
            Kind::RollUp(_) => {}
            Kind::Words(words) => words.finish(),
        }
    }

    /// No more words follow: makes everything ready, the last cue with its full time on the screen.
    pub fn finish(&mut self) {
        forward!(&mut self.0, inner => inner.finish());
    }

    /// The next cue that nothing can change any more, if there is one.
    pub fn pop(&mut self) -> Option<Cue> {
        forward!(&mut self.0, inner => inner.pop())
    }

    /// Time before which no cue that is still to come starts; `None` while nothing is known.
    pub fn watermark(&self) -> Option<Duration> {
        forward!(&self.0, inner => inner.watermark())
    }
}
