// SPDX-License-Identifier: MPL-2.0
//! Text as it is shown, plain and as Pango markup; the times are the buffer's.

use crate::Cue;

pub fn plain(cue: &Cue) -> String {
    super::lines(cue).join("\n")
}

pub fn pango(cue: &Cue) -> String {
    gst::glib::markup_escape_text(&plain(cue)).into()
}
