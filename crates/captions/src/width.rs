// SPDX-License-Identifier: MPL-2.0
//! How much room text takes on a line.
//!
//! The unit is half the width of a Latin letter. A wide character (East Asian Width W or F, UAX #11)
//! counts as two letters and a half, so that the usual line of 42 letters is one of 16 Chinese,
//! Japanese or Korean characters, as subtitlers have it, and mixed lines come out right as well. The
//! same measure gives the reading speed: 17 letters a second are not quite 7 wide characters a second.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Width of a Latin letter, and of a space.
pub const LETTER: u64 = 2;
/// Width of a wide character.
pub const WIDE: u64 = 5;

/// Width of what a reader takes for one character.
fn grapheme_width(grapheme: &str) -> u64 {
    match grapheme.width() {
        0 => 0,
        1 => LETTER,
        _ => WIDE,
    }
}

/// Width of `text` on one line.
pub fn width(text: &str) -> u64 {
    text.graphemes(true).map(grapheme_width).sum()
}

/// Cuts `text` between characters, so that each piece is as long as `limit` allows. A character that
/// is wider than `limit` stays whole.
pub fn pieces(text: &str, limit: u64) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut from, mut filled) = (0, 0);
    for (at, grapheme) in text.grapheme_indices(true) {
        let wide = grapheme_width(grapheme);
        if filled + wide > limit && at > from {
            pieces.push(&text[from..at]);
            (from, filled) = (at, 0);
        }
        filled += wide;
    }
    pieces.push(&text[from..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_line_holds_42_letters_or_16_wide_characters() {
        let line = 42 * LETTER;
        assert!(width(&"a".repeat(42)) <= line && width(&"a".repeat(43)) > line);
        assert!(width(&"字".repeat(16)) <= line && width(&"字".repeat(17)) > line);
        assert_eq!(width(&"한".repeat(16)), width(&"字".repeat(16)));
    }

    #[test]
    fn marks_take_no_room_and_an_emoji_is_one_character() {
        assert_eq!(width("e\u{301}"), LETTER);
        assert_eq!(width("👩‍👩‍👧‍👦"), WIDE);
        assert_eq!(width("\u{200b}"), 0);
    }

    #[test]
    fn pieces_never_part_a_letter_from_its_marks() {
        let text = "e\u{301}".repeat(5);
        assert_eq!(
            pieces(&text, 4),
            ["e\u{301}e\u{301}", "e\u{301}e\u{301}", "e\u{301}"]
        );
        assert_eq!(pieces("字字", 2), ["字", "字"]);
        assert_eq!(pieces("abc", 6), ["abc"]);
    }
}
