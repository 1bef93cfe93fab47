// SPDX-License-Identifier: MPL-2.0
//! SubRip: a number, a time line, the text, a blank line. Hours have two digits or more.

use std::time::Duration;

use crate::Cue;

fn time(time: Duration) -> String {
    let (hours, minutes, seconds, milliseconds) = super::hms(time);
    format!("{hours:02}:{minutes:02}:{seconds:02},{milliseconds:03}")
}

pub fn cue(number: u64, cue: &Cue) -> String {
    let text = super::lines(cue).join("\n");
    format!(
        "{number}\n{} --> {}\n{text}\n\n",
        time(cue.start),
        time(cue.end)
    )
}
