// SPDX-License-Identifier: MPL-2.0
//! SubRip: numbered cues, each with a line of times, its text and a blank line.
//!
//! No standard exists; the format is that of the program SubRip. Numbers begin at 1. Times are
//! `hours:minutes:seconds,milliseconds` with a comma, and hours have two digits or more. SubRip has
//! no escapes, but players take `<i>` and `{\an8}` for markup: these get a space that parts them.

use std::time::Duration;

use crate::Cue;

fn time(time: Duration) -> String {
    let (hours, minutes, seconds, milliseconds) = super::hms(time);
    format!("{hours:02}:{minutes:02}:{seconds:02},{milliseconds:03}")
}

/// Tags that players know, after `<` or `</`.
const TAGS: [&str; 5] = ["b", "i", "u", "s", "font"];

/// The text with no markup that a player would obey.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        plain.push(c);
        let rest = &text[at + c.len_utf8()..];
        if (c == '<' && is_tag(rest)) || (c == '{' && rest.starts_with('\\')) {
            plain.push(' ');
        }
    }
    plain
}

/// Whether a tag follows its opening bracket.
fn is_tag(rest: &str) -> bool {
    let name = rest.strip_prefix('/').unwrap_or(rest);
    let end = name.find(|c: char| !c.is_ascii_alphanumeric());
    let name = name[..end.unwrap_or(name.len())].to_ascii_lowercase();
    TAGS.contains(&name.as_str())
}

/// One cue with its number.
pub fn cue(number: u64, cue: &Cue) -> String {
    let text = plain(&super::lines(cue).join("\n"));
    format!(
        "{number}\n{} --> {}\n{text}\n\n",
        time(cue.start),
        time(cue.end)
    )
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn markup_of_players_is_no_markup() {
        assert_eq!(
            plain("<i>a</I> <font color=red>b {\\an8}"),
            "< i>a< /I> < font color=red>b { \\an8}"
        );
        let harmless = "1 < 2, a<b1, <it> <anything> {y} </>";
        assert_eq!(plain(harmless), harmless);
    }
}
