// SPDX-License-Identifier: MPL-2.0
//! Tokens to words with times (openai/whisper `tokenizer.py` and `timing.py`).

use std::ops::Range;

use captions::Word;

use super::{
    Attention, DecodeSession, Decoder, DecoderError, EncodedWindow, TokenFrames, token_frames,
};
use whisper_frontend::EncoderFrame;
use whisper_model::Tokenizer;

/// Marks that belong to the word after them.
const LEADING: &str = "\"'“¿([{-「『（《";
/// Marks that belong to the word before them.
const TRAILING: &str = "\"'.。,，!！?？:：”)]}、」』）》;；…";
/// Scripts that put no white space between words.
const UNSPACED: [&str; 7] = ["zh", "ja", "th", "lo", "my", "yue", "km"];
/// The longest word that counts as usual.
const LONGEST_USUAL: EncoderFrame = EncoderFrame::new(35);

/// A word and its tokens, before it has a time.
#[derive(Clone, Debug, PartialEq)]
pub struct WordTokens {
    /// Without surrounding white space.
    pub text: String,
    /// Whether white space precedes it.
    pub spaced: bool,
    /// Its tokens, counted within the text tokens that were given.
    pub tokens: Range<usize>,
}

/// Whether a language (Whisper's code) is written without spaces between words.
pub fn is_unspaced(language: &str) -> bool {
    UNSPACED.contains(&language)
}

/// What was said in a window, to be timed.
pub struct Transcript<'a> {
    /// From the start of transcript up to the task, without the no-timestamps token.
    pub start: &'a [u32],
    /// Text tokens only, no timestamps.
    pub text: &'a [u32],
    /// One for each token of `text`.
    pub probabilities: &'a [f32],
    /// The language puts no white space between words.
    pub unspaced: bool,
}

/// What was said in a window, timed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimedText {
    /// Words, their times counted from the window's start.
    pub words: Vec<Word>,
    /// The frame that each token of the text looks at most.
    pub attended: Vec<EncoderFrame>,
    /// The same of each word's first token.
    pub word_attended: Vec<EncoderFrame>,
}

impl Decoder {
    /// Words with their times from the window's start, by one teacher-forced pass. The first
    /// `content` frames of the window hold audio.
    ///
    /// # Errors
    /// Tokens that do not fit the decoder's context, or a window of another decoder.
    pub fn time_words(
        &self,
        transcript: &Transcript,
        window: &EncodedWindow,
        content: EncoderFrame,
    ) -> Result<TimedText, DecoderError> {
        let Transcript { start, text, .. } = *transcript;
        if text.is_empty() {
            return Ok(TimedText::default());
        }
        let no_timestamps = self.tokenizer().special().no_timestamps;
        let tokens = [start, &[no_timestamps], text].concat();
        let mut attention = Attention::new(window.frames());
        let mut session = DecodeSession::default();
        self.forward(&tokens, &mut session, window, Some(&mut attention))?;

        // The row of a token says what it attended to in order to predict the next one.
        let TokenFrames {
            first: frames,
            mut attended,
        } = token_frames(&attention, start.len()..tokens.len(), content);
        attended.truncate(text.len());
        let words = split_words(text, self.tokenizer(), transcript.unspaced);
        let times = words.iter().map(|word| {
            let Range { start, end } = word.tokens;
            frames[start]..frames[end]
        });
        let mut times: Vec<_> = times.collect();
        limit_durations(&words, &mut times);
        let looks = words.iter().map(|word| attended.get(word.tokens.start));
        let word_attended = looks.map(|frame| frame.copied().unwrap_or_default());
        let word_attended = word_attended.collect();
        let words = words.into_iter().zip(times).map(|(word, time)| {
            let own = &transcript.probabilities[word.tokens];
            Word {
                text: word.text,
                spaced: word.spaced,
                start: time.start.to_duration(),
                end: time.end.to_duration(),
                probability: own.iter().sum::<f32>() / own.len().max(1) as f32,
            }
        });
        Ok(TimedText {
            words: words.collect(),
            attended,
            word_attended,
        })
    }
}

/// Groups text tokens into words, punctuation joined to its word (openai/whisper `tokenizer.py`,
/// `split_to_word_tokens`; `timing.py`, `merge_punctuations`).
///
/// With white space a word begins at a token that starts with a space; without (`unspaced`), each
/// run of tokens that decodes to whole characters is a word.
pub fn split_words(text: &[u32], tokenizer: &Tokenizer, unspaced: bool) -> Vec<WordTokens> {
    let mut words: Vec<WordTokens> = Vec::new();
    let mut bytes = Vec::new();
    let mut begin = 0;
    for (index, &token) in text.iter().enumerate() {
        bytes.extend_from_slice(tokenizer.bytes(token));
        let last = index + 1 == text.len();
        let Ok(piece) = completed(&bytes, last) else {
            continue;
        };
        let tokens = begin..index + 1;
        begin = index + 1;
        bytes.clear();
        add_piece(&mut words, &piece, tokens, unspaced);
    }
    join_punctuation(words)
}

