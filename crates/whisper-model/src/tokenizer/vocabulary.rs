// SPDX-License-Identifier: MPL-2.0
//! Vocabularies as the formats store them.

use std::collections::HashMap;

use serde::Deserialize;

use crate::bounded::{BoundedList, BoundedMap};
use crate::config::MAX_VOCAB;
use crate::error::ParseError;

const END_OF_TEXT: &[u8] = b"<|endoftext|>";

/// The tokens by number, as bytes; special tokens, where a file has them, by their names.
pub struct Vocabulary {
    tokens: Vec<Box<[u8]>>,
}

impl Vocabulary {
    /// Raw bytes: ggml files.
    pub fn from_bytes(tokens: Vec<Box<[u8]>>) -> Self {
        Vocabulary { tokens }
    }

    /// CTranslate2's `vocabulary.json`: a list of byte-level strings.
    pub fn from_json_list(json: &[u8]) -> Result<Self, ParseError> {
        let tokens: TokenList<String> = serde_json::from_slice(json).map_err(unexpected)?;
        Self::from_byte_level(tokens.0.iter().map(String::as_str))
    }

    /// CTranslate2's `vocabulary.txt`: byte-level strings, one a line. A token may be empty, so
    /// that lines count.
    pub fn from_lines(text: &[u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(text).map_err(unexpected)?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Self::from_byte_level(text.split('\n'))
    }

    /// `vocab.json` of a slow Hugging Face tokenizer: strings to numbers. The special tokens are
    /// elsewhere.
    pub fn from_vocab_json(json: &[u8]) -> Result<Self, ParseError> {
        let vocab: TokenMap = serde_json::from_slice(json).map_err(unexpected)?;
        Self::from_numbered(vocab, TokenList::default())
    }

    /// `tokenizer.json` of a fast Hugging Face tokenizer: the vocabulary and added tokens.
    pub fn from_tokenizer_json(json: &[u8]) -> Result<Self, ParseError> {
        let file: TokenizerFile = serde_json::from_slice(json).map_err(unexpected)?;
        Self::from_numbered(file.model.vocab, file.added_tokens)
    }

    fn from_byte_level<'a>(tokens: impl Iterator<Item = &'a str>) -> Result<Self, ParseError> {
        let bytes = byte_level_bytes();
        let decode = |token: &str| {
            token
                .chars()
                .map(|c| bytes.get(&c).copied())
                .collect::<Option<Box<[u8]>>>()
        };
        let tokens = tokens.enumerate().map(|(number, token)| {
            decode(token).ok_or_else(|| {
                ParseError::malformed(format!("token {number} ({token:?}) is not byte-level"))
            })
        });
        // One token more than may be is enough to be refused.
        let tokens = tokens.take(MAX_VOCAB + 1).collect::<Result<Vec<_>, _>>()?;
        Ok(Vocabulary { tokens })
    }

