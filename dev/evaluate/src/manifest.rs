// SPDX-License-Identifier: MPL-2.0
//! `manifest.tsv` of a speech set: what was said in which file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use test_support::SAMPLE_RATE;

use crate::decode;

/// One recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub id: String,
    pub path: PathBuf,
    /// ISO 639-1, or `-` where nothing is said.
    pub language: String,
    pub seconds: f64,
    /// `en-read`, `multi`, `nonspeech`…
    pub kind: String,
    /// What is said, in one line.
    pub reference: String,
}

impl Clip {
    /// Whether the reference is written as no recogniser writes today: to be scored apart.
    pub fn has_old_spelling(&self) -> bool {
        self.id.starts_with("sonnet-") || self.id == "de-simplicissimus"
    }

    /// Whether there is song in it, so that text is no fault.
    pub fn is_song(&self) -> bool {
        self.kind == "nonspeech" && self.id.starts_with("song")
    }

    /// Whether the file is FLAC by its name.
    pub fn is_flac(&self) -> bool {
        self.path.extension().is_some_and(|name| name == "flac")
    }

    /// The clip's samples, 16 kHz mono.
    pub fn samples(&self) -> Result<Vec<i16>> {
        let samples = if self.is_flac() {
            flac(&self.path)
        } else {
            decode::samples(&self.path)
        };
        samples.with_context(|| self.path.display().to_string())
    }

    /// The clip as S16LE, 16 kHz mono.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let samples = self.samples()?;
        Ok(samples
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect())
    }
}

/// The samples of a FLAC file; GStreamer converts what is not 16-bit mono at 16 kHz.
fn flac(path: &Path) -> Result<Vec<i16>> {
    let mut reader = claxon::FlacReader::open(path)?;
    let info = reader.streaminfo();
    if (info.sample_rate, info.channels, info.bits_per_sample) != (SAMPLE_RATE as u32, 1, 16) {
        return decode::samples(path);
    }
    let samples = reader.samples();
    Ok(samples
        .map(|sample| sample.map(|sample| sample as i16))
        .collect::<Result<_, _>>()?)
}

/// The clips of `DIR/manifest.tsv`, in its order.
pub fn read(speech: &Path) -> Result<Vec<Clip>> {
    let path = speech.join("manifest.tsv");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    parse(&text, speech).with_context(|| path.display().to_string())
}

fn parse(text: &str, speech: &Path) -> Result<Vec<Clip>> {
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        let found = header.iter().position(|&column| column == name);
        found.with_context(|| format!("no column {name:?}"))
    };
    let (id, file, language, seconds) = (
        column("id")?,
        column("file")?,
        column("language")?,
        column("seconds")?,
    );
    let (kind, reference) = (column("kind")?, column("reference")?);
    let mut clips = Vec::new();
    for (line, number) in lines.zip(2..) {
        let fields: Vec<_> = line.split('\t').collect();
        if fields.len() != header.len() {
            bail!(
                "line {number}: {} fields, not {}",
                fields.len(),
                header.len()
            );
        }
        clips.push(Clip {
            id: fields[id].to_owned(),
            path: speech.join(fields[file]),
            language: fields[language].to_owned(),
            seconds: fields[seconds]
                .parse()
                .with_context(|| format!("line {number}: seconds"))?,
            kind: fields[kind].to_owned(),
            reference: fields[reference].to_owned(),
        });
    }
    Ok(clips)
}

/// The clips as `DIR/manifest.tsv` would have them.
pub fn print(clips: &[Clip], directory: &Path) {
    let root = directory
        .canonicalize()
        .unwrap_or_else(|_| directory.into());
    println!("id\tfile\tlanguage\tseconds\tkind\treference");
    for clip in clips {
        let file = clip.path.strip_prefix(&root).unwrap_or(&clip.path);
        let (file, seconds) = (file.display(), clip.seconds);
        let (id, language, kind, said) = (&clip.id, &clip.language, &clip.kind, &clip.reference);
        println!("{id}\t{file}\t{language}\t{seconds:.2}\t{kind}\t{said}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_their_names() {
        let text = "kind\tid\tlanguage\tseconds\tnote\tfile\treference\n\
                    en-read\tsonnet-1\ten\t1.5\t\ta/b.flac\tShall I compare thee\n";
        let clips = parse(text, Path::new("speech")).unwrap();
        assert_eq!(clips.len(), 1);
        assert_eq!(clips[0].path, Path::new("speech/a/b.flac"));
        assert_eq!(clips[0].reference, "Shall I compare thee");
        assert!(clips[0].has_old_spelling());
    }

    #[test]
    fn broken_manifest_is_refused_with_its_line() {
        assert!(parse("id\tfile\n", Path::new("")).is_err());
        let text = "id\tfile\tlanguage\tseconds\tkind\treference\na\tb\n";
        assert!(format!("{:#}", parse(text, Path::new("")).unwrap_err()).contains("line 2"));
    }
}
