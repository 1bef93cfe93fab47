// SPDX-License-Identifier: MPL-2.0
//! Clips in other languages after something else: does what comes first decide the language?

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use test_support::SAMPLE_RATE;

use crate::manifest::Clip;
use crate::offline::{Transcriber, Transcript};
use crate::options::Options;

/// A word that begins so shortly before the clip may be its first one, seconds.
const EDGE: f64 = 0.25;
/// After English, in seconds.
const PAUSE: usize = 1;

/// What comes before a clip.
struct LeadIn {
    name: &'static str,
    samples: Vec<i16>,
}

impl LeadIn {
    fn seconds(&self) -> f64 {
        self.samples.len() as f64 / SAMPLE_RATE as f64
    }

    /// Nothing, 40 s of silence, and what the set has of music (25 s) and short English.
    fn all(clips: &[Clip]) -> Result<Vec<Self>> {
        let lead_in = |name, samples| Self { name, samples };
        let mut all = vec![
            lead_in("alone", Vec::new()),
            lead_in("after-silence", vec![0; 40 * SAMPLE_RATE]),
        ];
        // Others of this name are speech with music behind it.
        let is_music = |clip: &&Clip| clip.kind == "nonspeech" && clip.id.starts_with("music-");
        if let Some(music) = clips.iter().find(is_music) {
            let mut samples = music.samples()?;
            samples.truncate(25 * SAMPLE_RATE);
            all.push(lead_in("after-music", samples));
        }
        let is_english =
            |clip: &&Clip| clip.language == "en" && (8.0..12.0).contains(&clip.seconds);
        if let Some(english) = clips.iter().find(is_english) {
            let mut samples = english.samples()?;
            samples.resize(samples.len() + PAUSE * SAMPLE_RATE, 0);
            all.push(lead_in("after-english", samples));
        }
        Ok(all)
    }
}

/// Transcribes each clip that is not English after each lead-in; what comes in the lead-in is left
/// out of the transcript. The last language that the element names counts.
pub fn run(options: &Options, clips: &[Clip]) -> Result<Vec<(Clip, Transcript)>> {
    let transcriber = Transcriber::new(options, false)?;
    let directory = options.out.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let path = directory.join("lead-in.wav");
    let mut results = Vec::new();
    for lead_in in LeadIn::all(clips)? {
        let (mut right, mut all) = (0, 0);
        for clip in clips.iter().filter(|clip| is_foreign(clip)) {
            let mut samples = lead_in.samples.clone();
            samples.extend(clip.samples()?);
            test_support::wav(File::create(&path)?, &samples, samples.len())?;
            let joined = Clip {
                path: path.clone(),
                kind: lead_in.name.into(),
                ..clip.clone()
            };
            let mut heard = transcriber.transcribe(&joined).context(joined.id.clone())?;
            heard.text = heard.text_from(lead_in.seconds() - EDGE);
            let language = heard.language.as_deref().unwrap_or("none");
            all += 1;
            right += usize::from(language == clip.language);
            let (id, text) = (&clip.id, &heard.text);
            println!("{:<14} {id:<18} {language:<5} {text}", lead_in.name);
            results.push((joined, heard));
        }
        println!("{}: right language for {right} of {all}\n", lead_in.name);
    }
    Ok(results)
}

fn is_foreign(clip: &Clip) -> bool {
    clip.language != "en" && clip.language != "-"
}
