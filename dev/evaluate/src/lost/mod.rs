// SPDX-License-Identifier: MPL-2.0
//! Utterances that vanish: clips are joined at random with pauses between them, and each utterance
//! is looked for in the transcript of the whole.
//!
//! A recogniser that decodes windows of 30 s may go on to the next sentence, or end, where a pause
//! comes. Words wrong hide that: a lost sentence of four words weighs as much as four slips.

mod judge;
mod recordings;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use whisper_engine::{Engine, TranscribeOptions};

use crate::manifest::Clip;
use crate::offline::Transcript;
use crate::options::Options;
use judge::{Heard, Tally, judge};
use recordings::Recording;

pub use recordings::write;

/// Joins the clips and transcribes the recordings; prints each lost utterance, and totals.
pub fn run(options: &Options, clips: Vec<Clip>) -> Result<Vec<(Clip, Transcript)>> {
    let clips = recordings::joinable(clips)?;
    let mut recogniser = Recogniser::new(options)?;
    let (mut all, mut results) = (Tally::default(), Vec::new());
    for &seed in &options.seeds {
        let mut tally = Tally::default();
        for recording in recordings::join(&clips, seed, options.recordings) {
            let Some(transcript) = recogniser.transcribe(&recording)? else {
                continue;
            };
            let judgement = judge(&recording.texts(), &transcript.text);
            for (clip, heard) in recording.clips.iter().zip(&judgement) {
                tally.add(heard);
                if heard.is_lost() {
                    print_lost(&recording.id, clip, heard);
                }
            }
            results.push((recording.as_clip(seed), transcript));
        }
        println!("seed {seed}: {tally}");
        all += tally;
    }
    if results.is_empty() {
        bail!("no text of these recordings");
    }
    println!("all: {all}\n{}\n", recogniser.describe(&results));
    Ok(results)
}

fn print_lost(recording: &str, clip: &Clip, heard: &Heard) {
    println!(
        "{recording:<6} lost {}: {}\n       {} of {} words came, around: {}",
        clip.id, clip.reference, heard.matched, heard.words, heard.around,
    );
}

/// Where transcripts come from.
enum Recogniser {
    Engine(Box<Engine>),
    /// Those of another recogniser, by recording.
    Texts(HashMap<String, String>),
}

impl Recogniser {
    fn new(options: &Options) -> Result<Self> {
        if let Some(file) = &options.texts {
            return Ok(Self::Texts(texts(file)?));
        }
        let threads = options.threads as usize;
        let engine = Engine::builder().threads(threads).open(&options.model)?;
        Ok(Self::Engine(Box::new(engine)))
    }

    /// `None` for a recording that the other recogniser has not heard.
    fn transcribe(&mut self, recording: &Recording) -> Result<Option<Transcript>> {
        let began = Instant::now();
        let text = match self {
            Self::Texts(texts) => texts.remove(&recording.id),
            Self::Engine(engine) => {
                let request = TranscribeOptions {
                    language: Some("en".into()),
                    ..TranscribeOptions::default()
                };
                let samples = recording.samples()?;
                let transcript = engine.transcription(request).run(&samples);
                Some(transcript.with_context(|| recording.id.clone())?.text())
            }
        };
        Ok(text.map(|text| Transcript {
            text,
            wall: began.elapsed(),
            ..Transcript::default()
        }))
    }

    fn describe(&self, results: &[(Clip, Transcript)]) -> String {
        let audio: f64 = results.iter().map(|(clip, _)| clip.seconds).sum();
        let recordings = format!("{} recordings, {audio:.0} s of audio", results.len());
        let Self::Engine(engine) = self else {
            return recordings;
        };
        let wall: Duration = results.iter().map(|(_, transcript)| transcript.wall).sum();
        let (device, wall) = (engine.active_device(), wall.as_secs_f64());
        format!(
            "{recordings} on {device} in {wall:.1} s: {:.1} times real time",
            audio / wall
        )
    }
}

/// The columns id and hypothesis of a file that `scripts/score` reads.
fn texts(file: &Path) -> Result<HashMap<String, String>> {
    let at = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(at)?;
    let mut lines = text
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().unwrap_or_default();
    let column = |name| header.iter().position(|&column| column == name);
    let (Some(id), Some(hypothesis)) = (column("id"), column("hypothesis")) else {
        bail!("{}: no columns id and hypothesis", at());
    };
    lines
        .map(|fields| match (fields.get(id), fields.get(hypothesis)) {
            (Some(&id), Some(&text)) => Ok((id.to_owned(), text.to_owned())),
            _ => bail!("{}: a line without an id or a hypothesis", at()),
        })
        .collect()
}
