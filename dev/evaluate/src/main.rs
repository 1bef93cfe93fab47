// SPDX-License-Identifier: MPL-2.0
//! Measures how well and how fast the plugin transcribes a set of recordings: words wrong,
//! utterances lost, words invented, delay of live words, speed, drift over hours.
//!
//! ```sh
//! cargo run --release -p evaluate -- offline --model base
//! ```
//!
//! A set is a directory with a `manifest.tsv` ([`manifest`]) and, for delays, gold times of words
//! ([`timing`]); or LibriSpeech ([`librispeech`]); or files with a text beside each ([`media`]).
//! [`options::USAGE`] lists modes and options; `scripts/score` scores the text.

mod bus;
mod busy;
mod decode;
mod invented;
mod lead_in;
mod librispeech;
mod live;
mod lost;
mod manifest;
mod marathon;
mod media;
mod mode;
mod offline;
mod options;
mod report;
mod sets;
mod simulate;
mod timing;
mod words;

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use manifest::Clip;
use mode::Mode;
use offline::{Transcriber, Transcript};
use options::{Options, USAGE};

fn main() -> Result<()> {
    if std::env::args().any(|argument| argument == "--help") {
        print!("{USAGE}");
        return Ok(());
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => bail!("{error:#}\n\n{USAGE}"),
    };
    gst::init()?;
    let (layout, clips) = sets::read(&options.speech, &options.language)?;
    let clips: Vec<_> = clips
        .into_iter()
        .filter(|clip| options.includes(clip, layout))
        .collect();
    if clips.is_empty() {
        bail!("no such clip in {}", options.speech.display());
    }
    gstwhispernpu::plugin_register_static()?;
    let results = match options.mode {
        Mode::Manifest => {
            manifest::print(&clips, &options.speech);
            return Ok(());
        }
        Mode::Invented => return invented::run(&options, &clips),
        Mode::Live | Mode::Simulate => report::listen(&options, clips)?,
        Mode::Lost => match &options.wav {
            Some(directory) => return lost::write(directory, &options, clips),
            None => lost::run(&options, clips)?,
        },
        Mode::LeadIn => lead_in::run(&options, &clips)?,
        Mode::Marathon => return marathon::run(&clips, &options),
        Mode::Offline | Mode::Multi => transcribe(&options, clips)?,
    };
    if options.mode == Mode::Multi {
        print_languages(&results);
    }
    write(&options, &results)?;
    score(&options)
}

fn transcribe(options: &Options, clips: Vec<Clip>) -> Result<Vec<(Clip, Transcript)>> {
    let transcriber = Transcriber::new(options, clips.iter().all(Clip::is_flac))?;
    let mut results = Vec::with_capacity(clips.len());
    for clip in clips {
        let transcript = transcriber
            .transcribe(&clip)
            .with_context(|| clip.id.clone())?;
        let speed = clip.seconds / transcript.wall.as_secs_f64();
        println!(
            "{:<22} {:7.2} s at {speed:5.1}x  {}",
            clip.id, clip.seconds, transcript.text
        );
        results.push((clip, transcript));
    }
    let audio: f64 = results.iter().map(|(clip, _)| clip.seconds).sum();
    let wall: Duration = results.iter().map(|(_, transcript)| transcript.wall).sum();
    println!(
        "\n{} on {}: {audio:.0} s of audio in {:.1} s: {:.1} times real time\n",
        options.model,
        transcriber.active_device(),
        wall.as_secs_f64(),
        audio / wall.as_secs_f64(),
    );
    Ok(results)
}

fn print_languages(results: &[(Clip, Transcript)]) {
    let mut right = 0;
    for (clip, transcript) in results {
        let detected = transcript.language.as_deref().unwrap_or("none");
        right += usize::from(detected == clip.language);
        println!(
            "{:<22} is {:<3} detected {detected}",
            clip.id, clip.language
        );
    }
    let empty = results
        .iter()
        .filter(|(_, transcript)| transcript.text.is_empty())
        .count();
    println!(
        "right language: {right} of {}; without text: {empty}\n",
        results.len()
    );
}

/// Writes what `scripts/score` reads.
fn write(options: &Options, results: &[(Clip, Transcript)]) -> Result<()> {
    let at = || options.out.display().to_string();
    if let Some(directory) = options.out.parent() {
        std::fs::create_dir_all(directory).with_context(at)?;
    }
    let mut file = std::io::BufWriter::new(std::fs::File::create(&options.out).with_context(at)?);
    writeln!(file, "id\tkind\tlanguage\treference\thypothesis")?;
    for (clip, Transcript { text, .. }) in results {
        let Clip {
            id,
            kind,
            language,
            reference,
            ..
        } = clip;
        let apart = if clip.has_old_spelling() { "-old" } else { "" };
        writeln!(file, "{id}\t{kind}{apart}\t{language}\t{reference}\t{text}")?;
    }
    file.flush().with_context(at)?;
    println!("transcripts: {}\n", at());
    Ok(())
}

fn score(options: &Options) -> Result<()> {
    let script = options::repository().join("scripts/score");
    let status = Command::new(&script)
        .args(["--worst", &options.worst])
        .arg(&options.out)
        .status();
    let status = status.with_context(|| script.display().to_string())?;
    if status.success() {
        Ok(())
    } else {
        bail!("scripts/score: {status}")
    }
}
