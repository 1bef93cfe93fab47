// SPDX-License-Identifier: MPL-2.0
//! Text as it is shown, plain and as Pango markup. Neither holds times.

use crate::Cue;

/// The lines of the cue.
pub fn plain(cue: &Cue) -> String {
    super::lines(cue).join("\n")
}

/// The lines of the cue, escaped as XML: Pango's markup is an XML dialect.
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
