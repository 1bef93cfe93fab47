// SPDX-License-Identifier: MPL-2.0
//! What GStreamer's errors mean to the user.

use std::sync::Mutex;

use crate::models::for_the_command;
use crate::problem::Problem;

/// A plugin that GStreamer misses: what for, and its name for people.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    caps: String,
    name: String,
}

/// Collects what GStreamer misses, until it gives up.
#[derive(Debug, Default)]
pub struct Failures(Mutex<Vec<Missing>>);

impl Failures {
    /// Takes note of a message `missing-plugin`.
    pub fn note(&self, message: &gst::StructureRef) {
        if message.name() != "missing-plugin" {
            return;
        }
        let caps = match message.get::<gst::Caps>("detail") {
            Ok(caps) => caps.structure(0).map(|caps| caps.name().to_string()),
            Err(_) => message.get::<String>("detail").ok(),
        };
        let missing = Missing {
            caps: caps.unwrap_or_default(),
            name: message.get("name").unwrap_or_default(),
        };
        if let Ok(mut all) = self.0.lock() {
            all.push(missing);
        }
    }

    /// What an error means, after these messages.
    pub fn problem(&self, error: &gst::message::Error) -> Problem {
        let missing = self.0.lock().map(|all| all.clone()).unwrap_or_default();
        let error = error.error();
        if error.matches(gst::StreamError::TypeNotFound)
            || error.matches(gst::StreamError::WrongType)
        {
            return Problem::NotMedia;
        }
        if error.matches(gst::StreamError::CodecNotFound)
            || error.matches(gst::CoreError::MissingPlugin)
        {
            return of_missing(&missing);
        }
        Problem::Element(for_the_command(&error.to_string()))
    }
}

fn of_missing(missing: &[Missing]) -> Problem {
    let needed = |missing: &&Missing| {
        missing.caps.starts_with("audio/") || missing.name.to_lowercase().contains("demux")
    };
    if let Some(needed) = missing.iter().find(needed) {
        return Problem::MissingDecoder(needed.name.clone());
    }
    let is_seen = |missing: &Missing| {
        let kinds = ["video/", "image/", "text/", "subpicture/"];
        kinds.iter().any(|kind| missing.caps.starts_with(kind))
    };
    match missing.iter().all(is_seen) {
        true => Problem::NoAudio,
        false => Problem::NotMedia,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(missing: &[(&str, &str)]) -> Problem {
        let missing = missing.iter().map(|(caps, name)| Missing {
            caps: (*caps).to_owned(),
            name: (*name).to_owned(),
        });
        of_missing(&missing.collect::<Vec<_>>())
    }

    #[test]
    fn missing_decoder_of_sound_is_named() {
        let both = [
            ("video/x-h264", "H.264 decoder"),
            ("audio/mpeg", "MPEG-4 AAC decoder"),
        ];
        let message = problem(&both).to_string();
        assert!(message.contains("lacks: MPEG-4 AAC decoder"), "{message}");
        assert!(
            message.contains("apt install gstreamer1.0-libav"),
            "{message}"
        );
        let demuxer = problem(&[("video/x-flv", "FLV demuxer")]);
        assert!(matches!(demuxer, Problem::MissingDecoder(_)));
    }

    #[test]
    fn pictures_alone_have_no_sound() {
        let pictures = problem(&[("video/x-h264", "H.264 decoder")]);
        assert!(matches!(pictures, Problem::NoAudio));
    }

    #[test]
    fn documents_are_no_media() {
        let document = problem(&[("application/pdf", "PDF decoder")]);
        assert!(matches!(document, Problem::NotMedia));
    }
}
