// SPDX-License-Identifier: MPL-2.0
//! The text alone, without times.

use crate::{Cue, Word};

/// The cue on one line.
pub fn line(cue: &Cue) -> String {
    let words: Vec<Word> = cue.lines.iter().flatten().cloned().collect();
    super::printable(&words) + "\n"
}
