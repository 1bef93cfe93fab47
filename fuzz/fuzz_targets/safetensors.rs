// SPDX-License-Identifier: MPL-2.0
#![no_main]

mod edits;

use std::io::Cursor;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use test_support::synthetic;
use whisper_model::safetensors;

static SOUND: LazyLock<Vec<u8>> =
    LazyLock::new(|| synthetic::safetensors_bytes(&synthetic::tensors(), synthetic::Stored::F16));

fuzz_target!(|data: &[u8]| {
    let _ = safetensors::parse(Cursor::new(data));
    let _ = safetensors::parse(Cursor::new(edits::apply(&SOUND, data)));
});
