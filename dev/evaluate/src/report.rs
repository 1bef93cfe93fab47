// SPDX-License-Identifier: MPL-2.0
//! How late the words of live clips came, and which of them nobody said.

use std::thread;

use anyhow::{Context, Result, bail};

use crate::busy;
use crate::live::{self, Heard, Listened};
use crate::manifest::Clip;
use crate::mode::Mode;
use crate::offline::Transcript;
use crate::options::Options;
use crate::simulate;
use crate::timing::{self, Span};

/// Seconds over all clips, one for each word or utterance.
#[derive(Default)]
struct Delays {
    /// Each with the second of the clip at which the word ended.
    words: Vec<(f64, f64)>,
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
            Mode::Simulate => simulate::listen(&clip, options).map(|listened| vec![listened]),
            _ => play(&clip, options),
        };
        let listened = listened.with_context(|| clip.id.clone())?;
        for stream in &listened {
            delays.add(options, &clip, stream)?;
        }
        let transcript = Transcript {
            text: listened.first().map_or_else(String::new, Listened::text),
            ..Transcript::default()
        };
        results.push((clip, transcript));
    }
    if options.busy > 0 {
        delays.print_phases();
    }
    delays.print();
    Ok(results)
}

/// A clip in as many pipelines at once as the options say, beside as many busy processes.
fn play(clip: &Clip, options: &Options) -> Result<Vec<Listened>> {
    thread::scope(|scope| {
        if options.busy > 0 {
            scope.spawn(|| busy::disturb(options.busy));
        }
        let streams: Vec<_> = (0..options.streams)
            .map(|_| scope.spawn(|| live::listen(clip, options)))
            .collect();
        let join = |stream: thread::ScopedJoinHandle<Result<Listened>>| match stream.join() {
            Ok(listened) => listened,
            Err(_) => bail!("a stream panicked"),
        };
        streams.into_iter().map(join).collect()
    })
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
        print(options, clip, listened, seconds(&late), &intruders);
        self.words.extend(late);
        self.starts.extend(timing::start_errors(&gold, words));
        self.finals
            .extend(timing::final_delays(&segments, &gold, words));
        if !clip.is_song() {
            self.intruders += intruders.len();
        }
        Ok(())
    }

    /// Before, while and after the machine was busy.
    fn print_phases(&self) {
        let recovered = busy::END + busy::RECOVERY;
        for (name, from, until) in [
            ("before the machine was busy", 0.0, busy::BEGIN),
            ("while it was", busy::BEGIN, busy::END),
            ("within 5 s after", busy::END, recovered),
            ("later", recovered, f64::INFINITY),
        ] {
            let said = self
                .words
                .iter()
                .filter(|(at, _)| (from..until).contains(at));
            let late = seconds(&said.copied().collect::<Vec<_>>());
            println!("words said {name}: {}", timing::summary(late));
        }
    }

    fn print(self) {
        println!(
            "\nfrom the end of a word to its text: {}",
            timing::summary(seconds(&self.words))
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

fn seconds(late: &[(f64, f64)]) -> Vec<f64> {
    late.iter().map(|(_, delay)| *delay).collect()
}

fn intruders<'a>(clip: &Clip, segments: &[Span], words: &'a [Heard]) -> Vec<&'a Heard> {
    if clip.kind == "nonspeech" {
        words.iter().collect()
    } else {
        timing::intruders(segments, words)
    }
}

fn print(
    options: &Options,
    clip: &Clip,
    listened: &Listened,
    late: Vec<f64>,
    intruders: &[&Heard],
) {
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
        timing::summary(late),
    );
    let (erased, said) = (listened.count("preview-erased"), listened.words.len());
    if erased > 0 {
        println!("    preview: {erased} words taken back, {said} became final");
    }
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
