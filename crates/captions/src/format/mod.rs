// SPDX-License-Identifier: MPL-2.0
//! Cues as bytes, in the format that downstream takes.

mod json;
mod markup;
mod subrip;
mod webvtt;

pub use json::words as words_as_json;

use gst::Caps;

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

    pub fn caps(self) -> Caps {
        let text = |format: &str| Caps::builder("text/x-raw").field("format", format).build();
        match self {
            Self::Utf8 => text("utf8"),
            Self::PangoMarkup => text("pango-markup"),
            Self::SubRip => Caps::new_empty_simple("application/x-subtitle"),
            Self::WebVtt => Caps::new_empty_simple("application/x-subtitle-vtt"),
            Self::JsonLines => Caps::new_empty_simple("application/x-json"),
        }
    }

    /// The format that these caps are of. Caps that ask for more than we know (as
    /// `application/x-json, format=cea608`) are of none.
    pub fn from_caps(caps: &gst::CapsRef) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.caps().is_strictly_equal(caps))
    }

    pub fn all_caps() -> Caps {
        let mut caps = Caps::new_empty();
        for format in Self::ALL {
            caps.merge(format.caps());
        }
        caps
    }
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
fn hms(time: gst::ClockTime) -> (u64, u64, u64, u64) {
    (
        time.hours(),
        time.minutes() % 60,
        time.seconds() % 60,
        time.mseconds() % 1000,
    )
}

#[cfg(test)]
mod tests;
