// SPDX-License-Identifier: MPL-2.0
#![no_main]

mod edits;

use std::io::Cursor;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use test_support::synthetic;
use whisper_model::ctranslate2;

static SOUND: LazyLock<Vec<u8>> =
    LazyLock::new(|| synthetic::ctranslate2_bytes(&synthetic::tensors(), synthetic::Stored::I8));

fuzz_target!(|data: &[u8]| {
    let _ = ctranslate2::parse(Cursor::new(data));
    let _ = ctranslate2::parse(Cursor::new(edits::apply(&SOUND, data)));
});
