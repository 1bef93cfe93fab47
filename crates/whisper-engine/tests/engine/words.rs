// SPDX-License-Identifier: MPL-2.0
//! Tokens to words, with the real vocabularies.

use std::sync::Arc;

use whisper_engine::decoder::split_words;
use whisper_model::{Model, Tokenizer};

fn tokenizer(name: &str) -> Arc<Tokenizer> {
    let open = || Model::open(&Model::find(name)?);
    open().unwrap_or_else(|error| panic!("{error}")).tokenizer
}

fn words(tokenizer: &Tokenizer, text: &str, unspaced: bool) -> Vec<String> {
    let tokens = tokenizer.encode(text);
    let words = split_words(&tokens, tokenizer, unspaced);
    for pair in words.windows(2) {
        assert_eq!(
            pair[0].tokens.end, pair[1].tokens.start,
            "every token belongs to one word"
        );
    }
    words.into_iter().map(|word| word.text).collect()
}

#[test]
fn punctuation_and_parts_belong_to_their_word() {
    let tokenizer = tokenizer("tiny.en");
    let text = " \"I don't know,\" said Mr. Shopkeeper-Jones (aged 3.5).";
    let expected = [
        "\"I",
        "don't",
        "know,\"",
        "said",
        "Mr.",
        "Shopkeeper-Jones",
        "(aged",
        "3.5).",
    ];
    assert_eq!(words(&tokenizer, text, false), expected);
}

#[test]
fn characters_of_several_tokens_come_out_whole_and_unspaced() {
    let tokenizer = tokenizer("base");
    for text in ["我们今天去公园散步。", "鬱蒼とした森、龍の𩸽。"] {
        let words = words(&tokenizer, text, true);
        assert!(words.len() > 3, "{words:?}");
        assert_eq!(words.concat(), text);
        assert!(
            !words.iter().any(|word| word.starts_with(['。', '、'])),
            "{words:?}"
        );
    }
}

#[test]
fn a_character_that_was_cut_off_is_replaced_not_lost() {
    let tokenizer = tokenizer("base");
    let mut tokens = tokenizer.encode(" 𩸽");
    tokens.pop();
    let words = split_words(&tokens, &tokenizer, true);
    assert!(words.iter().any(|word| word.text.contains('\u{fffd}')));
}
