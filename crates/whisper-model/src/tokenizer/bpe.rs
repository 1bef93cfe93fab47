// SPDX-License-Identifier: MPL-2.0
//! Byte-pair encoding.

use std::collections::HashMap;

use fancy_regex::Regex;

use crate::error::ParseError;

/// GPT-2's split of text into pieces that are encoded one by one (`encoder.py` of openai/gpt-2).
const PIECES: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Text tokens, and how text is put together from them.
///
/// The number of a token is its rank: of two neighbours whose union is a token, the pair with the
/// lowest number is joined first (as in tiktoken). That is exact for vocabularies that are numbered
/// in the order of their merges, as GPT-2's and Whisper's are.
pub(super) struct Bpe {
    tokens: Vec<Box<[u8]>>,
    ranks: HashMap<Box<[u8]>, u32>,
    pieces: Regex,
}

impl Bpe {
    /// From the text tokens by number. Each single byte must be among them, so that every text has
    /// an encoding.
    pub fn new(tokens: Vec<Box<[u8]>>) -> Result<Self, ParseError> {
        let mut ranks = HashMap::with_capacity(tokens.len());
        for (number, token) in (0..).zip(&tokens) {
            // The multilingual vocabulary has one empty token, which nothing can be encoded to.
            if !token.is_empty() && ranks.insert(token.clone(), number).is_some() {
                return Err(ParseError::malformed(format!(
                    "token {number} of the vocabulary is there twice"
                )));
            }
        }
        if let Some(byte) =
            (0..=255).find(|byte: &u8| !ranks.contains_key(std::slice::from_ref(byte)))
        {
            return Err(ParseError::malformed(format!(
                "the vocabulary has no token for the byte {byte:#04x}"
            )));
        }
        let pieces =
            Regex::new(PIECES).map_err(|error| ParseError::unsupported(error.to_string()))?;
        Ok(Bpe {
            tokens,
            ranks,
            pieces,
        })
    }

    /// The bytes of a text token; none for other numbers.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.tokens.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// The tokens of a text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut encoded = 0;
        // Each character belongs to a piece, so pieces follow each other without gaps. Should the
        // expression give up (on white space without end), the rest is encoded as one piece.
        for piece in self.pieces.find_iter(text).map_while(Result::ok) {
            self.encode_piece(piece.as_str().as_bytes(), &mut tokens);
            encoded = piece.end();
        }
        self.encode_piece(&text.as_bytes()[encoded..], &mut tokens);
        tokens
    }

    /// Joins neighbours until no two make a token. Quadratic in the length of the piece, which is a
    /// word.
    fn encode_piece(&self, piece: &[u8], tokens: &mut Vec<u32>) {
        if let Some(token) = self.ranks.get(piece) {
            tokens.push(*token);
            return;
        }
        // Parts are piece[bounds[i]..bounds[i + 1]].
        let mut bounds: Vec<usize> = (0..=piece.len()).collect();
        let rank = |part: &[usize]| {
            self.ranks
                .get(&piece[part[0]..part[part.len() - 1]])
                .copied()
        };
        while let Some((_, left)) = bounds
            .windows(3)
            .zip(0..)
            .filter_map(|(pair, left)| Some((rank(pair)?, left)))
            .min()
        {
            let joint: usize = left + 1;
            bounds.remove(joint);
        }
        tokens.extend(bounds.windows(2).filter_map(rank));
    }
}
