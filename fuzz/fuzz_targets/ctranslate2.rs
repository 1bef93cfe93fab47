// SPDX-License-Identifier: MPL-2.0
#![no_main]

mod edits;
#[path = "../../tests/synthetic/mod.rs"]
mod synthetic;

use std::sync::LazyLock;

use whisper_model::ctranslate2;
use libfuzzer_sys::fuzz_target;

static SOUND: LazyLock<Vec<u8>> =
    LazyLock::new(|| synthetic::ctranslate2_bytes(&synthetic::tensors(), synthetic::Stored::I8));

fuzz_target!(|data: &[u8]| {
    let _ = ctranslate2::parse(data);
    let _ = ctranslate2::parse(&edits::apply(&SOUND, data));
});
