// SPDX-License-Identifier: MPL-2.0
//! Caps of the source pad, one for each subtitle format.

use captions::Format;
use gst::Caps;

/// The caps of a format.
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

/// The caps of all formats, in the order of preference.
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

    /// The format that these caps are of. Caps that ask for more than we know (as
    /// `application/x-json, format=cea608`) are of none.
    fn format(caps: &gst::CapsRef) -> Option<Format> {
        Format::ALL
            .into_iter()
            .find(|format| of(*format).is_strictly_equal(caps))
    }

    #[test]
    fn caps_and_formats_stand_for_each_other() {
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
    fn the_plainest_text_is_preferred() {
        gst::init().unwrap();
        let mut caps = all();
        assert_eq!(caps.size(), Format::ALL.len());
        caps.fixate();
        assert_eq!(format(&caps), Some(Format::Utf8));
    }
}
