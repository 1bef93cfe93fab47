// SPDX-License-Identifier: MPL-2.0
//! Text as it is shown, plain and as Pango markup; the times are the buffer's.

use crate::Cue;

pub fn plain(cue: &Cue) -> String {
    super::lines(cue).join("\n")
}

/// Escaped as XML, which is what Pango reads.
pub fn pango(cue: &Cue) -> String {
    let mut escaped = String::new();
    for letter in plain(cue).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
