// SPDX-License-Identifier: MPL-2.0
//! How large a cue may be, and how long it is shown.

use std::time::Duration;

use crate::width::{HalfLetters, LETTER, width};
use crate::{Word, join};

/// A cue is shown for at least as long, unless the next one comes sooner (Netflix: 5/6 s).
pub const MIN_DURATION: Duration = Duration::from_millis(833);
/// A cue is never shown for longer (Netflix: 7 s).
pub const MAX_DURATION: Duration = Duration::from_secs(7);
/// A cue stays for as long after its last word (Netflix: up to 12 frames at 24 a second).
pub const LINGER: Duration = Duration::from_millis(500);
/// Live text stays for as long after its last word. With less, a slow speaker's phrases are each
/// gone before the next one comes, and lines never roll up.
pub const LIVE_LINGER: Duration = Duration::from_secs(3);

/// Letters a second that a cue stays long enough for (Netflix, English: 17, later 20).
pub const READING_SPEED_CPS: u64 = 17;
/// Letters a second above which a cue is hard to read (Netflix, English: 20 for adults).
pub const MAX_READING_SPEED_CPS: u64 = 20;

/// How large a cue may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Longest line in Latin letters, at least 3. A Chinese, Japanese or Korean character counts as
    /// two and a half: a line of 42 letters holds 16 of them.
    pub max_line_length: usize,
    /// Most lines of a cue, at least 1.
    pub max_lines: usize,
}

impl Default for Layout {
    /// Two lines of 42 letters (Netflix).
    fn default() -> Self {
        Self {
            max_line_length: 42,
            max_lines: 2,
        }
    }
}

impl Layout {
    /// The widest line.
    pub(crate) fn line(&self) -> HalfLetters {
        LETTER * self.max_line_length.max(3) as u64
    }

    pub(crate) fn lines(&self) -> usize {
        self.max_lines.max(1)
    }

    /// All lines together.
    pub(crate) fn capacity(&self) -> HalfLetters {
        self.line().saturating_mul(self.lines() as u64)
    }
}

/// The text of a cue, top line first.
pub type Lines = Vec<Vec<Word>>;

/// Time that reading text of this width takes.
pub fn reading_time(width: HalfLetters, letters_per_second: u64) -> Duration {
    Duration::from_millis(width.saturating_mul(1000) / (LETTER * letters_per_second))
}

/// Width of all the text of a cue, spaces and line ends included.
pub fn text_width(lines: &Lines) -> HalfLetters {
    let ends = lines.len().saturating_sub(1) as u64 * LETTER;
    lines.iter().map(|line| width(&join(line))).sum::<u64>() + ends
}
