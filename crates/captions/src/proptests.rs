// SPDX-License-Identifier: MPL-2.0
//! The promises of [`Captioner`] and [`Writer`], on random words in random updates.

use std::time::Duration;

use proptest::prelude::*;

use crate::width::width;
use crate::{Captioner, Cue, Format, Layout, Word, Writer, sanitizer};

/// What a recogniser may tell a captioner.
#[derive(Clone, Debug)]
enum Step {
    Words(Vec<Word>),
    EndOfUtterance,
    /// Milliseconds from the last word's end to the watermark.
    Watermark(u64),
    Finish,
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-zA-Z]{1,12}[.,?!]?",
        2 => prop::sample::select(vec![
            "the", "and", "Mr.", "", " ", "\n", "\u{200b}", "-->", "--->", "--", ">", "<b>", "&amp;", "a\nb", " two words ",
            "שלום", "مرحبا؟", "👩‍👩‍👧‍👦", "e\u{301}\u{323}", "\u{301}", "今日は", "。", "「", "한국어", "ประเทศไทย", "नमस्ते।", "1\n\n2",
        ]).prop_map(String::from),
        1 => "[一-龥]{1,4}[。、]?",
        1 => ".{0,60}",
        1 => "[a-z]{40,200}",
    ]
}

/// Words whose starts drift on by up to some seconds, and now and then back or by hours.
fn any_words(start: u64) -> impl Strategy<Value = Vec<Word>> {
    let advance = prop_oneof![6 => 50i64..600, 2 => Just(0i64), 1 => -300i64..0, 1 => 600i64..5000, 1 => Just(7_200_000i64)];
    let duration = prop_oneof![4 => 20u64..700, 1 => Just(0u64), 1 => 700u64..20_000];
    let probability = prop_oneof![4 => 0f32..=1.0, 1 => Just(f32::NAN)];
    prop::collection::vec(
        (
            any_text(),
            prop::bool::weighted(0.8),
            advance,
            duration,
            probability,
        ),
        0..30,
    )
    .prop_map(move |drawn| {
        let mut at = start;
        let word =
            |(text, spaced, advance, duration, probability): (String, bool, i64, u64, f32)| {
                at = at.saturating_add_signed(advance);
                let (start, end) = (
                    Duration::from_millis(at),
                    Duration::from_millis(at + duration),
                );
                Word {
                    text,
                    spaced,
                    start,
                    end,
                    probability,
                }
            };
        drawn.into_iter().map(word).collect()
    })
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let words = (0u64..100_000)
        .prop_flat_map(any_words)
        .prop_map(Step::Words);
    let step = prop_oneof![6 => words, 1 => Just(Step::EndOfUtterance), 2 => (0u64..3000).prop_map(Step::Watermark), 1 => Just(Step::Finish)];
    prop::collection::vec(step, 0..8)
}

fn any_layout() -> impl Strategy<Value = Layout> {
    let layout = |(max_line_length, max_lines)| Layout {
        max_line_length,
        max_lines,
    };
    prop_oneof![2 => Just(Layout::default()), 1 => (0usize..70, 0usize..5).prop_map(layout)]
}

fn pop_into(captioner: &mut Captioner, cues: &mut Vec<Cue>) -> Result<(), TestCaseError> {
    loop {
        let watermark = captioner.watermark();
        let Some(cue) = captioner.pop() else {
            return Ok(());
        };
        prop_assert!(
            watermark.is_some_and(|watermark| watermark <= cue.start),
            "{watermark:?} {cue:?}"
        );
        prop_assert!(captioner.watermark() >= Some(cue.end), "{cue:?}");
        cues.push(cue);
    }
}

/// Takes all steps, and pops what is ready after each.
fn run(mut captioner: Captioner, steps: &[Step]) -> Result<Vec<Cue>, TestCaseError> {
    let mut cues = Vec::new();
    let mut last_end = Duration::ZERO;
    for step in steps {
        let watermark = captioner.watermark();
        match step {
            Step::Words(words) => {
                captioner.push(words);
                last_end = words
                    .iter()
                    .map(|word| word.end)
                    .fold(last_end, Duration::max);
            }
            Step::EndOfUtterance => captioner.end_utterance(),
            Step::Watermark(after) => {
                captioner.advance_watermark(last_end + Duration::from_millis(*after))
            }
            Step::Finish => captioner.finish(),
        }
        prop_assert!(
            captioner.watermark() >= watermark,
            "went back from {watermark:?}"
        );
        pop_into(&mut captioner, &mut cues)?;
    }
    captioner.finish();
    pop_into(&mut captioner, &mut cues)?;
    Ok(cues)
}

/// All visible text that went in, without any space: cues may cut words and break lines.
fn text_in(steps: &[Step]) -> String {
    let words = steps.iter().filter_map(|step| {
        if let Step::Words(words) = step {
            Some(words)
        } else {
            None
        }
    });
    let texts = words.flatten().map(|word| sanitizer::clean(&word.text));
    texts.collect::<String>().replace(' ', "")
}

