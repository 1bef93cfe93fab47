// SPDX-License-Identifier: MPL-2.0
//! Tokens to words with times (openai/whisper `tokenizer.py` and `timing.py`).

use std::ops::Range;

use super::{Attention, DecodeSession, Decoder, DecoderError, EncodedWindow, token_frames};
use whisper_model::Tokenizer;

/// Seconds in one row of the encoder's output.
const FRAME_SECONDS: f32 = 0.02;
/// Marks that belong to the word after them.
const LEADING: &str = "\"'“¿([{-「『（《";
/// Marks that belong to the word before them.
const TRAILING: &str = "\"'.。,，!！?？:：”)]}、」』）》;；…";
/// Scripts that put no white space between words.
const UNSPACED: [&str; 7] = ["zh", "ja", "th", "lo", "my", "yue", "km"];

/// A word with seconds from the start of its window.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedWord {
    /// Without surrounding white space.
    pub text: String,
    /// Whether white space precedes it.
    pub spaced: bool,
    pub start: f32,
    pub end: f32,
    pub probability: f32,
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

impl Decoder {
    /// Words with their times, from one teacher-forced pass. `content` counts the window's 20 ms frames that
    /// hold audio.
    pub fn time_words(
        &self,
        transcript: &Transcript,
        audio: &EncodedWindow,
        tokenizer: &Tokenizer,
        content: usize,
    ) -> Result<Vec<TimedWord>, DecoderError> {
        let Transcript {
            start,
            text,
            probabilities,
            unspaced,
        } = *transcript;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let special = tokenizer.special();
        let mut tokens = start.to_vec();
        tokens.push(special.no_timestamps);
        tokens.extend_from_slice(text);
        let mut attention = Attention::new(audio.frames());
        self.forward(
            &tokens,
            &mut DecodeSession::default(),
            audio,
            Some(&mut attention),
        )?;

        // The row of a token says what it looked at to predict the next one.
        let frames = token_frames(&attention, start.len()..tokens.len(), content);
        let mut words = split_words(text, tokenizer, unspaced);
        for word in &mut words {
            word.start = frames[word.tokens.start] as f32 * FRAME_SECONDS;
            word.end = frames[word.tokens.end] as f32 * FRAME_SECONDS;
            let own = &probabilities[word.tokens.clone()];
            word.probability = own.iter().sum::<f32>() / own.len().max(1) as f32;
        }
        limit_durations(&mut words);
        Ok(words)
    }
}

/// Groups text tokens into words, punctuation joined to its word; times and probabilities are left at zero.
///
/// With white space a word begins at a token that starts with a space; without (`unspaced`), each run of tokens
/// that decodes to whole characters is a word.
pub fn split_words(text: &[u32], tokenizer: &Tokenizer, unspaced: bool) -> Vec<TimedWord> {
    let mut words: Vec<TimedWord> = Vec::new();
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

/// The text of whole characters; an error while the last one misses bytes. At the end what is broken is replaced.
fn completed(bytes: &[u8], last: bool) -> Result<String, ()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        // `error_len` is None only where more bytes may complete the character.
        Err(error) if error.error_len().is_none() && !last => Err(()),
        Err(_) => Ok(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn add_piece(words: &mut Vec<TimedWord>, piece: &str, tokens: Range<usize>, unspaced: bool) {
    let spaced = piece.starts_with(char::is_whitespace);
    let text = piece.trim();
    let is_mark = !text.is_empty() && text.chars().all(|c| c.is_ascii_punctuation());
    match words.last_mut() {
        Some(word) if text.is_empty() => word.tokens.end = tokens.end,
        Some(word) if !spaced && !unspaced && !is_mark => {
            word.text.push_str(piece.trim_end());
            word.tokens.end = tokens.end;
        }
        _ => words.push(TimedWord {
            text: text.to_owned(),
            spaced,
            start: 0.0,
            end: 0.0,
            probability: 0.0,
            tokens,
        }),
    }
}

/// Glues opening marks to the word after and closing marks to the word before.
fn join_punctuation(words: Vec<TimedWord>) -> Vec<TimedWord> {
    let consists_of = |text: &str, marks: &str| text.chars().all(|c| marks.contains(c));
    let mut joined: Vec<TimedWord> = Vec::new();
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
fn glued(before: &TimedWord, word: &TimedWord) -> bool {
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

impl TimedWord {
    fn absorb(&mut self, next: &TimedWord) {
        self.text.push_str(&next.text);
        self.tokens.end = next.tokens.end;
    }
}

/// Cuts words that attention stretched over a pause: none is longer than twice the usual word
/// where a sentence begins or ends, or where it stands at the edge of the window.
fn limit_durations(words: &mut [TimedWord]) {
    let mut durations: Vec<f32> = words
        .iter()
        .map(|word| word.end - word.start)
        .filter(|d| *d > 0.0)
        .collect();
    if durations.is_empty() {
        return;
    }
    durations.sort_unstable_by(f32::total_cmp);
    let median = durations[durations.len() / 2].min(0.7);
    let longest = 2.0 * median;
    let ends_sentence = |text: &str| text.ends_with(['.', '。', '!', '！', '?', '？']);
    for index in 0..words.len() {
        let word = &words[index];
        if word.end - word.start <= longest {
            continue;
        }
        if index == 0 || ends_sentence(&words[index - 1].text) {
            words[index].start = word.end - longest;
        } else if ends_sentence(&word.text) || index + 1 == words.len() {
            words[index].end = word.start + longest;
        }
    }
}
