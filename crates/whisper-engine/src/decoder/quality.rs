// SPDX-License-Identifier: MPL-2.0
//! What texts look like that were invented: they repeat themselves (openai/whisper `transcribe.py`), or
//! are phrases that models write over noise.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

/// What models learned from subtitles to write over noise, in any case and punctuation.
const KNOWN_HALLUCINATIONS: [&str; 18] = [
    "thank you",
    "thank you very much",
    "thanks for watching",
    "thank you for watching",
    "please subscribe",
    "subtitles by the amara org community",
    "you",
    "bye",
    "so",
    "oh",
    "the end",
    "music",
    "ご視聴ありがとうございました",
    "untertitel im auftrag des zdf",
    "sous titres réalisés par la communauté d amara org",
    "subtítulos realizados por la comunidad de amara org",
    "请不吝点赞 订阅 转发 打赏",
    "字幕由amara org社区提供",
];

/// Sounds that models write over noise, each letter once however often it comes.
const KNOWN_SOUNDS: [&str; 13] = [
    "m", "hm", "mhm", "uh", "ah", "oh", "o", "wo", "whoa", "woah", "argh", "sh", "wow",
];

/// Whether the text is a phrase that models hallucinate over noise, and nothing else.
pub fn is_known_hallucination(text: &str) -> bool {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let is_sound = |word: &String| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.dedup();
        KNOWN_SOUNDS.contains(&letters.iter().collect::<String>().as_str())
    };
    KNOWN_HALLUCINATIONS.contains(&words.join(" ").as_str())
        || (!words.is_empty() && words.iter().all(is_sound))
}

/// Bytes of the text over bytes of its zlib stream; 0 for no text.
pub fn compression_ratio(text: &str) -> f32 {
    if text.is_empty() {
        return 0.0;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let compressed = encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish());
    // Writing into a Vec does not fail; were it to, the text would count as incompressible.
    compressed.map_or(0.0, |bytes| text.len() as f32 / bytes.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hallucinations_are_whole_texts_in_any_case() {
        assert!(is_known_hallucination(" Thank you.") && is_known_hallucination("YOU"));
        assert!(!is_known_hallucination(" Thank you, Mr. Hale.") && !is_known_hallucination(""));
    }

    #[test]
    fn sounds_that_are_no_words_are_known_however_long() {
        assert!(is_known_hallucination(" Whoooa!") && is_known_hallucination("Mmm, mmm."));
        assert!(!is_known_hallucination(" Oh dear"));
    }

    #[test]
    fn plain_sentences_compress_less_than_the_limit() {
        let text = "there's iron they say in all our blood and a grain or two perhaps is good";
        assert!(compression_ratio(text) < 1.5);
        assert_eq!(compression_ratio(""), 0.0);
    }
}
