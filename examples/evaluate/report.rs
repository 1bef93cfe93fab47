// SPDX-License-Identifier: MPL-2.0
//! How late the words of live clips came, and which of them nobody said.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::live::{self, Heard, Listened};
use crate::manifest::Clip;
use crate::offline::Transcript;
use crate::options::{Mode, Options};
use crate::simulate;
use crate::timing::{self, Span};

/// Seconds over all clips, one for each word or utterance.
#[derive(Default)]
struct Delays {
    words: Vec<f64>,
    /// From the gold start of a word to the one that it came out with, absolute.
    starts: Vec<f64>,
    /// From the end of an utterance to its last word.
    finals: Vec<f64>,
    /// Words where nobody speaks, songs apart.
    intruders: usize,
}

/// Plays all clips and prints what came of each.
pub fn listen(options: &Options, clips: Vec<Clip>) -> Result<Vec<(Clip, Transcript)>> {
    let mut delays = Delays::default();
    let mut results = Vec::with_capacity(clips.len());
    for clip in clips {
        let listened = match options.mode {
            Mode::Simulate => simulate::listen(&clip, options),
            _ => live::listen(&clip, options),
        };
        let listened = listened.with_context(|| clip.id.clone())?;
        delays.add(options, &clip, &listened)?;
        let transcript = Transcript {
            text: listened.text(),
            language: None,
            wall: Duration::ZERO,
        };
        results.push((clip, transcript));
    }
    delays.print();
    Ok(results)
}

impl Delays {
    fn add(&mut self, options: &Options, clip: &Clip, listened: &Listened) -> Result<()> {
        let spans = |file: &str, text| {
            timing::spans(&options.speech.join(file), clip, [text, "start", "end"])
        };
        let (gold, segments) = (spans("words.tsv", "word")?, spans("segments.tsv", "id")?);
        let words = &listened.words;
        let late = timing::latencies(&gold, words);
        let intruders = intruders(clip, &segments, words);
        print(options, clip, listened, &late, &intruders);
        self.words.extend(late);
        self.starts.extend(timing::start_errors(&gold, words));
        self.finals
            .extend(timing::final_delays(&segments, &gold, words));
        if !clip.id.starts_with("song") {
            self.intruders += intruders.len();
        }
        Ok(())
    }

    fn print(self) {
        println!(
            "\nfrom the end of a word to its text: {}",
            timing::summary(self.words)
        );
        println!(
            "starts of words against the gold ones: {}",
            timing::summary(self.starts)
        );
        println!(
            "from the end of an utterance to its last word: {}",
            timing::summary(self.finals)
        );
        println!(
            "words where nobody speaks, songs apart: {}\n",
            self.intruders
        );
    }
}

fn intruders<'a>(clip: &Clip, segments: &[Span], words: &'a [Heard]) -> Vec<&'a Heard> {
    if clip.kind == "nonspeech" {
        words.iter().collect()
    } else {
        timing::intruders(segments, words)
    }
}

fn print(options: &Options, clip: &Clip, listened: &Listened, late: &[f64], intruders: &[&Heard]) {
    println!(
        "{:<22} {:7.2} s  {}",
        clip.id,
        clip.seconds,
        listened.text()
    );
    for word in intruders {
        println!("    nobody said {:?} at {:.2} s", word.text, word.start);
    }
    println!(
        "    {} on {}, {:.0} % of a core; updates {} coalesced {}\n    late: {}",
        options.model,
        listened.device,
        listened.cpu_share * 100.0,
        listened.count("updates"),
        listened.count("updates-coalesced"),
        timing::summary(late.to_vec()),
    );
    let is_guard = |name: &str| name.starts_with("refused-") || name == "noises-ignored";
    let guards = listened
        .counters
        .iter()
        .filter(|(name, count)| is_guard(name) && *count > 0);
    let guards: Vec<String> = guards
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !guards.is_empty() {
        println!("    {}", guards.join("  "));
    }
}
