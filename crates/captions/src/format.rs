// SPDX-License-Identifier: MPL-2.0
//! Cues as text in a subtitle format.

mod ass;
mod file;
mod json;
mod markup;
mod subrip;
mod text;
mod webvtt;

pub use file::{FileFormat, FileWriter};
pub use json::{read_line as cue_from_json, words as words_as_json};

use std::time::Duration;

use crate::sanitizer::clean;
use crate::{Cue, Word, join};

/// A format for cues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The lines of a cue, without a line end after the last. Times are left to the container.
    Utf8,
    /// As [`Utf8`](Self::Utf8), escaped for Pango.
    PangoMarkup,
    /// SubRip: numbered cues with times.
    SubRip,
    /// WebVTT: a header, then cues with times.
    WebVtt,
    /// JSON lines: one object a cue, with its words.
    JsonLines,
}

impl Format {
    /// All formats, the plainest first.
    pub const ALL: [Self; 5] = [
        Self::Utf8,
        Self::PangoMarkup,
        Self::SubRip,
        Self::WebVtt,
        Self::JsonLines,
    ];
}

/// Writes the cues of one stream or file, one after the other.
///
/// No text can break the frame of a file: none holds a blank line or `-->`.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    header_due: bool,
    /// Cues written so far.
    count: u64,
}

impl Writer {
    /// A writer at the start of a stream.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            header_due: format == Format::WebVtt,
            count: 0,
        }
    }

    /// The header of the format, unless it was written before: for a stream that ends without a
    /// cue.
    pub fn header(&mut self) -> Option<String> {
        std::mem::take(&mut self.header_due).then(|| webvtt::HEADER.to_owned())
    }

    /// The text of the next cue, after the header if that is still due.
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

/// The printable lines of a cue, safe in every format.
///
/// None is blank, and none holds a control character or `-->`. GStreamer's `webvttenc` and `srtenc`
/// escape none of these.
fn lines(cue: &Cue) -> Vec<String> {
    cue.lines
        .iter()
        .map(|line| printable(line))
        .filter(|line| !line.is_empty())
        .collect()
}

/// A line as text without `-->`.
fn printable(line: &[Word]) -> String {
    let mut text = clean(&join(line));
    while text.contains("-->") {
        text = text.replace("-->", "->");
    }
    text
}

/// The nearest whole millisecond, as Matroska's muxers round. Times in order stay in order.
fn to_nearest_millisecond(time: Duration) -> Duration {
    let time = time.saturating_add(Duration::from_micros(500));
    Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000)
}

/// Whole hours, minutes, seconds and milliseconds.
fn hms(time: Duration) -> (u64, u64, u64, u32) {
    let time = to_nearest_millisecond(time);
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
