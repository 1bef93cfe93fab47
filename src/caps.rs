// SPDX-License-Identifier: MPL-2.0
//! Caps of both pads. The src pad has caps for each subtitle format.

use captions::Format;
use gst::Caps;
use whisper_engine::SAMPLE_RATE;

/// Caps of the sink pad.
pub fn audio() -> Caps {
    gst_audio::AudioCapsBuilder::new_interleaved()
        .format_list([gst_audio::AudioFormat::S16le, gst_audio::AudioFormat::F32le])
        .rate(SAMPLE_RATE as i32)
        .channels(1)
        .build()
}

/// Caps of a format.
pub fn of(format: Format) -> Caps {
    let text = |format: &str| Caps::builder("text/x-raw").field("format", format).build();
    match format {
        Format::Utf8 => text("utf8"),
        Format::PangoMarkup => text("pango-markup"),
        Format::SubRip => Caps::new_empty_simple("application/x-subtitle"),
        Format::WebVtt => Caps::new_empty_simple("application/x-subtitle-vtt"),
        Format::JsonLines => Caps::new_empty_simple("application/x-json"),
    }
}

/// Caps of the src pad: those of all formats, in the order of preference.
pub fn all() -> Caps {
    let mut caps = Caps::new_empty();
    for format in Format::ALL {
        caps.merge(of(format));
    }
    caps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format that these caps are of; `None` if they have fields that no format has, as
    /// `application/x-json, format=cea608`.
    fn format(caps: &gst::CapsRef) -> Option<Format> {
        Format::ALL
            .into_iter()
            .find(|format| of(*format).is_strictly_equal(caps))
    }

    #[test]
    fn caps_and_formats_map_to_each_other() {
        gst::init().unwrap();
        for format in Format::ALL {
            assert_eq!(self::format(&of(format)), Some(format));
            assert!(all().can_intersect(&of(format)));
        }
        for other in [
            "application/x-json, format=cea608",
            "text/x-raw",
            "text/x-raw, format={utf8, pango-markup}",
            "ANY",
        ] {
            let caps: Caps = other.parse().unwrap();
            assert_eq!(format(&caps), None, "{other}");
        }
    }

    #[test]
    fn caps_prefer_the_plainest_text() {
        gst::init().unwrap();
        let mut caps = all();
        assert_eq!(caps.size(), Format::ALL.len());
        caps.fixate();
        assert_eq!(format(&caps), Some(Format::Utf8));
    }
}
