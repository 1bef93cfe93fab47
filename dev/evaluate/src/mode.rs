// SPDX-License-Identifier: MPL-2.0
//! What can be done with clips, and with which.

use crate::manifest::Clip;

/// What is done with the clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Offline,
    Multi,
    LeadIn,
    Live,
    Simulate,
    Lost,
    Invented,
    Manifest,
    Marathon,
}

impl Mode {
    pub const ALL: [Self; 9] = [
        Self::Offline,
        Self::Multi,
        Self::LeadIn,
        Self::Live,
        Self::Simulate,
        Self::Lost,
        Self::Invented,
        Self::Manifest,
        Self::Marathon,
    ];

    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Multi => "multi",
            Self::LeadIn => "lead-in",
            Self::Live => "live",
            Self::Simulate => "simulate",
            Self::Lost => "lost",
            Self::Invented => "invented",
            Self::Manifest => "manifest",
            Self::Marathon => "marathon",
        }
    }

    /// Whether it is meant for the clip of a set with kinds.
    pub fn suits(self, clip: &Clip) -> bool {
        let kind = clip.kind.as_str();
        match self {
            Self::Offline => kind.starts_with("en-") && !clip.has_old_spelling(),
            Self::Multi => kind == "multi",
            Self::LeadIn => {
                let is_lead_in = kind == "en-read" || clip.id.starts_with("music-");
                (kind == "multi" && !clip.has_old_spelling()) || is_lead_in
            }
            Self::Live | Self::Simulate | Self::Marathon => {
                kind == "en-stream" || kind == "nonspeech"
            }
            Self::Lost => kind == "en-read" || kind == "en-speech",
            Self::Invented => kind == "nonspeech" && !clip.is_song(),
            Self::Manifest => true,
        }
    }
}
