// SPDX-License-Identifier: MPL-2.0
#![no_main]

mod edits;
#[path = "../../tests/synthetic/mod.rs"]
mod synthetic;

use std::sync::LazyLock;

use whisper_model::ggml;
use libfuzzer_sys::fuzz_target;

static SOUND: LazyLock<Vec<u8>> =
    LazyLock::new(|| synthetic::ggml_bytes(&synthetic::tensors(), synthetic::Stored::F16));

fuzz_target!(|data: &[u8]| {
    let _ = ggml::parse(data);
    let _ = ggml::parse(&edits::apply(&SOUND, data));
});
