// SPDX-License-Identifier: MPL-2.0

use super::*;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// The words of `text`, each 200 ms long, one every 300 ms from `start` on.
fn say(text: &str, start: u64) -> Vec<Word> {
    let word = |(nth, text): (usize, &str)| {
        let start = start + 300 * nth as u64;
        Word {
            text: text.into(),
            spaced: true,
            start: ms(start),
            end: ms(start + 200),
            probability: 1.0,
        }
    };
    text.split(' ').enumerate().map(word).collect()
}

fn shown(captions: &mut RollUp) -> Vec<(String, u64, u64)> {
    std::iter::from_fn(|| captions.pop())
        .map(|cue| {
            (
                cue.text(),
                cue.start.as_millis() as u64,
                cue.end.as_millis() as u64,
            )
        })
        .collect()
}

/// The screen after the last word.
fn last_screen(captions: &mut RollUp) -> String {
    shown(captions).pop().expect("something is shown").0
}

fn captions(max_line_length: usize, max_lines: usize) -> RollUp {
    RollUp::new(Layout {
        max_line_length,
        max_lines,
    })
}

#[test]
fn words_appear_each_at_its_own_start() {
    let mut captions = captions(42, 2);
    captions.push(&say("one two three", 1000));
    captions.advance_watermark(ms(1800));
    assert_eq!(
        shown(&mut captions),
        [
            ("one".into(), 1000, 1300),
            ("one two".into(), 1300, 1600),
            ("one two three".into(), 1600, 1800)
        ]
    );
}

#[test]
fn words_within_100_ms_appear_together() {
    let mut captions = captions(42, 2);
    let mut words = say("one two three", 1000);
    words[1].start = ms(1099);
    captions.push(&words);
    captions.advance_watermark(ms(2000));
    assert_eq!(
        shown(&mut captions),
        [
            ("one two".into(), 1000, 1600),
            ("one two three".into(), 1600, 2000)
        ]
    );
}

#[test]
fn word_is_shown_before_the_next_is_known() {
    let mut captions = captions(42, 2);
    captions.push(&say("one", 1000));
    assert_eq!(shown(&mut captions), [("one".into(), 1000, 1100)]);
    assert_eq!(captions.watermark(), Some(ms(1100)));
    captions.push(&say("two", 1020));
    assert_eq!(shown(&mut captions), [("one two".into(), 1100, 1200)]);
}

#[test]
fn text_stays_without_a_gap_for_3_s() {
    let mut captions = captions(42, 2);
    captions.push(&say("one", 1000));
    captions.advance_watermark(ms(1200));
    assert_eq!(shown(&mut captions), [("one".into(), 1000, 1200)]);
    captions.advance_watermark(ms(1500));
    assert_eq!(captions.pop(), None, "too little to repeat it for");
    assert_eq!(captions.watermark(), Some(ms(1200)));
    captions.advance_watermark(ms(1700));
    assert_eq!(shown(&mut captions), [("one".into(), 1200, 1700)]);
    captions.advance_watermark(ms(5000));
    // Three seconds after the word was said.
    assert_eq!(shown(&mut captions), [("one".into(), 1700, 4200)]);
    assert_eq!(captions.watermark(), Some(ms(5000)));
    assert_eq!(captions.pop(), None);
}

/// Every screen with its times, while `phrases` are said with pauses, a step of the recogniser at
/// a time.
fn screens_of(phrases: &[(&str, u64)]) -> Vec<(String, u64, u64)> {
    let mut captions = captions(42, 2);
    let mut screens = Vec::new();
    for (nth, (phrase, start)) in phrases.iter().enumerate() {
        let words = say(phrase, *start);
        let last = words.last().map_or(ms(0), |word| word.end);
        captions.push(&words);
        screens.extend(shown(&mut captions));
        captions.end_utterance();
        let next = phrases.get(nth + 1).map_or(60_000, |(_, start)| *start);
        let mut watermark = last;
        while watermark < ms(next) {
            watermark = (watermark + ms(100)).min(ms(next));
            captions.advance_watermark(watermark);
            screens.extend(shown(&mut captions));
        }
    }
    screens
}

/// Joins screens that show the same text without a gap.
fn joined(screens: Vec<(String, u64, u64)>) -> Vec<(String, u64, u64)> {
    let mut joined: Vec<(String, u64, u64)> = Vec::new();
    for (text, start, end) in screens {
        match joined.last_mut() {
            Some(last) if last.0 == text && last.2 == start => last.2 = end,
            _ => joined.push((text, start, end)),
        }
    }
    joined
}

