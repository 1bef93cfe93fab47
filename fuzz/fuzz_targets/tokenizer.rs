// SPDX-License-Identifier: MPL-2.0
//! Text of users to tokens, and tokens to text.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use test_support::synthetic::{self, Stored};
use whisper_model::Model;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = synthetic::write_hugging_face(directory.path(), Stored::F16);
    Model::open(&path).unwrap()
});

fuzz_target!(|data: &[u8]| {
    let tokenizer = &MODEL.tokenizer;
    let tokens = tokenizer.encode(&String::from_utf8_lossy(data));
    assert!(tokens.iter().all(|token| (*token as usize) < MODEL.config.vocab));
    let any: Vec<u32> = data
        .chunks_exact(2)
        .map(|bytes| u32::from(bytes[0]) << 8 | u32::from(bytes[1]))
        .collect();
    let _ = tokenizer.decode(&any);
    let _ = tokenizer.language_token(&String::from_utf8_lossy(data));
});
