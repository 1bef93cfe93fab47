// SPDX-License-Identifier: MPL-2.0
//! Recorded speech: the clips of `tests/data` and other FLAC files.

use std::io::{self, Write};
use std::path::Path;
use std::sync::LazyLock;

/// Samples a second of every recording.
pub const SAMPLE_RATE: usize = 16_000;

/// A recording, 16 kHz mono, and what is said in it.
pub struct Clip {
    /// All samples.
    pub samples: Vec<i16>,
    /// What is said, in lower case without punctuation.
    pub text: &'static str,
    /// A word of [`text`](Self::text) that every model recognises.
    pub word: &'static str,
}

/// Eleven seconds of English: the public-domain recording of `tests/data/jfk-inaugural.flac`.
pub fn clip() -> &'static Clip {
    static CLIP: LazyLock<Clip> = LazyLock::new(|| Clip {
        samples: in_tree("jfk-inaugural.flac"),
        text: "and so my fellow americans ask not what your country can do for you \
               ask what you can do for your country",
        word: "country",
    });
    &CLIP
}

/// Six seconds of German: the public-domain recording of `tests/data/simplicissimus-german.flac`.
pub fn german_clip() -> &'static Clip {
    static CLIP: LazyLock<Clip> = LazyLock::new(|| Clip {
        samples: in_tree("simplicissimus-german.flac"),
        text: "hans jakob christoffel von grimmelshausen der abenteuerliche simplicissimus",
        word: "abenteuerliche",
    });
    &CLIP
}

fn in_tree(name: &str) -> Vec<i16> {
    read_flac(&crate::repository().join("tests/data").join(name))
}

/// All samples of a FLAC file, 16 kHz mono.
///
/// # Panics
///
/// If the file is missing, damaged, or of another format.
pub fn read_flac(path: &Path) -> Vec<i16> {
    let read = || -> Result<Vec<i16>, claxon::Error> {
        let mut reader = claxon::FlacReader::open(path)?;
        let info = reader.streaminfo();
        let format = (info.sample_rate, info.channels, info.bits_per_sample);
        assert_eq!(format, (SAMPLE_RATE as u32, 1, 16), "{}", path.display());
        let samples = reader.samples();
        samples
            .map(|sample| sample.map(|sample| sample as i16))
            .collect()
    };
    read().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All samples of a FLAC file, 16 kHz mono; `None` if there is no such file.
pub fn flac(path: &Path) -> Option<Vec<i16>> {
    path.exists().then(|| read_flac(path))
}

/// Writes `samples`, repeated until there are `length` of them, as a WAV file.
///
/// # Errors
///
/// If the file cannot be written, or would not fit a WAV file.
///
/// # Panics
///
/// If there are no samples to repeat.
pub fn wav(mut file: impl Write, samples: &[i16], length: usize) -> io::Result<()> {
    assert!(!samples.is_empty(), "nothing to repeat");
    let size = u32::try_from(2 * length).map_err(io::Error::other)?;
    let rate = SAMPLE_RATE as u32;
    file.write_all(b"RIFF")?;
    file.write_all(&(36 + size).to_le_bytes())?;
    file.write_all(b"WAVEfmt ")?;
    file.write_all(&16u32.to_le_bytes())?;
    // PCM, one channel; then bytes a second, bytes a frame and bits a sample.
    file.write_all(&[1, 0, 1, 0])?;
    file.write_all(&rate.to_le_bytes())?;
    file.write_all(&(2 * rate).to_le_bytes())?;
    file.write_all(&[2, 0, 16, 0])?;
    file.write_all(b"data")?;
    file.write_all(&size.to_le_bytes())?;
    let bytes: Vec<u8> = samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    let mut left = size as usize;
    while left > 0 {
        let part = left.min(bytes.len());
        file.write_all(&bytes[..part])?;
        left -= part;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wav_repeats_samples_to_the_length() {
        let mut file = Vec::new();
        wav(&mut file, &[1, 2, 3], 5).unwrap();
        assert_eq!(&file[36..44], [b'd', b'a', b't', b'a', 10, 0, 0, 0]);
        assert_eq!(&file[44..], [1, 0, 2, 0, 3, 0, 1, 0, 2, 0]);
    }

    #[test]
    fn clips_hold_the_word_in_their_text() {
        for clip in [clip(), german_clip()] {
            assert!(clip.text.contains(clip.word));
            assert!(clip.samples.len() > 5 * SAMPLE_RATE);
        }
    }
}
