// SPDX-License-Identifier: MPL-2.0
//! The JSON files around the weights of a Hugging Face or CTranslate2 directory.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use test_support::synthetic::{self, Stored};
use whisper_model::Model;

static DIRECTORIES: LazyLock<[TempDir; 2]> = LazyLock::new(|| {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    synthetic::write_hugging_face(directories[0].path(), Stored::F16);
    synthetic::write_ctranslate2(directories[1].path(), Stored::F16, true);
    directories
});

const FILES: [(usize, &str); 6] = [
    (0, "config.json"),
    (0, "generation_config.json"),
    (0, "tokenizer.json"),
    (1, "config.json"),
    (1, "vocabulary.json"),
    (1, "vocabulary.txt"),
];

// The first byte says which file, the others are put in its place.
fuzz_target!(|data: &[u8]| {
    let Some((which, content)) = data.split_first() else {
        return;
    };
    let (directory, file) = FILES[usize::from(*which) % FILES.len()];
    let path = DIRECTORIES[directory].path().join(file);
    let before = fs::read(&path).ok();
    fs::write(&path, content).unwrap();
    let _ = Model::open(DIRECTORIES[directory].path());
    match before {
        Some(before) => fs::write(&path, before).unwrap(),
        None => fs::remove_file(&path).unwrap(),
    }
});