/// The text that each cue was the first to show.
fn text_out(cues: &[Cue]) -> String {
    let words = cues.iter().flat_map(Cue::new_words);
    words
        .map(|word| word.text.as_str())
        .collect::<String>()
        .replace(' ', "")
}

fn check_times(cues: &[Cue], longest: Duration) -> Result<(), TestCaseError> {
    for cue in cues {
        prop_assert!(
            cue.start < cue.end && cue.end <= cue.start + longest,
            "{cue:?}"
        );
    }
    for pair in cues.windows(2) {
        prop_assert!(pair[0].end <= pair[1].start, "{pair:?}");
    }
    let words: Vec<_> = cues.iter().flat_map(Cue::new_words).collect();
    prop_assert!(words.iter().all(|word| word.start <= word.end));
    prop_assert!(words.windows(2).all(|pair| pair[0].start <= pair[1].start));
    Ok(())
}

fn check_lines(cues: &[Cue], layout: Layout) -> Result<(), TestCaseError> {
    for cue in cues {
        prop_assert!(
            (1..=layout.max_lines.max(1)).contains(&cue.lines.len()),
            "{cue:?}"
        );
        for line in cue.text().split('\n') {
            prop_assert!(width(line) > 0 && width(line) <= layout.line(), "{line:?}");
            prop_assert_eq!(line, line.trim());
        }
    }
    Ok(())
}

/// What is on the screen after another cue: the same with words added at the end, after lines went
/// at the top.
fn check_rolls(before: &Cue, after: &Cue) -> Result<(), TestCaseError> {
    let old = after.lines.concat().len() - after.new_words;
    if old == 0 {
        // The screen was empty, or had one line that went.
        return Ok(());
    }
    prop_assert_eq!(before.end, after.start, "flickers: {:?}", after);
    let rolls = |gone: usize| {
        let kept = &before.lines[gone..];
        let same = after.lines.iter().zip(kept);
        let begin_alike = same.clone().all(|(now, then)| now.starts_with(then));
        let only_bottom_grows = same.take(kept.len() - 1).all(|(now, then)| now == then);
        begin_alike && only_bottom_grows && kept.concat().len() == old
    };
    prop_assert!((0..before.lines.len()).any(rolls), "{before:?} {after:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cues_hold_each_word_once_in_order_within_limits(layout in any_layout(), steps in any_steps()) {
        let cues = run(Captioner::cues(layout), &steps)?;
        prop_assert_eq!(text_out(&cues), text_in(&steps));
        check_times(&cues, Duration::from_secs(7))?;
        check_lines(&cues, layout)?;
    }

    #[test]
    fn roll_up_shows_each_word_and_never_moves_one(layout in any_layout(), steps in any_steps()) {
        let cues = run(Captioner::roll_up(layout), &steps)?;
        prop_assert_eq!(text_out(&cues), text_in(&steps));
        check_times(&cues, Duration::from_secs(7))?;
        check_lines(&cues, layout)?;
        for pair in cues.windows(2) {
            check_rolls(&pair[0], &pair[1])?;
        }
    }

    #[test]
    fn roll_up_shows_words_at_once(layout in any_layout(), words in any_words(0), cut in 1usize..7) {
        let mut captioner = Captioner::roll_up(layout);
        for chunk in words.chunks(cut) {
            captioner.push(chunk);
            let mut cues = Vec::new();
            pop_into(&mut captioner, &mut cues)?;
            prop_assert_eq!(text_out(&cues), text_in(&[Step::Words(chunk.to_vec())]));
        }
    }

    #[test]
    fn words_are_cues_of_their_own(steps in any_steps()) {
        let cues = run(Captioner::words(), &steps)?;
        prop_assert_eq!(text_out(&cues), text_in(&steps));
        check_times(&cues, Duration::from_secs(7))?;
        for cue in &cues {
            prop_assert_eq!(cue.lines.concat().len(), 1);
            let text = cue.text();
            prop_assert_eq!(text.trim(), text.as_str());
        }
    }

    #[test]
    fn cues_do_not_depend_on_the_cut_into_updates(words in any_words(0), cut in 1usize..7) {
        let whole = run(Captioner::cues(Layout::default()), &[Step::Words(words.clone())])?;
        let steps: Vec<_> = words.chunks(cut).map(|chunk| Step::Words(chunk.to_vec())).collect();
        prop_assert_eq!(run(Captioner::cues(Layout::default()), &steps)?, whole);
    }

    #[test]
    fn cues_are_held_for_14_s_at_most(texts in prop::collection::vec("[a-z]{1,12}", 50..150), pace in 60u64..900) {
        let mut captioner = Captioner::cues(Layout::default());
        for (nth, text) in texts.into_iter().enumerate() {
            let now = Duration::from_millis(pace * nth as u64);
            captioner.push(&[Word { text, spaced: true, start: now, end: now + Duration::from_millis(50), probability: 1.0 }]);
            while captioner.pop().is_some() {}
            let waiting = now.saturating_sub(captioner.watermark().unwrap_or(now));
            prop_assert!(waiting <= Duration::from_secs(14), "{waiting:?}");
        }
    }

    #[test]
    fn files_read_back_as_they_were_written(steps in any_steps()) {
        let cues = run(Captioner::cues(Layout::default()), &steps)?;
        let file = |format| {
            let mut writer = Writer::new(format);
            let head = if cues.is_empty() { writer.header() } else { None };
            head.unwrap_or_default() + &cues.iter().map(|cue| writer.write(cue)).collect::<String>()
        };
        let mut plain = Writer::new(Format::Utf8);
        let nearest = |time: Duration| ((time.as_nanos() + 500_000) / 1_000_000) as u64;
        let shown: Vec<_> = cues.iter().map(|cue| (nearest(cue.start), nearest(cue.end), plain.write(cue))).collect();
        // SubRip parts markup from its bracket.
        let joined = |shown: Vec<(u64, u64, String)>| -> Vec<_> {
            let join = |text: String| text.replace("< ", "<").replace("{ ", "{");
            shown.into_iter().map(|(start, end, text)| (start, end, join(text))).collect()
        };
        prop_assert_eq!(strict::subrip(&file(Format::SubRip)).map(joined), Ok(joined(shown.clone())));
        prop_assert_eq!(strict::webvtt(&file(Format::WebVtt)), Ok(shown.clone()));
        for (line, (start, end, text)) in file(Format::JsonLines).lines().zip(&shown) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            prop_assert_eq!(value["text"].as_str(), Some(text.as_str()));
            prop_assert_eq!(value["start"].as_f64(), Some(*start as f64 / 1000.0));
            prop_assert_eq!(value["end"].as_f64(), Some(*end as f64 / 1000.0));
        }
        for (_, _, text) in &shown {
            prop_assert!(!text.contains("-->") && !text.contains("\n\n"));
            prop_assert!(text.split('\n').all(|line| !line.trim().is_empty() && !line.contains(char::is_control)));
        }
    }
}

