// SPDX-License-Identifier: MPL-2.0
//! Width of text on a line.
//!
//! The unit is half the width of a Latin letter. A wide character (East Asian Width W or F, UAX
//! #11) is as wide as two and a half letters: so the usual line of 42 letters holds 16 Chinese,
//! Japanese or Korean characters, as in subtitles of these languages, and mixed lines come out
//! right as well. The same measure gives the reading speed: 17 letters a second are almost 7 wide
//! characters a second.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// A width in halves of a Latin letter.
pub type HalfLetters = u64;

/// Width of a Latin letter, and of a space.
pub const LETTER: HalfLetters = 2;
/// Width of a wide character.
pub const WIDE: HalfLetters = 5;

/// Width of one grapheme, that is, what a reader takes for one character.
fn grapheme_width(grapheme: &str) -> HalfLetters {
    match grapheme.width() {
        0 => 0,
        1 => LETTER,
        _ => WIDE,
    }
}

/// Width of `text` on one line.
pub fn width(text: &str) -> HalfLetters {
    text.graphemes(true).map(grapheme_width).sum()
}

/// Cuts `text` between graphemes into pieces as wide as `limit` allows. A grapheme that is wider
/// than
/// `limit` stays whole.
pub fn pieces(text: &str, limit: HalfLetters) -> Vec<&str> {
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
    fn line_holds_42_letters_or_16_wide_characters() {
        let line = 42 * LETTER;
        assert!(width(&"a".repeat(42)) <= line && width(&"a".repeat(43)) > line);
        assert!(width(&"字".repeat(16)) <= line && width(&"字".repeat(17)) > line);
        assert_eq!(width(&"한".repeat(16)), width(&"字".repeat(16)));
    }

    #[test]
    fn width_of_a_mark_is_0_and_an_emoji_is_one_character() {
        assert_eq!(width("e\u{301}"), LETTER);
        assert_eq!(width("👩‍👩‍👧‍👦"), WIDE);
        assert_eq!(width("\u{200b}"), 0);
    }

    #[test]
    fn pieces_keep_a_letter_with_its_marks() {
        let text = "e\u{301}".repeat(5);
        assert_eq!(
            pieces(&text, 4),
            ["e\u{301}e\u{301}", "e\u{301}e\u{301}", "e\u{301}"]
        );
        assert_eq!(pieces("字字", 2), ["字", "字"]);
        assert_eq!(pieces("abc", 6), ["abc"]);
    }
}
