// SPDX-License-Identifier: MPL-2.0
//! What the tests of several crates share: speech, models, synthetic model files, an allocator that
//! counts.
//!
//! No test passes by returning early. A test that needs what a fresh checkout lacks says so in its
//! `#[ignore]`:
//!
//! | the reason begins with | who runs it |
//! |---|---|
//! | `needs the model tiny.en` (`base`, `silero-vad`) | `scripts/test`, which fetches these models |
//! | `needs gst-plugins-rs` | `scripts/test`, which builds them |
//! | `needs`, and names `../shared` | `scripts/test`, where that directory lies beside the repository |
//! | `needs the emulated NPU` | `scripts/test-npu` |
//! | `takes minutes` | a developer, by name |
//!
//! `scripts/test` reads the reasons from what cargo prints, runs what it can, and lists the rest.
//!
//! ```
//! let clip = test_support::clip();
//! assert_eq!(clip.samples.len(), 11 * test_support::SAMPLE_RATE);
//! assert!(clip.text.contains(clip.word));
//! ```

pub mod allocations;
mod speech;
pub mod synthetic;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use speech::{Clip, SAMPLE_RATE, clip, flac, german_clip, read_flac, wav};
use whisper_model::{Model, Tokenizer};

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The path of a file in the reference data beside the repository. Tests that read one are marked
/// `#[ignore = "needs ../shared"]`.
pub fn shared(path: &str) -> PathBuf {
    repository().join("../shared").join(path)
}

/// The path of an installed model. Unit tests that call this are marked
/// `#[ignore = "needs the model NAME"]`.
///
/// # Panics
///
/// If the model is not installed; the message names the command that fetches it.
pub fn model(name: &str) -> PathBuf {
    Model::find(name).unwrap_or_else(|error| {
        panic!("this test needs the model {name} ({error}): scripts/fetch-model {name}")
    })
}

/// The resident memory of this process in MB (2²⁰ bytes), as Linux tells.
///
/// # Errors
///
/// If `/proc/self/status` cannot be read, or holds no such line.
pub fn resident_mb() -> io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    let missing = || io::Error::other("no VmRSS in /proc/self/status");
    Ok(kilobytes.ok_or_else(missing)? / 1024.0)
}

/// A tokenizer of all bytes, some merges, and the special tokens of an English-only model with two
/// languages.
pub fn small_tokenizer() -> Tokenizer {
    let mut tokens: Vec<Box<[u8]>> = (0..=255u8).map(|byte| Box::from([byte])).collect();
    for merge in ["he", "ll", "hell", "hello", " w", "or", " wor", "ld", "日"] {
        tokens.push(merge.as_bytes().into());
    }
    let rows = tokens.len() + 8 + 2 + 1501;
    Tokenizer::from_bytes(tokens, rows).expect("the tokens merge")
}
