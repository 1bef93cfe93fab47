// SPDX-License-Identifier: MPL-2.0
//! The speech that is played, as often as is needed.

use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use test_support::SAMPLE_RATE;

use crate::require;

/// The samples of a 16 kHz mono S16 WAV file.
pub fn read_wav(path: &Path) -> Result<Vec<i16>> {
    let wav = std::fs::read(path)?;
    let data = wav
        .windows(4)
        .position(|id| id == b"data")
        .context("not a WAV file")?
        + 8;
    let (_, samples) = wav
        .split_at_checked(data)
        .context("the WAV file is cut off")?;
    let (samples, _) = samples.as_chunks();
    require(
        samples.len() >= SAMPLE_RATE,
        "the speech lasts a second or more",
    )?;
    Ok(samples
        .iter()
        .map(|sample| i16::from_le_bytes(*sample))
        .collect())
}

/// The speech again and again until it fills `seconds`, in a temporary file.
pub fn looped_wav(speech: &Path, seconds: u64) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    let length = usize::try_from(seconds)? * SAMPLE_RATE;
    test_support::wav(BufWriter::new(&file), &read_wav(speech)?, length)?;
    Ok(file)
}
