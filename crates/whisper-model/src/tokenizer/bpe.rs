// SPDX-License-Identifier: MPL-2.0
//! Byte-pair encoding.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::iter::successors;
use std::ops::Range;

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

    /// Joins neighbours until no two make a token.
    fn encode_piece(&self, piece: &[u8], tokens: &mut Vec<u32>) {
        if let Some(token) = self.ranks.get(piece) {
            tokens.push(*token);
            return;
        }
        let mut parts = Parts::bytes(piece.len());
        // The pairs that make a token, the lowest rank first and of the same rank the leftmost. An
        // entry is stale when one of its parts has been joined to another: the queue, unlike a
        // search for the next pair, keeps a text without spaces from costing its square.
        let mut queue = BinaryHeap::new();
        let offer = |queue: &mut BinaryHeap<_>, pair: [usize; 3]| {
            let rank = self.ranks.get(&piece[pair[0]..pair[2]]);
            queue.extend(rank.map(|rank| Reverse((*rank, pair))));
        };
        for start in 0..piece.len().saturating_sub(1) {
            offer(&mut queue, [start, start + 1, start + 2]);
        }
        while let Some(Reverse((_, pair))) = queue.pop() {
            if !parts.join(pair) {
                continue;
            }
            let [start, _, end] = pair;
            if start > 0 {
                offer(&mut queue, [parts.starts[start], start, end]);
            }
            if end < piece.len() {
                offer(&mut queue, [start, end, parts.ends[end]]);
            }
        }
        tokens.extend(parts.iter().filter_map(|part| self.ranks.get(&piece[part])));
    }
}

/// How a piece is divided. Parts are known by the place where they begin or end.
struct Parts {
    /// Where the part ends that begins here; 0 where none begins.
    ends: Vec<usize>,
    /// Where the part begins that ends here.
    starts: Vec<usize>,
}

impl Parts {
    /// Each byte is a part.
    fn bytes(length: usize) -> Self {
        Parts {
            ends: (1..=length).collect(),
            starts: (0..=length).map(|end| end.saturating_sub(1)).collect(),
        }
    }

    /// Joins two parts, given by start, middle and end; false if there are no such parts any more.
    fn join(&mut self, [start, middle, end]: [usize; 3]) -> bool {
        if self.ends[start] != middle || self.ends[middle] != end {
            return false;
        }
        self.ends[start] = end;
        self.ends[middle] = 0;
        self.starts[end] = start;
        true
    }

    fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        let first = (!self.ends.is_empty()).then(|| 0..self.ends[0]);
        successors(first, |part| {
            let end = self.ends.get(part.end)?;
            Some(part.end..*end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All bytes, and the joints of "abcd" in an order of which each is another's neighbour.
    fn bpe() -> Bpe {
        let mut tokens: Vec<Box<[u8]>> = (0..=255u8).map(|byte| Box::from([byte])).collect();
        for joint in [
            "bc", "ab", "cd", "aa", "abc", "aaaa", "bcd", "dd", "abcd", "cda",
        ] {
            tokens.push(joint.as_bytes().into());
        }
        Bpe::new(tokens).unwrap()
    }

    /// The definition: of all pairs that make a token, the lowest and leftmost is joined.
    fn by_definition(bpe: &Bpe, piece: &[u8]) -> Vec<u32> {
        let mut bounds: Vec<usize> = (0..=piece.len()).collect();
        let rank = |part: &[usize]| {
            bpe.ranks
                .get(&piece[part[0]..*part.last().unwrap()])
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
        bounds.windows(2).filter_map(rank).collect()
    }

    #[test]
    fn pairs_are_joined_as_defined_in_every_short_piece() {
        let bpe = bpe();
        for length in 0..=7u32 {
            for number in 0..4usize.pow(length) {
                let letter = |at| b"abcd"[number / 4usize.pow(at) % 4];
                let piece: Vec<u8> = (0..length).map(letter).collect();
                let mut tokens = Vec::new();
                bpe.encode_piece(&piece, &mut tokens);
                let whole = bpe.ranks.get(piece.as_slice()).map(|rank| vec![*rank]);
                let expected = whole.unwrap_or_else(|| by_definition(&bpe, &piece));
                assert_eq!(tokens, expected, "{piece:?}");
            }
        }
    }

    #[test]
    fn a_long_text_without_spaces_has_an_encoding() {
        // By the square of its length this takes hours.
        let text = "abcdaabbccdd".repeat(50_000);
        let bpe = bpe();
        let tokens = bpe.encode(&text);
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| bpe.bytes(*token))
            .copied()
            .collect();
        assert_eq!(bytes, text.as_bytes());
    }
}
