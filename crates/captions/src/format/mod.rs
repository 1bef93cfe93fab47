// SPDX-License-Identifier: MPL-2.0
//! Cues as bytes, in the format that downstream takes.

mod json;
mod markup;
mod subrip;
mod webvtt;

pub use json::words as words_as_json;

use std::time::Duration;

use super::sanitizer::clean;
use super::{Cue, Word, join};

/// A format of the source pad, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/x-raw, format=utf8`: the lines of one cue a buffer, without a line end after the last.
    Utf8,
    /// `text/x-raw, format=pango-markup`: the same, escaped.
    PangoMarkup,
    /// `application/x-subtitle`: numbered SubRip cues.
    SubRip,
    /// `application/x-subtitle-vtt`: a WebVTT file.
    WebVtt,
    /// `application/x-json`: one object a line for each cue, with the words.
    JsonLines,
}

impl Format {
    pub const ALL: [Self; 5] = [
        Self::Utf8,
        Self::PangoMarkup,
        Self::SubRip,
        Self::WebVtt,
        Self::JsonLines,
    ];
}

/// Puts one cue after the other into bytes.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    header_due: bool,
    /// Cues written so far.
    count: u64,
}

impl Writer {
    pub fn new(format: Format) -> Self {
        Self {
            format,
            header_due: format == Format::WebVtt,
            count: 0,
        }
    }

    /// What the format begins with, unless it was given out before: for a stream that ends without a cue.
    pub fn header(&mut self) -> Option<String> {
        std::mem::take(&mut self.header_due).then(|| webvtt::HEADER.to_owned())
    }

    /// The bytes of the next cue, after the header if it is still due.
    pub fn write(&mut self, cue: &Cue) -> String {
        self.count += 1;
        let header = self.header().unwrap_or_default();
        let text = match self.format {
            Format::Utf8 => markup::plain(cue),
            Format::PangoMarkup => markup::pango(cue),
            Format::SubRip => subrip::cue(self.count, cue),
            Format::WebVtt => webvtt::cue(cue),
            Format::JsonLines => json::line(cue),
        };
        header + &text
    }
}

/// The lines of a cue, safe in any text format: none is blank or has a control character or `-->`, which
/// neither `webvttenc` nor `srtenc` escapes.
fn lines(cue: &Cue) -> Vec<String> {
    cue.lines
        .iter()
        .map(|line| printable(line))
        .filter(|line| !line.is_empty())
        .collect()
}

fn printable(line: &[Word]) -> String {
    let mut text = clean(&join(line));
    while text.contains("-->") {
        text = text.replace("-->", "->");
    }
    text
}

/// Whole hours, minutes, seconds, milliseconds. What is beyond is cut off, so that order is kept.
fn hms(time: Duration) -> (u64, u64, u64, u32) {
    let seconds = time.as_secs();
    (
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        time.subsec_millis(),
    )
}

#[cfg(test)]
mod tests;
