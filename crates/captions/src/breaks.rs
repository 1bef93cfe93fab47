// SPDX-License-Identifier: MPL-2.0
//! How good a place between two words is to break a line or a cue.
//!
//! The rules are those of Netflix's "Timed Text Style Guide: General Requirements", section "Line
//! Treatment". Break after punctuation, before conjunctions and before prepositions. Do not part an
//! article from its noun, a pronoun or an auxiliary from its verb, a first from a last name. The
//! word lists are English; in other languages punctuation alone decides.
//!
//! In Chinese and Japanese no line begins with a closing mark or ends with an opening one: kinsoku,
//! JIS X 4051. Lines break between the words of a dictionary, in Japanese rather before a word that
//! begins with a kanji or katakana: what begins with hiragana is mostly a particle or an ending.

use crate::Word;
use crate::dictionary;

/// Cost of a line that begins or ends with a mark that must not be there.
const KINSOKU: f32 = 10.0;
/// Cost of a break inside a word.
pub const INSIDE_WORD: f32 = 6.0;
/// Cost of a break between two words that belong together.
pub const INSIDE_PAIR: f32 = 3.0;
/// Cost of a break after the end of a sentence.
const AFTER_SENTENCE: f32 = -4.0;
/// Cost of a break after the end of a clause.
const AFTER_CLAUSE: f32 = -2.0;
/// Cost of a break before a conjunction or a preposition.
const BEFORE_LINK: f32 = -1.0;

const SENTENCE_MARKS: &str = ".?!。？！｡؟۔।॥။។።";
const CLAUSE_MARKS: &str = ",;:…—–、，；：､،؛";
const CLOSING_MARKS: &str = "\"'”’»)]}」』）】》〉〕］｝";
const OPENING_MARKS: &str = "([{“‘«¿¡「『（【《〈〔［｛";
/// Small kana and marks that belong to the character before, apart from the punctuation.
const NEVER_FIRST: &str = "ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ々ゝゞ・%％%‰";

/// Words that belong to the word after them.
#[rustfmt::skip]
const LEADS_ON: &[&str] = &[
    // Articles and other determiners.
    "a", "an", "the", "my", "your", "his", "her", "its", "our", "their", "this", "that", "these", "those",
    "some", "any", "no", "every", "each",
    // Pronouns before their verb.
    "i", "you", "he", "she", "it", "we", "they", "who",
    "i'm", "you're", "he's", "she's", "it's", "we're", "they're", "i've", "you've", "we've", "they've",
    "i'll", "you'll", "he'll", "she'll", "it'll", "we'll", "they'll", "i'd", "you'd", "he'd", "she'd", "we'd", "they'd",
    // Auxiliaries before their verb.
    "am", "is", "are", "was", "were", "be", "been", "being", "have", "has", "had", "do", "does", "did",
    "will", "would", "shall", "should", "can", "could", "may", "might", "must", "not",
    "isn't", "aren't", "wasn't", "weren't", "haven't", "hasn't", "hadn't", "don't", "doesn't", "didn't",
    "won't", "wouldn't", "shan't", "shouldn't", "can't", "cannot", "couldn't", "mustn't",
    // Titles before a name.
    "mr", "mrs", "ms", "dr", "mr.", "mrs.", "ms.", "dr.", "st.", "prof.", "mister", "sir", "miss",
    "very", "more", "most", "less", "too", "so",
];

/// Conjunctions and prepositions: a line may begin with one and should not end with one.
#[rustfmt::skip]
const LINKS: &[&str] = &[
    "and", "or", "but", "nor", "yet", "because", "although", "though", "if", "unless", "while", "when",
    "where", "whether", "until", "since", "than", "as", "which", "whom", "whose",
    "of", "in", "on", "at", "to", "from", "with", "without", "by", "for", "about", "into", "onto", "over",
    "under", "through", "between", "among", "against", "during", "before", "after", "above", "below",
    "across", "behind", "beyond", "near", "toward", "towards", "upon", "within", "like",
];

/// Words whose full stop does not end a sentence.
#[rustfmt::skip]
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "st", "prof", "gen", "col", "capt", "lt", "sgt", "rev", "hon", "sen", "rep", "gov",
    "jr", "sr", "vs", "no", "vol", "approx", "inc", "ltd", "co",
];

