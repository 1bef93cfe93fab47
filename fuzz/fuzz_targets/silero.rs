// SPDX-License-Identifier: MPL-2.0
//! The voice detector's file.
#![no_main]

mod edits;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use test_support::synthetic;
use whisper_frontend::vad::SileroWeights;

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| synthetic::silero_bytes(1));

fuzz_target!(|data: &[u8]| {
    let _ = SileroWeights::from_bytes(data);
    let _ = SileroWeights::from_bytes(&edits::apply(&SOUND, data));
});
