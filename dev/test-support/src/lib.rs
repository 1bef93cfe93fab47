// SPDX-License-Identifier: MPL-2.0
//! What tests of several crates share: where things are, speech, synthetic model files.

pub mod synthetic;

use std::path::{Path, PathBuf};

use whisper_model::Tokenizer;

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the reference data beside the repository, which need not be there.
pub fn shared(path: &str) -> PathBuf {
    repository().join("../shared").join(path)
}

/// All samples of a FLAC file, 16 kHz mono; `None` if there is no such file.
pub fn flac(path: &Path) -> Option<Vec<i16>> {
    let mut clip = claxon::FlacReader::open(path).ok()?;
    let samples = clip
        .samples()
        .map(|sample| sample.map(|sample| sample as i16));
    samples.collect::<Result<_, _>>().ok()
}

/// All bytes, some merges, and the special tokens of an English-only model with two languages.
pub fn small_tokenizer() -> Tokenizer {
    let mut tokens: Vec<Box<[u8]>> = (0..=255u8).map(|byte| Box::from([byte])).collect();
    for merge in ["he", "ll", "hell", "hello", " w", "or", " wor", "ld", "日"] {
        tokens.push(merge.as_bytes().into());
    }
    let rows = tokens.len() + 8 + 2 + 1501;
    Tokenizer::from_bytes(tokens, rows).expect("the tokens merge")
}