/// Cost of a break between two neighbours; negative where a break is welcome.
pub fn cost(left: &Word, right: &Word) -> f32 {
    if sticks(left, right) {
        return if right.spaced || !joins_letters(left, right) {
            KINSOKU
        } else {
            INSIDE_WORD
        };
    }
    let before = bare(&right.text);
    let mut cost = 0.0;
    if ends_sentence(&left.text) {
        cost += AFTER_SENTENCE;
    } else if ends_clause(&left.text) {
        cost += AFTER_CLAUSE;
    } else if leads_on(&left.text) || is_name(left, right) {
        cost += INSIDE_PAIR;
    }
    if matches(LINKS, &before) {
        cost += BEFORE_LINK;
    }
    cost
}

/// Whether only a dictionary tells how good a place between the two is.
pub fn runs_on(left: &Word, right: &Word) -> bool {
    !right.spaced
        && left.text.ends_with(dictionary::knows)
        && right.text.starts_with(dictionary::knows)
}

/// Cost of a break before each of the words, which all run on; the one before the first is 0. A
/// place near the end may be judged otherwise once the next words are known.
pub fn costs_in_run(run: &[&Word]) -> Vec<f32> {
    let texts: Vec<_> = run.iter().map(|word| word.text.as_str()).collect();
    let begins = dictionary::begins_words(&texts);
    let between = |(pair, begins_word): (&[&Word], &bool)| {
        let plain = cost(pair[0], pair[1]);
        let belongs = pair[1].text.starts_with(dictionary::is_hiragana);
        plain.max(match (begins_word, belongs) {
            (false, _) => INSIDE_WORD,
            (true, true) => INSIDE_PAIR,
            (true, false) => 0.0,
        })
    };
    let costs = run.windows(2).zip(begins.iter().skip(1)).map(between);
    std::iter::once(0.0).chain(costs).take(run.len()).collect()
}

/// Whether the two look like one: a mark and its word, or two parts of a word.
fn sticks(left: &Word, right: &Word) -> bool {
    let opens = left.text.ends_with(|c| OPENING_MARKS.contains(c));
    opens || begins_with_closing(&right.text) || joins_letters(left, right)
}

/// Whether a line must not begin with this text.
pub fn begins_with_closing(text: &str) -> bool {
    // A quote or an apostrophe at the start of a word may open as well as close.
    let closing = |c: char| CLOSING_MARKS.contains(c) && !"\"'’”".contains(c);
    text.starts_with(|c| {
        closing(c)
            || SENTENCE_MARKS.contains(c)
            || CLAUSE_MARKS.contains(c)
            || NEVER_FIRST.contains(c)
    })
}

/// Whether a line should not end with this text, whatever comes next.
pub fn leads_on(text: &str) -> bool {
    let word = bare(text);
    text.ends_with(|c| OPENING_MARKS.contains(c))
        || matches(LEADS_ON, &word)
        || matches(LINKS, &word)
}

/// Whether digits, or letters of a script that puts spaces between words, meet without a space.
/// Such scripts are taken to be those with upper and lower case.
fn joins_letters(left: &Word, right: &Word) -> bool {
    let cased = |c: char| c.is_lowercase() || c.is_uppercase() || c.is_ascii_digit();
    !right.spaced && left.text.ends_with(cased) && right.text.starts_with(cased)
}

/// Two capitalised words in a row are taken for one name.
fn is_name(left: &Word, right: &Word) -> bool {
    let capitalised = |word: &Word| word.text.starts_with(char::is_uppercase);
    capitalised(left) && capitalised(right) && left.text.ends_with(char::is_alphanumeric)
}

/// Whether a sentence ends with this word.
pub fn ends_sentence(text: &str) -> bool {
    let text = text.trim_end_matches(|c| CLOSING_MARKS.contains(c));
    text.ends_with(|c| SENTENCE_MARKS.contains(c))
        && !text.ends_with("..")
        && !is_abbreviation(text)
}

fn ends_clause(text: &str) -> bool {
    let text = text.trim_end_matches(|c| CLOSING_MARKS.contains(c));
    text.ends_with(|c| CLAUSE_MARKS.contains(c)) || text.ends_with("..") || text.ends_with("--")
}

