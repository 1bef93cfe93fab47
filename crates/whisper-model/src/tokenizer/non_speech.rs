// SPDX-License-Identifier: MPL-2.0
//! Tokens for what is not spoken.

use std::collections::BTreeSet;

const SYMBOLS: &str = "\"#()*+/:;<=>@[\\]^_`{|}~「」『』";
const GROUPS: [&str; 20] = [
    "<<",
    ">>",
    "<<<",
    ">>>",
    "--",
    "---",
    "-(",
    "-[",
    "('",
    "(\"",
    "((",
    "))",
    "(((",
    ")))",
    "[[",
    "]]",
    "{{",
    "}}",
    "♪♪",
    "♪♪♪",
];
/// Where these take several tokens, the first stands for all: they share the first two of their
/// three bytes.
const NOTES: &str = "♩♪♫♬♭♮♯";
/// A dash or apostrophe that begins a word marks a speaker or a quotation; inside a word it is
/// speech.
const LEADING: [&str; 2] = [" -", " '"];

/// The tokens of these symbols, alone or after a space, as openai/whisper's
/// `Tokenizer.non_speech_tokens` chooses them.
pub(super) fn tokens(encode: impl Fn(&str) -> Vec<u32>) -> Vec<u32> {
    let mut tokens = BTreeSet::new();
    tokens.extend(
        LEADING
            .iter()
            .filter_map(|text| encode(text).first().copied()),
    );
    let symbols = SYMBOLS
        .chars()
        .map(String::from)
        .chain(GROUPS.map(String::from));
    for text in symbols.flat_map(alone_and_spaced) {
        if let [token] = encode(&text)[..] {
            tokens.insert(token);
        }
    }
    for text in NOTES.chars().map(String::from).flat_map(alone_and_spaced) {
        tokens.extend(encode(&text).first());
    }
    tokens.into_iter().collect()
}

fn alone_and_spaced(symbol: String) -> [String; 2] {
    let spaced = format!(" {symbol}");
    [symbol, spaced]
}
