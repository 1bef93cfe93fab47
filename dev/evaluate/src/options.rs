// SPDX-License-Identifier: MPL-2.0
//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::manifest::Clip;

pub const USAGE: &str = "\
Transcribes a set of recordings with a real pipeline, and scores the text.

Usage: cargo run --release -p evaluate -- MODE [OPTION]...

Modes:
  offline    each clip as fast as it goes, its language told to the element
  multi      the same, the language to be detected
  live       each clip in real time, as a live stream of words through a pipeline; says how late they come
  simulate   the same as if computing took no time, as fast as it goes, through the live schedule alone: what the
             policy costs, the same in each run
  marathon   one clip (--id) over and over for hours with holes in it, live but as fast as it goes: drift and memory

Options:
  --model NAME    model, a name or a path (tiny.en; for multi: base)
  --speech DIR    the set, with manifest.tsv (../shared/speech beside the repository)
  --kind KIND     only clips of this kind, may be given often (offline: en-* but the sonnets;
                  live: en-stream, nonspeech)
  --id PREFIX     only clips whose id begins so, may be given often
  --device NAME   auto, npu or cpu (auto)
  --threads N     0 for all (0)
  --interval MS   update interval (live, simulate)
  --policy NAME   alignatt, agreement (simulate; what suits the model)
  --hours N       how long (marathon; 2)
  --streams N     play each clip in so many pipelines at once (live; 1)
  --busy N        so many busy processes from second 60 to 90 of each clip (live; 0)
  --out FILE      the transcripts (evaluate/MODE-MODEL.tsv in the build directory)
  --worst N       print the N clips with most errors";

/// What is done with the clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Offline,
    Multi,
    Live,
    Simulate,
    Marathon,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Multi => "multi",
            Self::Live => "live",
            Self::Simulate => "simulate",
            Self::Marathon => "marathon",
        }
    }
}

/// The command line, with defaults for what it leaves out.
pub struct Options {
    pub mode: Mode,
    pub model: String,
    pub speech: PathBuf,
    pub device: String,
    pub threads: u32,
    pub interval: Option<u32>,
    /// LocalAgreement-2 instead of what suits the model.
    pub agreement: bool,
    pub hours: f64,
    pub streams: usize,
    /// Processes that keep the machine busy for a while.
    pub busy: usize,
    pub out: PathBuf,
    pub worst: String,
    kinds: Vec<String>,
    ids: Vec<String>,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mode = match arguments.next().as_deref() {
            Some("offline") => Mode::Offline,
            Some("multi") => Mode::Multi,
            Some("live") => Mode::Live,
            Some("simulate") => Mode::Simulate,
            Some("marathon") => Mode::Marathon,
            Some(other) => bail!("unknown mode {other:?}"),
            None => bail!("no mode"),
        };
        let mut model = if mode == Mode::Multi {
            "base"
        } else {
            "tiny.en"
        }
        .to_owned();
        let mut speech = repository().join("../shared/speech");
        let (mut device, mut threads, mut out, mut worst) =
            ("auto".to_owned(), 0, None, "0".to_owned());
        let mut interval = None;
        let (mut streams, mut busy, mut agreement, mut hours) = (1, 0, false, 2.0);
        let (mut kinds, mut ids) = (Vec::new(), Vec::new());
        while let Some(option) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--model" => model = value,
                "--speech" => speech = value.into(),
                "--kind" => kinds.push(value),
                "--id" => ids.push(value),
                "--device" => device = value,
                "--threads" => threads = value.parse().context("--threads")?,
                "--interval" => interval = Some(value.parse().context("--interval")?),
                "--policy" => {
                    agreement = match value.as_str() {
                        "agreement" => true,
                        "alignatt" => false,
                        _ => bail!("unknown policy {value:?}"),
                    }
                }
                "--hours" => hours = value.parse().context("--hours")?,
                "--streams" => streams = value.parse().context("--streams")?,
                "--busy" => busy = value.parse().context("--busy")?,
                "--out" => out = Some(PathBuf::from(value)),
                "--worst" => worst = value,
                _ => bail!("unknown option {option:?}"),
            }
        }
        let out = out.unwrap_or_else(|| default_out(mode, &model));
        Ok(Self {
            mode,
            model,
            speech,
            device,
            threads,
            interval,
            agreement,
            hours,
            streams,
            busy,
            out,
            worst,
            kinds,
            ids,
        })
    }

    /// Whether the clip is to be transcribed.
    pub fn includes(&self, clip: &Clip) -> bool {
        let of_kind = match (self.kinds.is_empty(), self.mode) {
            (false, _) => self.kinds.contains(&clip.kind),
            (true, Mode::Offline) => clip.kind.starts_with("en-") && !clip.has_old_spelling(),
            (true, Mode::Multi) => clip.kind == "multi",
            (true, Mode::Live | Mode::Simulate | Mode::Marathon) => {
                clip.kind == "en-stream" || clip.kind == "nonspeech"
            }
        };
        of_kind && (self.ids.is_empty() || self.ids.iter().any(|id| clip.id.starts_with(id)))
    }
}

pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn default_out(mode: Mode, model: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| repository().join("target"));
    let model = Path::new(model)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    target
        .join("evaluate")
        .join(format!("{}-{model}.tsv", mode.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options> {
        Options::parse(arguments.split_whitespace().map(String::from))
    }

    fn clip(id: &str, kind: &str) -> Clip {
        Clip {
            id: id.into(),
            path: PathBuf::new(),
            language: "en".into(),
            seconds: 1.0,
            kind: kind.into(),
            reference: String::new(),
        }
    }

    #[test]
    fn offline_takes_all_english_but_the_sonnets() {
        let options = parse("offline").unwrap();
        assert!(
            options.includes(&clip("ls-1", "en-read")) && options.includes(&clip("x", "en-noisy"))
        );
        assert!(
            !options.includes(&clip("sonnet-1", "en-read"))
                && !options.includes(&clip("x", "multi"))
        );
        let sonnets = parse("offline --kind en-read --id sonnet-").unwrap();
        assert!(
            sonnets.includes(&clip("sonnet-1", "en-read"))
                && !sonnets.includes(&clip("ls-1", "en-read"))
        );
    }

    #[test]
    fn model_depends_on_the_mode_unless_told() {
        assert_eq!(parse("offline").unwrap().model, "tiny.en");
        assert_eq!(parse("multi").unwrap().model, "base");
        let told = parse("multi --model some/where/small").unwrap();
        assert!(told.out.ends_with("evaluate/multi-small.tsv"));
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for wrong in [
            "",
            "online",
            "offline --model",
            "offline --colour red",
            "offline --threads x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