/// Readers that refuse what the formats' grammars do not have.
mod strict {
    type Shown = (u64, u64, String);

    fn number(text: &str, digits: usize) -> Result<u64, String> {
        let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        if plain {
            text.parse().map_err(|_| text.to_owned())
        } else {
            Err(format!("no number: {text:?}"))
        }
    }

    fn time(text: &str, point: char) -> Result<u64, String> {
        let (hms, milliseconds) = text.split_once(point).ok_or("no point")?;
        let [hours, minutes, seconds] = hms.split(':').collect::<Vec<_>>()[..] else {
            return Err(hms.to_owned());
        };
        let hours = number(hours, hours.len().max(2))?;
        let (minutes, seconds) = (number(minutes, 2)?, number(seconds, 2)?);
        if minutes > 59 || seconds > 59 {
            return Err(hms.to_owned());
        }
        Ok(((hours * 60 + minutes) * 60 + seconds) * 1000 + number(milliseconds, 3)?)
    }

    fn block(block: &str, point: char) -> Result<Shown, String> {
        let (times, text) = block.split_once('\n').ok_or("no text")?;
        let (start, end) = times
            .split_once(" --> ")
            .ok_or_else(|| format!("no times: {times:?}"))?;
        if text.is_empty() || text.contains("-->") {
            return Err(format!("text: {text:?}"));
        }
        Ok((time(start, point)?, time(end, point)?, text.to_owned()))
    }

    /// Blocks between blank lines, each of them ended by one.
    fn blocks(file: &str) -> Result<Vec<&str>, String> {
        if file.is_empty() {
            return Ok(Vec::new());
        }
        let body = file
            .strip_suffix("\n\n")
            .ok_or("no blank line at the end")?;
        Ok(body.split("\n\n").collect())
    }

    pub fn subrip(file: &str) -> Result<Vec<Shown>, String> {
        let numbered = blocks(file)?.into_iter().zip(1..);
        numbered
            .map(|(text, nth): (&str, u64)| {
                block(
                    text.strip_prefix(&format!("{nth}\n"))
                        .ok_or(format!("not cue {nth}: {text:?}"))?,
                    ',',
                )
            })
            .collect()
    }

    pub fn webvtt(file: &str) -> Result<Vec<Shown>, String> {
        let body = file.strip_prefix("WEBVTT\n\n").ok_or("no header")?;
        let shown = blocks(body)?.into_iter().map(|text| {
            let (start, end, text) = block(text, '.')?;
            if text.contains(['<', '>']) {
                return Err(format!("not escaped: {text:?}"));
            }
            Ok((
                start,
                end,
                text.replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&amp;", "&"),
            ))
        });
        shown.collect()
    }
}