/// `Mr.`, `J.`, `U.S.`, but not `end.`
fn is_abbreviation(text: &str) -> bool {
    let Some(stem) = text.strip_suffix('.') else {
        return false;
    };
    let stem = bare(stem);
    let mut letters = stem.chars();
    let initial = letters.next().is_some_and(char::is_lowercase) && letters.next().is_none();
    let dotted =
        stem.split('.').count() > 1 && stem.split('.').all(|part| part.chars().count() == 1);
    initial || dotted || matches(ABBREVIATIONS, &stem)
}

/// In lower case, without opening marks, with the plain apostrophe.
fn bare(text: &str) -> String {
    let text = text.trim_start_matches(|c| OPENING_MARKS.contains(c) || "\"'".contains(c));
    text.to_lowercase().replace('’', "'")
}

fn matches(list: &[&str], word: &str) -> bool {
    list.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn between(left: &str, right: &str, spaced: bool) -> f32 {
        let word = |text: &str| Word {
            text: text.into(),
            spaced,
            start: Duration::ZERO,
            end: Duration::ZERO,
            probability: 1.0,
        };
        cost(&word(left), &word(right))
    }

    #[test]
    fn cost_is_least_at_a_sentence_end_then_at_a_comma() {
        assert!(between("home.", "You", true) < between("home,", "you", true));
        assert!(between("home,", "you", true) < between("home", "you", true));
        assert_eq!(between("said.”", "Then", true), AFTER_SENTENCE);
    }

    #[test]
    fn cost_keeps_together_what_belongs_together() {
        for (left, right) in [
            ("the", "house"),
            ("(The", "house"),
            ("we", "saw"),
            ("I’ve", "seen"),
            ("John", "Smith"),
        ] {
            assert_eq!(between(left, right, true), INSIDE_PAIR, "{left} {right}");
        }
        assert_eq!(between("house", "and", true), BEFORE_LINK);
        assert!(between("and", "house", true) > between("house", "and", true));
    }

    #[test]
    fn sentence_ends_at_no_abbreviation_or_ellipsis() {
        for text in ["Mr.", "J.", "U.S.", "well...", "“Dr."] {
            assert!(!ends_sentence(text), "{text}");
        }
        for text in ["end.", "end!”", "2020.", "。", "終わり。」", "क्या।", "هل؟"]
        {
            assert!(ends_sentence(text), "{text}");
        }
    }

    #[test]
    fn kinsoku_forbids_marks_at_the_wrong_end() {
        assert_eq!(between("今日", "。", false), KINSOKU);
        assert_eq!(between("「", "今日", false), KINSOKU);
        assert_eq!(between("カ", "ー", false), KINSOKU);
        assert_eq!(between("今日", "は", false), 0.0);
    }

    #[test]
    fn cost_in_a_run_is_least_before_a_phrase() {
        let words = |texts: &[&str]| -> Vec<Word> {
            let word = |text: &&str| Word {
                text: (*text).into(),
                spaced: false,
                start: Duration::ZERO,
                end: Duration::ZERO,
                probability: 1.0,
            };
            texts.iter().map(word).collect()
        };
        let costs = |texts: &[&str]| {
            let words = words(texts);
            assert!(words.windows(2).all(|pair| runs_on(&pair[0], &pair[1])));
            costs_in_run(&words.iter().collect::<Vec<_>>())
        };
        assert_eq!(
            costs(&["知", "識", "を", "深", "め", "る", "大", "切"]),
            [
                0.0,
                INSIDE_WORD,
                INSIDE_PAIR,
                0.0,
                INSIDE_WORD,
                INSIDE_WORD,
                0.0,
                INSIDE_WORD
            ]
        );
        assert_eq!(costs(&["技", "术", "正在"]), [0.0, INSIDE_WORD, 0.0]);
        assert_eq!(costs(&["データ", "ー"])[1], KINSOKU);
        let [mark, spaced] = [words(&["今日。", "良い"]), words(&["今日", "良い"])];
        assert!(!runs_on(&mark[0], &mark[1]));
        let spaced_right = Word {
            spaced: true,
            ..spaced[1].clone()
        };
        assert!(!runs_on(&spaced[0], &spaced_right));
    }

    #[test]
    fn cost_inside_a_word_needs_letters_with_case() {
        assert_eq!(between("twenty", "five", false), INSIDE_WORD);
        assert_eq!(between("ประเทศ", "ไทย", false), 0.0);
    }
}
