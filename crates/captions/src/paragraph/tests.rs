// SPDX-License-Identifier: MPL-2.0

use super::*;
use crate::join;

/// Words of a text at an easy pace (15 letters a second), from the start of time.
fn speech(text: &str) -> Vec<Word> {
    let mut start = Duration::ZERO;
    text.split(' ')
        .map(|text| {
            let end = start + Duration::from_millis(66 * (text.chars().count() as u64 + 1));
            let word = Word {
                text: text.into(),
                spaced: true,
                start,
                end,
                probability: 1.0,
            };
            start = end;
            word
        })
        .collect()
}

fn set(layout: Layout, words: Vec<Word>) -> Vec<Vec<String>> {
    let mut paragraph = Paragraph::new(layout);
    let mut cues = Vec::new();
    for word in words {
        if paragraph.ends_before(&word) {
            cues.extend(paragraph.close(Some(word.start)));
        }
        paragraph.push(word);
        cues.extend(std::iter::from_fn(|| paragraph.take_decided()));
    }
    cues.extend(paragraph.close(None));
    cues.iter()
        .map(|cue| cue.iter().map(|line| join(line)).collect())
        .collect()
}

fn set_text(text: &str) -> Vec<Vec<String>> {
    set(Layout::default(), speech(text))
}

#[test]
fn text_that_fits_one_line_is_one_line() {
    assert_eq!(
        set_text("Ask not what your country can do for you,"),
        [["Ask not what your country can do for you,"]]
    );
}

#[test]
fn line_breaks_at_a_comma_before_it_is_full() {
    assert_eq!(
        set_text("When the rain had stopped at last, they all walked down to the sea"),
        [[
            "When the rain had stopped at last,",
            "they all walked down to the sea"
        ]]
    );
}

#[test]
fn bottom_line_is_the_longer_one_at_equal_cost() {
    let even = set_text("aaaaaaaaaaaaaaaaaaaa bbbbb cccccccccccccccccccc");
    assert_eq!(
        even,
        [["aaaaaaaaaaaaaaaaaaaa", "bbbbb cccccccccccccccccccc"]]
    );
}

#[test]
fn article_is_not_parted_from_its_noun() {
    let cues =
        set_text("nobody who was there that evening saw the lighthouse keeper leave his tower");
    for line in cues.iter().flatten() {
        let last = line.split(' ').next_back().unwrap();
        assert!(!["the", "his", "who"].contains(&last), "{cues:?}");
    }
}

#[test]
fn sentence_of_half_a_line_has_its_own_cue() {
    assert_eq!(
        set_text("The train leaves at nine o'clock. You should not be late. No."),
        vec![
            vec!["The train leaves at nine o'clock."],
            vec!["You should not be late.",],
            vec!["No."]
        ]
    );
}

#[test]
fn sentences_that_are_short_share_a_cue() {
    assert_eq!(set_text("Yes, sir. Come in."), [["Yes, sir. Come in."]]);
}

#[test]
fn text_over_many_cues_fills_them_evenly() {
    let text = vec!["seven77"; 40].join(" ");
    let cues = set_text(&text);
    for cue in &cues {
        assert!(
            cue.len() <= 2 && cue.iter().all(|line| line.len() <= 42),
            "{cues:?}"
        );
        assert!(cue.iter().map(String::len).sum::<usize>() > 42, "{cues:?}");
    }
    assert_eq!(cues.concat().join(" "), text);
}

#[test]
fn lines_are_used_up_to_the_limit() {
    let text = "one two three four five six seven eight nine ten";
    let cues = set(
        Layout {
            max_line_length: 13,
            max_lines: 4,
        },
        speech(text),
    );
    assert_eq!(cues.len(), 1);
    assert_eq!(cues[0].len(), 4);
    assert!(cues[0].iter().all(|line| line.len() <= 13), "{cues:?}");
}

#[test]
fn chinese_breaks_between_words_not_before_a_stop() {
    let mut words = speech("我们 今天 早上 在 公园 里面 看见 了 很多 非常 漂亮 的 小鸟 。");
    words.iter_mut().for_each(|word| word.spaced = false);
    let cues = set(Layout::default(), words);
    assert_eq!(
        cues.concat().concat(),
        "我们今天早上在公园里面看见了很多非常漂亮的小鸟。"
    );
    assert!(
        cues.concat()
            .iter()
            .all(|line| line.chars().count() <= 16 && !line.starts_with('。')),
        "{cues:?}"
    );
}

#[test]
fn decided_cue_needs_two_cues_of_words_at_most() {
    let mut paragraph = Paragraph::new(Layout::default());
    let mut waiting = 0;
    for nth in 0..2000 {
        let start = Duration::from_millis(250) * nth;
        paragraph.push(Word {
            text: "word".into(),
            spaced: true,
            start,
            end: start,
            probability: 1.0,
        });
        while paragraph.take_decided().is_some() {}
        waiting = waiting.max(paragraph.words.len());
    }
    assert!(waiting <= 2 * 2 * 9, "{waiting}");
}
