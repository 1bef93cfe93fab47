// SPDX-License-Identifier: MPL-2.0
//! Clips joined at random, the same for the same seed.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::live::RATE;
use crate::manifest::Clip;
use crate::options::Options;

/// A clip has to be shorter than this, seconds: two fit a recording.
const LONGEST_CLIP: f64 = 13.0;
/// A recording fits the 30 s that Whisper hears at once, seconds.
const LONGEST_RECORDING: f64 = 28.5;
/// Silence between two clips, seconds.
const PAUSE: f64 = 1.5;

/// The clips that may be part of a recording: short ones, with text.
pub fn joinable(clips: Vec<Clip>) -> Result<Vec<Clip>> {
    let fits = |clip: &Clip| clip.seconds < LONGEST_CLIP && !clip.reference.is_empty();
    let clips: Vec<Clip> = clips.into_iter().filter(fits).collect();
    ensure!(!clips.is_empty(), "no clip is short enough to be joined");
    Ok(clips)
}

/// Clips one after the other.
pub struct Recording<'a> {
    /// The seed and the number, such as `1-07`.
    pub id: String,
    pub clips: Vec<&'a Clip>,
}

impl Recording<'_> {
    /// When the clips begin and end, in seconds.
    fn spans(&self) -> Vec<(f64, f64)> {
        let mut end = -PAUSE;
        let mut span = |clip: &&Clip| {
            let start = end + PAUSE;
            end = start + clip.seconds;
            (start, end)
        };
        self.clips.iter().map(&mut span).collect()
    }

    /// What is said in each clip.
    pub fn texts(&self) -> Vec<&str> {
        self.clips.iter().map(|clip| &*clip.reference).collect()
    }

    /// 16 kHz mono.
    pub fn samples(&self) -> Result<Vec<i16>> {
        let mut joined = Vec::new();
        for clip in &self.clips {
            if !joined.is_empty() {
                joined.resize(joined.len() + (PAUSE * RATE as f64) as usize, 0);
            }
            joined.extend(clip.samples().with_context(|| clip.id.clone())?);
        }
        Ok(joined)
    }

    /// As a clip of the kind `seed-N`, for scores.
    pub fn as_clip(&self, seed: u64) -> Clip {
        Clip {
            id: self.id.clone(),
            path: format!("{}.wav", self.id).into(),
            language: "en".into(),
            seconds: self.spans().last().map_or(0.0, |&(_, end)| end),
            kind: format!("seed-{seed}"),
            reference: self.texts().join(" "),
        }
    }
}

/// `count` recordings of clips that are drawn until the next one would be too much.
pub fn join(clips: &[Clip], seed: u64, count: usize) -> Vec<Recording<'_>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut recording = |number| {
        let mut drawn: Vec<&Clip> = clips.iter().collect();
        random.shuffle(&mut drawn);
        let mut length = -PAUSE;
        let fits = |clip: &&Clip| {
            length += PAUSE + clip.seconds;
            length <= LONGEST_RECORDING
        };
        Recording {
            id: format!("{seed}-{number:02}"),
            clips: drawn.into_iter().take_while(fits).collect(),
        }
    };
    (1..=count).map(&mut recording).collect()
}

/// Writes the recordings of all seeds as WAV files, `utterances.tsv` with what is said when, and
/// `recordings.tsv` with what is said in each.
pub fn write(directory: &Path, options: &Options, clips: Vec<Clip>) -> Result<()> {
    let clips = joinable(clips)?;
    let at = || directory.display().to_string();
    fs::create_dir_all(directory).with_context(at)?;
    let create = |name: &str| File::create(directory.join(name)).map(BufWriter::new);
    let mut utterances = create("utterances.tsv").with_context(at)?;
    writeln!(utterances, "recording\tstart\tend\tclip\treference")?;
    let mut manifest = create("recordings.tsv").with_context(at)?;
    writeln!(manifest, "id\tkind\tlanguage\tseconds\treference")?;
    for &seed in &options.seeds {
        for recording in join(&clips, seed, options.recordings) {
            let samples = recording.samples()?;
            ensure!(!samples.is_empty(), "{}: no samples", recording.id);
            let whole = recording.as_clip(seed);
            let file = create(&format!("{}.wav", whole.id)).with_context(at)?;
            test_support::wav(file, &samples, samples.len()).with_context(at)?;
            for (clip, (start, end)) in recording.clips.iter().zip(recording.spans()) {
                let (id, clip, text) = (&whole.id, &clip.id, &clip.reference);
                writeln!(utterances, "{id}\t{start:.2}\t{end:.2}\t{clip}\t{text}")?;
            }
            let Clip {
                id,
                kind,
                language,
                seconds,
                reference,
                ..
            } = whole;
            writeln!(
                manifest,
                "{id}\t{kind}\t{language}\t{seconds:.2}\t{reference}"
            )?;
        }
    }
    utterances.flush().with_context(at)?;
    manifest.flush().with_context(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clips() -> Vec<Clip> {
        let clip = |number: u8| Clip {
            id: number.to_string(),
            path: "".into(),
            language: "en".into(),
            seconds: f64::from(2 + number % 10),
            kind: "en-read".into(),
            reference: format!("number {number}"),
        };
        (0..30).map(clip).collect()
    }

    fn ids(recordings: &[Recording]) -> Vec<Vec<String>> {
        let ids =
            |recording: &Recording| recording.clips.iter().map(|clip| clip.id.clone()).collect();
        recordings.iter().map(ids).collect()
    }

    #[test]
    fn long_and_silent_clips_are_not_joined() {
        let mut clips = clips();
        clips.truncate(3);
        clips[0].seconds = LONGEST_CLIP;
        clips[1].reference.clear();
        let joined = joinable(clips.clone()).unwrap();
        assert_eq!(joined, clips[2..]);
        assert!(joinable(clips[..2].to_vec()).is_err());
    }

    #[test]
    fn recordings_depend_on_the_seed_alone() {
        let clips = clips();
        let (first, again) = (join(&clips, 1, 20), join(&clips, 1, 20));
        assert_eq!(ids(&first), ids(&again));
        assert_eq!(ids(&first)[..5], ids(&join(&clips, 1, 5))[..]);
        assert_ne!(ids(&first), ids(&join(&clips, 2, 20)));
        assert_eq!(first[6].id, "1-07");
    }

    #[test]
    fn recordings_are_as_full_as_the_draw_allows() {
        for recording in join(&clips(), 3, 100) {
            let length = recording.as_clip(3).seconds;
            assert!((LONGEST_RECORDING - LONGEST_CLIP..=LONGEST_RECORDING).contains(&length));
            let mut drawn = ids(std::slice::from_ref(&recording)).remove(0);
            drawn.sort();
            drawn.dedup();
            assert_eq!(drawn.len(), recording.clips.len());
        }
    }

    #[test]
    fn spans_leave_the_pause_between_clips() {
        let clips = clips();
        let recording = Recording {
            id: "1-01".into(),
            clips: vec![&clips[1], &clips[3]],
        };
        assert_eq!(recording.spans(), [(0.0, 3.0), (4.5, 9.5)]);
        assert_eq!(recording.as_clip(1).reference, "number 1 number 3");
    }
}
