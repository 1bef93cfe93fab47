// SPDX-License-Identifier: MPL-2.0

use super::*;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn word(text: &str, start: u64, end: u64) -> Word {
    Word {
        text: text.into(),
        spaced: true,
        start: ms(start),
        end: ms(end),
        probability: 1.0,
    }
}

fn pop_all(builder: &mut CueBuilder) -> Vec<(String, u64, u64)> {
    std::iter::from_fn(|| builder.pop())
        .map(|cue| {
            (
                cue.text(),
                cue.start.as_millis() as u64,
                cue.end.as_millis() as u64,
            )
        })
        .collect()
}

fn builder() -> CueBuilder {
    CueBuilder::new(Layout::default())
}

#[test]
fn cue_lasts_until_half_a_second_after_its_last_word() {
    let mut builder = builder();
    builder.push(&[word("Good", 1000, 1800), word("evening.", 1800, 2500)]);
    builder.finish();
    assert_eq!(
        pop_all(&mut builder),
        [("Good evening.".into(), 1000, 3000)]
    );
}

#[test]
fn cue_lasts_until_it_is_read_and_for_833_ms() {
    let mut builder = builder();
    builder.push(&[
        word("Internationalisation", 0, 300),
        word("matters", 300, 400),
    ]);
    builder.end_utterance();
    builder.push(&[word("No", 9000, 9100)]);
    builder.finish();
    let reading = 28 * 1000 / 17;
    assert_eq!(
        pop_all(&mut builder),
        [
            ("Internationalisation matters".into(), 0, reading),
            ("No".into(), 9000, 9833)
        ]
    );
}

#[test]
fn cue_lasts_seven_seconds_at_most() {
    let mut builder = builder();
    builder.push(&[word("Ommmm", 0, 20_000)]);
    builder.finish();
    assert_eq!(pop_all(&mut builder), [("Ommmm".into(), 0, 7000)]);
}

#[test]
fn pause_of_a_second_parts_two_cues() {
    let mut builder = builder();
    builder.push(&[
        word("one", 0, 1000),
        word("two", 1999, 2500),
        word("three", 3500, 4000),
    ]);
    builder.finish();
    assert_eq!(
        pop_all(&mut builder),
        [("one two".into(), 0, 3000), ("three".into(), 3500, 4500)]
    );
}

#[test]
fn gap_of_less_than_half_a_second_is_closed() {
    let mut builder = builder();
    builder.push(&[word("one", 0, 1000)]);
    builder.end_utterance();
    builder.push(&[word("two", 1999, 2500)]);
    builder.finish();
    assert_eq!(
        pop_all(&mut builder),
        [("one".into(), 0, 1999), ("two".into(), 1999, 3000)]
    );
}

#[test]
fn gap_that_is_too_long_to_close_is_two_frames() {
    let mut builder = builder();
    builder.push(&[word("Ommmm", 0, 6900)]);
    builder.end_utterance();
    builder.push(&[word("again", 7050, 7300)]);
    builder.finish();
    assert_eq!(
        pop_all(&mut builder),
        [("Ommmm".into(), 0, 6970), ("again".into(), 7050, 7883)]
    );
}

#[test]
fn cue_is_held_until_its_end_is_known() {
    let mut builder = builder();
    builder.push(&[word("Wait", 1000, 1500), word("here.", 1500, 2000)]);
    assert_eq!(builder.watermark(), Some(ms(1000)));
    builder.end_utterance();
    assert_eq!(builder.pop(), None);
    builder.advance_watermark(ms(2999));
    assert_eq!(
        builder.pop(),
        None,
        "a word at 2999 would lengthen the cue up to there"
    );
    builder.advance_watermark(ms(3000));
    assert_eq!(pop_all(&mut builder), [("Wait here.".into(), 1000, 2500)]);
    assert_eq!(builder.watermark(), Some(ms(3000)));
}

#[test]
fn watermark_a_second_on_ends_a_cue() {
    let mut builder = builder();
    builder.push(&[word("Hello", 0, 1000)]);
    builder.advance_watermark(ms(2000));
    assert_eq!(pop_all(&mut builder), [("Hello".into(), 0, 1500)]);
}

#[test]
fn sentence_comes_out_when_the_next_one_begins() {
    let mut builder = builder();
    let mut at = 0;
    for text in "The train leaves at nine o'clock. You".split(' ') {
        builder.push(&[word(text, at, at + 300)]);
        at += 300;
    }
    assert_eq!(
        pop_all(&mut builder),
        [("The train leaves at nine o'clock.".into(), 0, 1800)]
    );
    assert_eq!(builder.watermark(), Some(ms(1800)));
}

#[test]
fn watermark_is_none_before_anything_is_known() {
    assert_eq!(builder().watermark(), None);
    let mut builder = builder();
    builder.push(&[word(" \n", 100, 200)]);
    builder.finish();
    assert_eq!((builder.pop(), builder.watermark()), (None, None));
    builder.advance_watermark(ms(700));
    assert_eq!(builder.watermark(), Some(ms(700)));
}

#[test]
fn word_longer_than_a_line_is_cut_to_lines() {
    let mut builder = builder();
    builder.push(&[word("so", 0, 100), word(&"x".repeat(100), 100, 1100)]);
    builder.finish();
    let cues: Vec<_> = std::iter::from_fn(|| builder.pop()).collect();
    let text: String = cues
        .iter()
        .flat_map(|cue| cue.lines.concat())
        .map(|word| word.text)
        .collect();
    assert_eq!(text, format!("so{}", "x".repeat(100)));
    assert!(
        cues.iter()
            .all(|cue| cue.text().lines().all(|line| line.len() <= 42)),
        "{cues:?}"
    );
}
