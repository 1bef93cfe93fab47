// SPDX-License-Identifier: MPL-2.0
//! Where words begin in Chinese and Japanese, which put no spaces between them.
//!
//! ICU's dictionary of both languages decides. It takes two megabytes of the program; those of
//! Thai, Lao, Khmer and Burmese would take as much again, and are left out.

use std::sync::LazyLock;

use icu_provider::prelude::*;
use icu_segmenter::WordSegmenter;
use icu_segmenter::provider::{Baked, SegmenterDictionaryAutoV2, SegmenterDictionaryExtendedV2};

/// The compiled data without the dictionaries of other languages.
struct ChineseAndJapanese;

impl DataProvider<SegmenterDictionaryAutoV2> for ChineseAndJapanese {
    fn load(
        &self,
        request: DataRequest,
    ) -> Result<DataResponse<SegmenterDictionaryAutoV2>, DataError> {
        Baked.load(request)
    }
}

impl DataProvider<SegmenterDictionaryExtendedV2> for ChineseAndJapanese {
    fn load(
        &self,
        _: DataRequest,
    ) -> Result<DataResponse<SegmenterDictionaryExtendedV2>, DataError> {
        Err(DataErrorKind::IdentifierNotFound.into_error())
    }
}

static SEGMENTER: LazyLock<WordSegmenter> = LazyLock::new(|| {
    let rules = WordSegmenter::new_for_non_complex_scripts(Default::default());
    let mut segmenter = rules.static_to_owned();
    segmenter
        .load_dictionary_unstable(&ChineseAndJapanese)
        .expect("the dictionary is compiled in");
    segmenter
});

/// Whether a word begins with each of the parts of a text. The first one counts as a beginning.
pub fn begins_words(parts: &[&str]) -> Vec<bool> {
    let text = parts.concat();
    let mut begins = SEGMENTER.as_borrowed().segment_str(&text).peekable();
    let mut at = 0;
    let mut found = Vec::with_capacity(parts.len());
    for part in parts {
        while begins.next_if(|begin| *begin < at).is_some() {}
        found.push(begins.peek() == Some(&at));
        at += part.len();
    }
    found
}

/// Whether the dictionary has words with this letter.
pub fn knows(letter: char) -> bool {
    is_hiragana(letter)
        || matches!(letter,
            // Katakana without its middle dot, and its half-width forms.
            '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}'
            | '\u{ff66}'..='\u{ff9f}'
            // Han, its marks of repetition and its zero.
            | '\u{3005}'..='\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// The script of Japanese particles and endings.
pub fn is_hiragana(letter: char) -> bool {
    matches!(letter, '\u{3041}'..='\u{309f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_where_the_dictionary_says() {
        for (parts, expected) in [
            (&["知", "識", "を"][..], &[true, false, true][..]),
            (
                &["学", "习", "中", "文", "知", "识"],
                &[true, false, true, false, true, false],
            ),
            (&["學", "習", "知識"], &[true, false, true]),
            (&["自転", "車"], &[true, false]),
            // A part may hold more than a word, and end within one.
            (&["知識を深", "める"], &[true, false]),
            (&["知"], &[true]),
            (&[], &[]),
        ] {
            assert_eq!(begins_words(parts), expected, "{parts:?}");
        }
    }

    #[test]
    fn letters_are_known_by_their_script() {
        for letter in "知识々〇ぁんァヶーｱ𠮷".chars() {
            assert!(knows(letter), "{letter}");
        }
        for letter in "a1。、・「」 ！한ไ🙂".chars() {
            assert!(!knows(letter), "{letter}");
        }
    }
}