/// The text of whole characters; an error while the last one misses bytes. At the end what is
/// broken is replaced.
fn completed(bytes: &[u8], last: bool) -> Result<String, ()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        // `error_len` is None only where more bytes may complete the character.
        Err(error) if error.error_len().is_none() && !last => Err(()),
        Err(_) => Ok(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn add_piece(words: &mut Vec<WordTokens>, piece: &str, tokens: Range<usize>, unspaced: bool) {
    let spaced = piece.starts_with(char::is_whitespace);
    let text = piece.trim();
    let is_mark = !text.is_empty() && text.chars().all(|c| c.is_ascii_punctuation());
    match words.last_mut() {
        Some(word) if text.is_empty() => word.tokens.end = tokens.end,
        Some(word) if !spaced && !unspaced && !is_mark => {
            word.text.push_str(piece.trim_end());
            word.tokens.end = tokens.end;
        }
        _ => words.push(WordTokens {
            text: text.to_owned(),
            spaced,
            tokens,
        }),
    }
}

/// Glues opening marks to the word after and closing marks to the word before.
fn join_punctuation(words: Vec<WordTokens>) -> Vec<WordTokens> {
    let consists_of = |text: &str, marks: &str| text.chars().all(|c| marks.contains(c));
    let mut joined: Vec<WordTokens> = Vec::new();
    for word in words {
        match joined.last_mut() {
            // Blank text joins here too: it consists of no other character.
            Some(before) if !word.spaced && consists_of(&word.text, TRAILING) => {
                before.absorb(&word)
            }
            Some(before) if consists_of(&before.text, LEADING) && !word.spaced => {
                before.absorb(&word)
            }
            // Words that lost their space to a mark: `don't`, `3.5`, `well-known`.
            Some(before) if glued(before, &word) => before.absorb(&word),
            _ => joined.push(word),
        }
    }
    joined.retain(|word| !word.text.is_empty());
    joined
}

/// Whether two pieces without space between them belong together in a script with spaces.
fn glued(before: &WordTokens, word: &WordTokens) -> bool {
    let inner = |c: char| {
        matches!(
            c,
            '\'' | '’' | '-' | '.' | ',' | ':' | '/' | '&' | '@' | '_' | '%' | '+' | '#'
        )
    };
    !word.spaced
        && (word.text.starts_with(inner) || before.text.ends_with(inner))
        && word.text.is_ascii()
        && before.text.is_ascii()
}

impl WordTokens {
    fn absorb(&mut self, next: &WordTokens) {
        self.text.push_str(&next.text);
        self.tokens.end = next.tokens.end;
    }
}

/// Cuts words that attention stretched over a pause: none is longer than twice the usual word where
/// a sentence begins or ends, or where it stands at the edge of the window (openai/whisper
/// `timing.py`, `add_word_timestamps`).
fn limit_durations(words: &[WordTokens], times: &mut [Range<EncoderFrame>]) {
    let length = |time: &Range<EncoderFrame>| time.end.saturating_sub(time.start);
    let lengths = times.iter().map(length);
    let mut lengths: Vec<_> = lengths
        .filter(|length| *length > EncoderFrame::ZERO)
        .collect();
    if lengths.is_empty() {
        return;
    }
    lengths.sort_unstable();
    let longest = lengths[lengths.len() / 2].min(LONGEST_USUAL) * 2;
    let ends_sentence = |index: usize| {
        let text = &words[index].text;
        text.ends_with(['.', '。', '!', '！', '?', '？'])
    };
    let last = times.len() - 1;
    for (index, time) in times.iter_mut().enumerate() {
        if length(time) <= longest {
            continue;
        }
        if index == 0 || ends_sentence(index - 1) {
            time.start = time.end - longest;
        } else if ends_sentence(index) || index == last {
            time.end = time.start + longest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words from where one ends to where it ends itself, in frames, cut.
    fn limited(words: &[(&str, u64)]) -> Vec<(u64, u64)> {
        let mut times = Vec::new();
        let mut start = EncoderFrame::ZERO;
        for (_, end) in words {
            times.push(start..EncoderFrame::new(*end));
            start = EncoderFrame::new(*end);
        }
        let words = words.iter().map(|(text, _)| WordTokens {
            text: (*text).into(),
            spaced: true,
            tokens: 0..1,
        });
        limit_durations(&words.collect::<Vec<_>>(), &mut times);
        let times = times.iter().map(|time| (time.start.get(), time.end.get()));
        times.collect()
    }

    #[test]
    fn words_are_cut_where_sentences_begin_and_end() {
        let long_first = limited(&[("So", 100), ("it", 110), ("is", 120), ("said.", 200)]);
        assert_eq!(long_first, [(30, 100), (100, 110), (110, 120), (120, 190)]);
        let amid = limited(&[("a", 10), ("pause", 90), ("in", 100), ("it", 110)]);
        assert_eq!(amid[1], (10, 90));
        let after = limited(&[("No.", 10), ("Why", 90), ("is", 100), ("it", 110)]);
        assert_eq!(after[1], (70, 90));
    }

    #[test]
    fn words_without_length_are_left_alone() {
        assert_eq!(limited(&[("a", 0), ("b", 0)]), [(0, 0), (0, 0)]);
    }
}
