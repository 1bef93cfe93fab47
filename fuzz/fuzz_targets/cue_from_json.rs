// SPDX-License-Identifier: MPL-2.0
//! Cues as the element writes them in JSON, read back.
#![no_main]

use captions::{Format, Writer, cue_from_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(cue) = cue_from_json(text) {
        let _ = Writer::new(Format::JsonLines).write(&cue);
    }
});
