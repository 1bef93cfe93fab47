// SPDX-License-Identifier: MPL-2.0
//! SubRip: numbered cues, each with a line of times, its text and a blank line.
//!
//! No standard exists; the format is that of the program SubRip. Numbers begin at 1. Times are
//! `hours:minutes:seconds,milliseconds` with a comma, and hours have two digits or more. SubRip has
//! no escapes: some players take `<i>` and the like for markup.

use std::time::Duration;

use crate::Cue;

fn time(time: Duration) -> String {
    let (hours, minutes, seconds, milliseconds) = super::hms(time);
    format!("{hours:02}:{minutes:02}:{seconds:02},{milliseconds:03}")
}

/// One cue with its number.
pub fn cue(number: u64, cue: &Cue) -> String {
    let text = super::lines(cue).join("\n");
    format!(
        "{number}\n{} --> {}\n{text}\n\n",
        time(cue.start),
        time(cue.end)
    )
}
