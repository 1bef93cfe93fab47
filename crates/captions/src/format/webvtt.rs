// SPDX-License-Identifier: MPL-2.0
//! WebVTT: a header, then cues without identifiers or settings.
//!
//! W3C, "WebVTT: The Web Video Text Tracks Format", Candidate Recommendation of 4 April 2019,
//! "Syntax". `&` and `<` must be escaped; `>` is escaped as well, so that no text holds `-->`.

use std::time::Duration;

use crate::Cue;

/// The first line of a file, and the blank line behind it.
pub const HEADER: &str = "WEBVTT\n\n";

fn time(time: Duration) -> String {
    let (hours, minutes, seconds, milliseconds) = super::hms(time);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}")
}

/// One cue.
pub fn cue(cue: &Cue) -> String {
    let text = super::lines(cue).join("\n");
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!("{} --> {}\n{text}\n\n", time(cue.start), time(cue.end))
}
