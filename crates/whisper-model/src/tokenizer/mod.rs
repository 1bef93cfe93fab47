// SPDX-License-Identifier: MPL-2.0
//! Tokens to text and back: byte-level BPE with Whisper's special tokens.

mod bpe;
mod language;
mod non_speech;
mod special;
mod vocabulary;

use crate::error::ParseError;

use bpe::Bpe;
pub use special::SpecialTokens;
pub(super) use vocabulary::Vocabulary;

/// GPT-2's text tokens (256 bytes and 50 000 merges). The English-only models keep them; the
/// multilingual vocabulary has one more.
const ENGLISH_TEXT_TOKENS: u32 = 50_256;

/// A model's tokenizer: text to tokens and back.
///
/// ```
/// let tokenizer = test_support::small_tokenizer();
/// let tokens = tokenizer.encode(" world");
/// assert_eq!(tokenizer.bytes(tokens[0]), b" wor");
/// assert_eq!(tokenizer.decode(&tokens), " world");
/// assert_eq!(tokenizer.language_token("en-GB"), Some(tokenizer.special().languages.start));
/// ```
pub struct Tokenizer {
    bpe: Bpe,
    special: SpecialTokens,
    non_speech: Vec<u32>,
}

impl Tokenizer {
    /// From a vocabulary and the number of rows of the token embedding, which must agree.
    pub(super) fn new(vocabulary: Vocabulary, rows: usize) -> Result<Self, ParseError> {
        let special = SpecialTokens::derive(&vocabulary, rows)?;
        let bpe = Bpe::new(vocabulary.into_text(special.eot))?;
        let non_speech = non_speech::tokens(|text| bpe.encode(text));
        Ok(Tokenizer {
            bpe,
            special,
            non_speech,
        })
    }

    /// From the bytes of each text token and the number of rows of the token embedding, which must
    /// agree.
    ///
    /// # Errors
    /// The tokens are not Whisper's in number, or lack a byte.
    pub fn from_bytes(tokens: Vec<Box<[u8]>>, rows: usize) -> Result<Self, ParseError> {
        Self::new(Vocabulary::from_bytes(tokens), rows)
    }

    /// Whether the model knows languages other than English, and so expects a language and a task
    /// in its prompt.
    pub fn is_multilingual(&self) -> bool {
        self.special.eot > ENGLISH_TEXT_TOKENS
    }

    /// The special tokens.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The token's piece of UTF-8, which may begin or end inside a character. Empty for special
    /// tokens, timestamps and numbers that are no token.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bpe.bytes(token)
    }

    /// The text of tokens; broken UTF-8 becomes U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| self.bytes(*token))
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The tokens of a text. Names of special tokens in it are taken as text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.bpe.encode(text)
    }

    /// The token of a language, from a BCP 47 tag (`en`, `en-US`, `pt_BR`), an ISO 639-2 code
    /// (`deu`) or a former code (`iw`). English-only models have English alone.
    pub fn language_token(&self, code: &str) -> Option<u32> {
        let index = language::index(code)?;
        let token = self.special.languages.start.checked_add(index)?;
        let is_known =
            self.special.languages.contains(&token) && (self.is_multilingual() || index == 0);
        is_known.then_some(token)
    }

    /// Whisper's code of a language token (`en`, `haw`, `yue`).
    pub fn language_code(&self, token: u32) -> Option<&'static str> {
        if !self.special.languages.contains(&token) {
            return None;
        }
        language::code(token - self.special.languages.start)
    }

    /// Text tokens for what is not spoken (brackets, notes, speaker dashes), ascending; special
    /// tokens are not among them.
    pub fn non_speech(&self) -> &[u32] {
        &self.non_speech
    }
}

#[cfg(test)]
pub(crate) mod tests;
