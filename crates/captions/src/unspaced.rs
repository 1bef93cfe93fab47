// SPDX-License-Identifier: MPL-2.0
//! Chinese and Japanese through the captioners: no line ends within a word.

use std::time::Duration;

use crate::{Captioner, Layout, Word, dictionary, join};

const TEXTS: [&str; 5] = [
    "知識を深めることが大切ですからもっと勉強しましょうと先生は生徒たちに言いました",
    "経済産業省は昨日の記者会見で新しいエネルギー政策を発表しましたが野党は反対しています",
    "この図書館には日本の歴史についての本がたくさんあるので学生がよく利用しています",
    "人工智能技术正在改变我们的生活方式所以每个人都应该学习一些基本的计算机知识",
    "人工智慧技術正在改變我們的生活方式所以每個人都應該學習一些基本的電腦知識",
];

/// The text as a recogniser gives it: parts of some letters, 150 ms each.
fn speech(text: &str, lengths: &[usize]) -> Vec<Word> {
    let letters: Vec<char> = text.chars().collect();
    let mut words: Vec<Word> = Vec::new();
    let (mut at, mut lengths) = (0, lengths.iter().cycle());
    while at < letters.len() {
        let end = letters.len().min(at + lengths.next().copied().unwrap_or(1));
        let time = |at: usize| Duration::from_millis(150 * at as u64);
        words.push(Word {
            text: letters[at..end].iter().collect(),
            spaced: words.is_empty(),
            start: time(at),
            end: time(end),
            probability: 1.0,
        });
        at = end;
    }
    words
}

/// The lines of the text. Words come in updates of so many.
fn lines(mut captioner: Captioner, words: &[Word], update: usize) -> Vec<String> {
    let mut shown: Vec<Vec<Word>> = Vec::new();
    for words in words.chunks(update) {
        captioner.push(words);
        while let Some(cue) = captioner.pop() {
            // What rolled up is the same line as before.
            let old = cue.lines.concat().len() - cue.new_words;
            let mut at = 0;
            for line in cue.lines {
                let new: Vec<_> = line[old.saturating_sub(at).min(line.len())..].to_vec();
                let continues = at < old && at + line.len() > old;
                at += line.len();
                match shown.last_mut() {
                    Some(last) if continues => last.extend(new),
                    _ if !new.is_empty() => shown.push(new),
                    _ => {}
                }
            }
        }
    }
    captioner.finish();
    while let Some(cue) = captioner.pop() {
        if cue.new_words > 0 {
            shown.extend(cue.lines);
        }
    }
    shown.iter().map(|line| join(line)).collect()
}

/// Where the lines of a text end within a word of the dictionary.
fn broken_words(lines: &[String]) -> Vec<String> {
    let parts: Vec<&str> = lines.iter().map(String::as_str).collect();
    let begins = dictionary::begins_words(&parts);
    let ends = lines.windows(2).zip(begins.iter().skip(1));
    ends.filter(|(_, begins)| !**begins)
        .map(|(pair, _)| format!("{}/{}", pair[0], pair[1]))
        .collect()
}

#[test]
fn lines_of_cues_end_with_words() {
    for text in TEXTS {
        for lengths in [&[1][..], &[2, 1], &[1, 3, 2]] {
            let lines = lines(
                Captioner::cues(Layout::default()),
                &speech(text, lengths),
                4,
            );
            assert_eq!(lines.concat(), text);
            assert!(lines.len() > 1, "{lines:?}");
            assert_eq!(broken_words(&lines), [""; 0], "{lines:?}");
        }
    }
}

#[test]
fn lines_that_roll_up_end_with_words() {
    for text in TEXTS {
        for update in [3, 5, 8, 100] {
            let captioner = Captioner::roll_up(Layout::default());
            let lines = lines(captioner, &speech(text, &[1]), update);
            assert_eq!(lines.concat(), text);
            assert!(lines.len() > 1, "{lines:?}");
            assert_eq!(broken_words(&lines), [""; 0], "{update}: {lines:?}");
        }
    }
}

#[test]
fn lines_of_japanese_do_not_begin_with_a_particle() {
    let text = "経済産業省は昨日の記者会見で新しい政策を発表しましたが野党は反対しています";
    let lines = lines(Captioner::cues(Layout::default()), &speech(text, &[1]), 5);
    let begins_with_particle = |line: &String| line.starts_with(['は', 'の', 'で', 'を', 'が']);
    assert!(!lines.iter().any(begins_with_particle), "{lines:?}");
}