#[test]
fn slow_phrases_roll_up_and_never_blink() {
    // 2.1 s of silence between phrases of half a second.
    let phrases = [("Go home.", 1000), ("Or stay.", 3600), ("Well?", 6200)];
    let screens = joined(screens_of(&phrases));
    let expected = [
        ("Go", 1000, 1300),
        ("Go home.", 1300, 3600),
        ("Go home.\nOr", 3600, 3900),
        ("Go home.\nOr stay.", 3900, 6200),
        // The last line goes, with the one above, three seconds after its last word.
        ("Or stay.\nWell?", 6200, 9400),
    ];
    let expected: Vec<_> = expected
        .map(|(text, start, end)| (text.into(), start, end))
        .into();
    assert_eq!(screens, expected);
}

#[test]
fn phrase_after_a_long_pause_is_alone() {
    let screens = joined(screens_of(&[("Hello.", 1000), ("Again.", 4300)]));
    assert_eq!(
        screens,
        [("Hello.".into(), 1000, 4200), ("Again.".into(), 4300, 7500)]
    );
}

#[test]
fn repeated_screens_are_few() {
    let screens = screens_of(&[("Hello.", 1000)]);
    assert!(screens.len() <= 8, "{screens:?}");
    assert!(screens.windows(2).all(|pair| pair[0].2 == pair[1].1));
}

#[test]
fn late_word_stays_for_3_s_after_it_appeared() {
    let mut captions = captions(42, 2);
    captions.push(&say("one", 1000));
    captions.advance_watermark(ms(3000));
    shown(&mut captions);
    captions.push(&say("two", 3000));
    captions.finish();
    assert_eq!(
        joined(shown(&mut captions)).pop(),
        Some(("one two".into(), 3000, 6200))
    );
}

#[test]
fn text_said_faster_than_it_is_read_stays_longer() {
    let mut captions = captions(42, 2);
    let mut words = say(
        "international organisations considered responsibilities reluctantly",
        0,
    );
    for word in &mut words {
        (word.start, word.end) = (ms(0), ms(200));
    }
    captions.push(&words);
    captions.finish();
    let letters = 14 + 14 + 11 + 17 + 12;
    let end = shown(&mut captions).pop().map(|(.., end)| end);
    assert!(
        end.is_some_and(|end| end.abs_diff(letters * 1000 / 17) < 8),
        "{end:?}"
    );
}

#[test]
fn line_that_is_full_rolls_up_and_the_top_one_goes() {
    let mut captions = captions(10, 2);
    captions.push(&say("alpha beta gamma delta zeta", 0));
    let screens: Vec<_> = shown(&mut captions)
        .into_iter()
        .map(|shown| shown.0)
        .collect();
    assert_eq!(
        screens,
        [
            "alpha",
            "alpha beta",
            "alpha beta\ngamma",
            "gamma\ndelta",
            "gamma\ndelta zeta"
        ]
    );
}

#[test]
fn utterance_begins_a_line_below_or_alone() {
    let mut captions = captions(42, 2);
    captions.push(&say("Good evening.", 0));
    captions.end_utterance();
    captions.advance_watermark(ms(700));
    captions.push(&say("Welcome.", 800));
    captions.end_utterance();
    assert_eq!(last_screen(&mut captions), "Good evening.\nWelcome.");
    captions.advance_watermark(ms(9000));
    captions.push(&say("Later.", 9100));
    assert_eq!(last_screen(&mut captions), "Later.");
}

#[test]
fn line_ends_early_for_a_better_break() {
    let screen = |text: &str| {
        let mut captions = captions(30, 3);
        captions.push(&say(text, 0));
        last_screen(&mut captions)
    };
    assert_eq!(
        screen("They came home in the evening. She was there"),
        "They came home in the evening.\nShe was there"
    );
    assert_eq!(
        screen("They met somebody at the house and went"),
        "They met somebody at the house\nand went"
    );
    assert_eq!(
        screen("Yesterday he visited the house"),
        "Yesterday he visited the house"
    );
    assert_eq!(
        screen("Yesterday everybody saw the house"),
        "Yesterday everybody saw\nthe house"
    );
}

#[test]
fn closing_mark_stays_on_its_line() {
    let mut captions = captions(20, 2);
    let mut words = say("今日 は とても 良い 。", 0);
    words
        .iter_mut()
        .skip(1)
        .for_each(|word| word.spaced = false);
    captions.push(&words);
    assert_eq!(last_screen(&mut captions), "今日はとても\n良い。");
}
