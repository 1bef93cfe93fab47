// SPDX-License-Identifier: MPL-2.0
//! WebVTT (W3C Candidate Recommendation of 2019, section 4): cues without identifiers or settings.

use std::time::Duration;

use crate::Cue;

pub const HEADER: &str = "WEBVTT\n\n";

fn time(time: Duration) -> String {
    let (hours, minutes, seconds, milliseconds) = super::hms(time);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}")
}

pub fn cue(cue: &Cue) -> String {
    let text = super::lines(cue).join("\n");
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!("{} --> {}\n{text}\n\n", time(cue.start), time(cue.end))
}