    fn from_numbered(vocab: TokenMap, added: TokenList<AddedToken>) -> Result<Self, ParseError> {
        let (vocab, added) = (vocab.0, added.0);
        let listed = vocab.len() + added.len();
        let mut tokens: Vec<Option<&str>> = vec![None; listed.min(MAX_VOCAB)];
        let numbered = vocab
            .iter()
            .map(|(token, number)| (token.as_str(), *number));
        for (token, number) in
            numbered.chain(added.iter().map(|added| (added.content.as_str(), added.id)))
        {
            // Numbers without gaps are below the count; the end token may be listed in both places.
            let slot = tokens.get_mut(number as usize);
            let slot =
                slot.ok_or_else(|| ParseError::malformed(format!("token {number} of {listed}")))?;
            if slot.is_some_and(|other| other != token) {
                return Err(ParseError::malformed(format!(
                    "two tokens have the number {number}"
                )));
            }
            *slot = Some(token);
        }
        let count = tokens.iter().take_while(|token| token.is_some()).count();
        if tokens[count..].iter().any(Option::is_some) {
            return Err(ParseError::malformed(format!("there is no token {count}")));
        }
        Self::from_byte_level(tokens.into_iter().flatten())
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Number of the end token, which follows the text tokens. Files that do not name it list text
    /// tokens only.
    pub fn end_of_text(&self) -> u32 {
        // There is one such name, near the end.
        let end = self
            .tokens
            .iter()
            .rposition(|token| **token == *END_OF_TEXT)
            .unwrap_or(self.tokens.len());
        u32::try_from(end).unwrap_or(u32::MAX)
    }

    /// Whether a token has one of these names or is not listed.
    pub fn allows(&self, token: u32, names: &[&str]) -> bool {
        let listed = self.tokens.get(token as usize);
        listed.is_none_or(|listed| names.iter().any(|name| **listed == *name.as_bytes()))
    }

    /// The text tokens: those before the end token.
    pub fn into_text(mut self, eot: u32) -> Vec<Box<[u8]>> {
        self.tokens.truncate(eot as usize);
        self.tokens
    }
}

#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: TokenList<AddedToken>,
    model: TokenizerModel,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct TokenizerModel {
    vocab: TokenMap,
}

/// One token more than may be is enough to be refused.
type TokenList<T> = BoundedList<T, { MAX_VOCAB + 1 }>;
type TokenMap = BoundedMap<u32, { MAX_VOCAB + 1 }>;

fn unexpected(error: impl std::fmt::Display) -> ParseError {
    ParseError::malformed(format!("not a vocabulary: {error}"))
}

/// GPT-2's printable stand-ins for bytes: Latin-1 characters that print stand for themselves, the
/// others are numbered from U+0100 on in the order of their values (`bytes_to_unicode` of
/// openai/gpt-2).
fn byte_level_bytes() -> HashMap<char, u8> {
    let prints = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let themselves = (0..=255)
        .filter(prints)
        .map(|byte| (char::from(byte), byte));
    let others = (0..=255)
        .filter(|byte| !prints(byte))
        .zip('\u{100}'..)
        .map(|(byte, stand_in)| (stand_in, byte));
    themselves.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_stand_in() {
        let map = byte_level_bytes();
        assert_eq!(map.len(), 256);
        assert_eq!(map[&'Ġ'], b' ');
        assert_eq!(map[&'Ċ'], b'\n');
        assert_eq!(map[&'é'], 0xe9);
        assert_eq!(map[&'Ń'], 0xad);
    }

    #[test]
    fn vocabulary_lines_may_be_empty() {
        let vocabulary = Vocabulary::from_lines("a\n\nĠb\n".as_bytes()).unwrap();
        assert_eq!(
            vocabulary.tokens,
            [
                b"a".as_slice().into(),
                b"".as_slice().into(),
                b" b".as_slice().into()
            ]
        );
    }

    #[test]
    fn numbers_with_gaps_or_given_twice_are_refused() {
        let read = |json: &str| Vocabulary::from_vocab_json(json.as_bytes());
        assert_eq!(read(r#"{"b": 1, "a": 0}"#).unwrap().len(), 2);
        assert!(read(r#"{"b": 2, "a": 0}"#).is_err());
        assert!(read(r#"{"b": 4294967295, "a": 0}"#).is_err());
        assert!(read(r#"{"b": 0, "a": 0}"#).is_err());
        assert!(read(r#"{"b": -1}"#).is_err());
        let gap = br#"{"added_tokens": [{"id": 3, "content": "x"}], "model": {"vocab": {"a": 0, "b": 1, "c": 1}}}"#;
        assert!(Vocabulary::from_tokenizer_json(gap).is_err());
    }

    #[test]
    fn vocabularies_are_bounded_while_they_are_read() {
        let most = MAX_VOCAB + 1;
        let list = format!("[{}, no list", vec![r#""a""#; most + 1].join(", "));
        let entries = (0..=most).map(|number| format!(r#""a{number}": {number}"#));
        let map = format!("{{{}, no map", entries.collect::<Vec<_>>().join(", "));
        let tokenizer = format!(r#"{{"model": {{"vocab": {map}"#);
        for read in [
            Vocabulary::from_json_list(list.as_bytes()),
            Vocabulary::from_vocab_json(map.as_bytes()),
            Vocabulary::from_tokenizer_json(tokenizer.as_bytes()),
        ] {
            let error = read.err().unwrap().to_string();
            assert!(error.contains("more than 131073 entries"), "{error}");
        }
    }

    #[test]
    fn an_added_token_may_repeat_one_of_the_vocabulary() {
        let json = br#"{"added_tokens": [{"id": 1, "content": "b"}, {"id": 2, "content": "c"}],
                        "model": {"vocab": {"a": 0, "b": 1}}}"#;
        assert_eq!(Vocabulary::from_tokenizer_json(json).unwrap().len(), 3);
    }

    #[test]
    fn characters_that_stand_for_no_byte_are_refused() {
        assert!(Vocabulary::from_json_list(r#"["a", "日"]"#.as_bytes()).is_err());
    }
}
