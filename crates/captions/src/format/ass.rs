// SPDX-License-Identifier: MPL-2.0
//! Advanced SubStation Alpha (v4.00+), with karaoke: each word is lit from when it is said.
//!
//! `{\kN}` gives the word behind it N hundredths of a second. Until its turn comes, a word has the
//! style's secondary colour, and from then on its primary one. The format has no standard; libass
//! (`ass_parse.c`) and Aegisub's manual ("ASS override tags") say what players do.

use std::fmt::Write as _;
use std::time::Duration;

use crate::sanitizer::clean;
use crate::{Cue, Word};

/// All that stands before the first cue. The style is white on a shaded box, grey until said.
pub const HEADER: &str = "\
[Script Info]
ScriptType: v4.00+
WrapStyle: 2
ScaledBorderAndShadow: yes
PlayResX: 1920
PlayResY: 1080

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, \
Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Sans,60,&H00FFFFFF,&H00A0A0A0,&H60000000,&H60000000,0,0,0,0,100,100,0,0,3,8,0,2,\
120,120,60,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
";

/// Whole hundredths of a second, the format's resolution.
fn centiseconds(time: Duration) -> u128 {
    (time.as_millis() + 5) / 10
}

fn time(time: Duration) -> String {
    let all = centiseconds(time);
    let (seconds, rest) = (all / 100, all % 100);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours}:{minutes:02}:{:02}.{rest:02}", seconds % 60)
}

/// A word in which nothing is markup: braces have escapes; a backslash has none, and is harmless
/// with a word joiner behind it.
fn escaped(word: &Word) -> String {
    let mut text = String::new();
    for letter in clean(&word.text).chars() {
        match letter {
            '{' | '}' => text.extend(['\\', letter]),
            '\\' => text.extend([letter, '\u{2060}']),
            other => text.push(other),
        }
    }
    text
}

/// One cue as a line of the section "Events".
pub fn dialogue(cue: &Cue) -> String {
    let mut text = String::new();
    // Each duration ends at a rounded time, so that rounding does not add up.
    let mut until = centiseconds(cue.start);
    for (number, line) in cue.lines.iter().enumerate() {
        if number > 0 {
            text.push_str("\\N");
        }
        for (place, word) in line.iter().enumerate() {
            if place > 0 && word.spaced {
                text.push(' ');
            }
            let start = centiseconds(word.start).max(until);
            let end = centiseconds(word.end).max(start);
            if start > until {
                let _ = write!(text, "{{\\k{}}}", start - until);
            }
            let _ = write!(text, "{{\\k{}}}{}", end - start, escaped(word));
            until = end;
        }
    }
    let (start, end) = (time(cue.start), time(cue.end));
    format!("Dialogue: 0,{start},{end},Default,,0,0,0,,{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, start_ms: u64, end_ms: u64) -> Word {
        Word {
            text: text.into(),
            spaced: true,
            start: Duration::from_millis(start_ms),
            end: Duration::from_millis(end_ms),
            probability: 1.0,
        }
    }

    fn cue(lines: Vec<Vec<Word>>) -> Cue {
        Cue::all_new(
            Duration::from_millis(1000),
            Duration::from_millis(3_605_000),
            lines,
        )
    }

    #[test]
    fn words_light_up_when_they_are_said() {
        let lines = vec![
            vec![word("Ask", 1000, 1304), word("not", 1500, 1700)],
            vec![word("what", 1700, 2000)],
        ];
        assert_eq!(
            dialogue(&cue(lines)),
            "Dialogue: 0,0:00:01.00,1:00:05.00,Default,,0,0,0,,\
             {\\k30}Ask {\\k20}{\\k20}not\\N{\\k30}what\n"
        );
    }

    #[test]
    fn rounding_of_durations_does_not_add_up() {
        let words = (0..100).map(|n| word("a", 1000 + n * 14, 1014 + n * 14));
        let text = dialogue(&cue(vec![words.collect()]));
        let sum: u32 = text
            .split("\\k")
            .skip(1)
            .filter_map(|part| part.split('}').next()?.parse::<u32>().ok())
            .sum();
        assert_eq!(sum, 140);
    }

    #[test]
    fn text_is_never_markup() {
        let hostile = vec![vec![word("{\\b1}", 1000, 1100), word("\\N\n", 1100, 1200)]];
        let text = dialogue(&cue(hostile));
        assert!(
            text.ends_with("{\\k10}\\{\\\u{2060}b1\\} {\\k10}\\\u{2060}N\n"),
            "{text}"
        );
    }

    #[test]
    fn words_out_of_order_do_not_underflow() {
        let lines = vec![vec![word("a", 500, 700), word("b", 600, 500)]];
        assert!(dialogue(&cue(lines)).contains("{\\k0}a {\\k0}b"));
    }

    #[test]
    fn header_names_as_many_fields_as_the_style_has() {
        let count = |start: &str| {
            let line = HEADER.lines().find(|line| line.starts_with(start));
            line.map(|line| line.split(',').count())
        };
        assert_eq!(count("Format: Name"), count("Style:"));
    }
}
