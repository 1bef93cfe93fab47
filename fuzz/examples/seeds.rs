// SPDX-License-Identifier: MPL-2.0
//! Writes what the fuzzer begins with: sound files of synthetic models, and some text.
//!
//! ```sh
//! cargo run --example seeds -- CORPUS
//! ```

use std::path::Path;

use test_support::synthetic::{self, Stored};

fn main() -> std::io::Result<()> {
    let corpus = std::env::args().nth(1).expect("usage: seeds CORPUS");
    let tensors = synthetic::tensors();
    let seeds: &[(&str, &str, Vec<u8>)] = &[
        ("ctranslate2", "f16", synthetic::ctranslate2_bytes(&tensors, Stored::F16)),
        ("ctranslate2", "i8", synthetic::ctranslate2_bytes(&tensors, Stored::I8)),
        ("ggml", "f16", synthetic::ggml_bytes(&tensors, Stored::F16)),
        ("ggml", "q5_0", synthetic::ggml_bytes(&tensors, Stored::Q5_0)),
        ("safetensors", "f16", synthetic::safetensors_bytes(&tensors, Stored::F16)),
        ("silero", "sound", synthetic::silero_bytes(1)),
        ("tokenizer", "text", "Hello, Wörld. 今日は 👋".into()),
        ("captions", "words", b"\x2a\x02\x10\x20\xff\x05Hello\x10\x20\xff\x06world.".into()),
        ("cue_from_json", "cue", br#"{"start":0.5,"end":1.5,"text":"Hi"}"#.into()),
    ];
    for (target, name, bytes) in seeds {
        let directory = Path::new(&corpus).join(target);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}
