// SPDX-License-Identifier: MPL-2.0

use super::*;

/// All bytes, some merges, and the special tokens of an English-only model with two languages.
pub(crate) fn small() -> Tokenizer {
    let mut tokens: Vec<Box<[u8]>> = (0..=255u8).map(|byte| Box::from([byte])).collect();
    for merge in ["he", "ll", "hell", "hello", " w", "or", " wor", "ld", "日"] {
        tokens.push(merge.as_bytes().into());
    }
    let rows = tokens.len() + 8 + 2 + 1501;
    Tokenizer::new(Vocabulary::from_bytes(tokens), rows).unwrap()
}

#[test]
fn merges_apply_in_the_order_of_their_numbers() {
    let tokenizer = small();
    let pieces = |text: &str| {
        let tokens = tokenizer.encode(text);
        tokens
            .iter()
            .map(|token| String::from_utf8_lossy(tokenizer.bytes(*token)).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(pieces("hello world"), ["hello", " wor", "ld"]);
    assert_eq!(pieces("shell"), ["s", "hell"]);
    assert_eq!(pieces("hehe"), ["he", "he"]);
}

#[test]
fn any_text_survives_encoding_and_decoding() {
    let tokenizer = small();
    for text in [
        "",
        " ",
        "  two  spaces ",
        "it's",
        "日本語 कखग ελλ 🙂",
        "a\r\n\tb",
        "<|endoftext|>",
        "\0",
    ] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
    }
}

#[test]
fn special_tokens_and_unknown_numbers_have_no_text() {
    let tokenizer = small();
    for token in [
        tokenizer.special().eot,
        tokenizer.special().timestamp_begin,
        u32::MAX,
    ] {
        assert_eq!(tokenizer.bytes(token), b"");
    }
    assert_eq!(tokenizer.decode(&[0xe6, 0x97]), "\u{fffd}");
}

#[test]
fn special_tokens_follow_the_text_tokens() {
    let tokenizer = small();
    let special = tokenizer.special();
    assert_eq!(
        (special.eot, special.sot, special.languages.clone()),
        (265, 266, 267..269)
    );
    assert_eq!(
        (
            special.translate,
            special.no_timestamps,
            special.timestamp_begin
        ),
        (269, 274, 275)
    );
    assert_eq!(tokenizer.language_code(267), Some("en"));
    assert_eq!(tokenizer.language_code(269), None);
    assert_eq!(tokenizer.language_token("en-GB"), Some(267));
    assert_eq!(
        tokenizer.language_token("zh"),
        None,
        "an English-only model"
    );
}

#[test]
fn a_vocabulary_that_misfits_the_embedding_is_refused() {
    let tokens = || {
        (0..=255u8)
            .map(|byte| Box::from([byte]))
            .collect::<Vec<Box<[u8]>>>()
    };
    let refused = |tokens, rows| Tokenizer::new(Vocabulary::from_bytes(tokens), rows).is_err();
    assert!(!refused(tokens(), 256 + 8 + 99 + 1501));
    for rows in [
        0,
        255,
        256,
        256 + 8 + 1501,
        256 + 8 + 101 + 1501,
        usize::MAX,
    ] {
        assert!(refused(tokens(), rows), "{rows}");
    }
    assert!(
        refused(tokens()[..255].to_vec(), 255 + 8 + 99 + 1501),
        "a byte without token"
    );
    let twice = [tokens(), tokens()].concat();
    assert!(refused(twice, 512 + 8 + 99 + 1501), "tokens listed twice");
    let misplaced = [
        tokens(),
        vec![
            b"<|endoftext|>".as_slice().into(),
            b"<|translate|>".as_slice().into(),
        ],
    ]
    .concat();
    assert!(
        refused(misplaced, 256 + 8 + 99 + 1501),
        "a special token in another's place"
    );
}
