// SPDX-License-Identifier: MPL-2.0
//! Words to lines to cues to bytes in the negotiated subtitle format.
//!
//! This room knows GStreamer's clock times, and nothing of models.

/// A recognised word on the stream's own timeline (buffer PTS, not running time).
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The word with its punctuation, without surrounding white space.
    pub text: String,
    /// Whether white space parts it from the word before (never in Chinese, Japanese, Thai…).
    pub spaced: bool,
    pub start: gst::ClockTime,
    /// `end >= start`.
    pub end: gst::ClockTime,
    /// Mean probability of the word's tokens, 0 to 1.
    pub probability: f32,
}
