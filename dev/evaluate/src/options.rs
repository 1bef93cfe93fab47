// SPDX-License-Identifier: MPL-2.0
//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::manifest::Clip;
use crate::mode::Mode;
use crate::sets::Layout;

pub const USAGE: &str = "\
Transcribes a set of recordings with a real pipeline, and scores the text.

Usage: cargo run --release -p evaluate -- MODE [OPTION]...

Modes:
  offline    each clip as fast as it goes, its language told to the element
  multi      the same, the language to be detected
  lead-in    clips in other languages after nothing, 40 s of silence, 25 s of music, and some English: the language that
             is detected last, and the text from there on
  live       each clip in real time, as a live stream of words through a pipeline; says how late they come
  simulate   the same as if computing took no time, as fast as it goes, through the live schedule alone: what the
             policy costs, the same in each run
  lost       clips shorter than 13 s joined at random with pauses of 1.5 s up to 28.5 s, through the library: which
             utterances are not in the transcript. One is lost if fewer than a quarter of its words came, by an
             alignment of fewest edits; of one to four words that is none
  invented   clips without speech, without a prompt and with two, offline and through the live schedule, the language
             to be detected: each text that comes, and how many words
  manifest   prints manifest.tsv of a set that has none, for benches/peers
  marathon   one clip (--id) over and over for hours with holes in it, live but as fast as it goes: drift and memory.
             A day: --hours 24 --rest 7 --id stream-ls --id music --id ambience --id whale --id room --id pink

Options:
  --model NAME    model, a name or a path (tiny.en; for multi and lead-in: base)
  --speech DIR    the set (../shared/speech beside the repository): a directory with manifest.tsv; LibriSpeech as it
                  is unpacked, or a part of it; or media files, each with its text in .txt or .srt beside
  --language CODE what is spoken in such media files (en)
  --kind KIND     only clips of this kind, may be given often (all; of a set with a manifest, offline: en-* but the sonnets;
                  live: en-stream, nonspeech; lost: en-read, en-speech; invented: nonspeech but
                  the songs)
  --id PREFIX     only clips whose id begins so, may be given often
  --device NAME   auto, npu or cpu (auto)
  --threads N     0 for all (0)
  --interval MS   update interval (live, simulate)
  --policy NAME   alignatt, agreement (simulate; what suits the model)
  --seed N        what to draw, may be given often (lost; 1 2 3)
  --recordings N  how many for each seed (lost; 40)
  --wav DIR       write the recordings and what is said in them, and end (lost)
  --texts FILE    judge another recogniser's text of these recordings: its columns id and hypothesis (lost)
  --prompt TEXT   instead of none and two with names, may be given often (invented)
  --hours N       how long (marathon; 2)
  --rest N        N times as much without speech after each time through the clip (marathon; 0): clips of the kind
                  nonspeech that --id names, then silence
  --streams N     play each clip in so many pipelines at once (live; 1)
  --busy N        so many busy processes from second 60 to 90 of each clip (live; 0)
  --out FILE      the transcripts (evaluate/MODE-MODEL.tsv in the build directory)
  --worst N       print the N clips with most errors";

/// None, and two whose names no clip has.
const PROMPTS: [&str; 3] = [
    "",
    "The assistant is called Jarvix.",
    "Okonkwo, Kowalczyk and Szczecin talk about the Zhivago archive.",
];

/// The command line, with defaults for what it leaves out.
pub struct Options {
    pub mode: Mode,
    pub model: String,
    pub speech: PathBuf,
    /// Spoken in a set that does not tell.
    pub language: String,
    pub device: String,
    pub threads: u32,
    pub interval: Option<u32>,
    /// LocalAgreement-2 instead of what suits the model.
    pub agreement: bool,
    /// What to draw at random.
    pub seeds: Vec<u64>,
    /// For each seed.
    pub recordings: usize,
    /// Where to write the recordings, instead of transcribing them.
    pub wav: Option<PathBuf>,
    /// Transcripts of another recogniser.
    pub texts: Option<PathBuf>,
    /// What to tell the model to expect.
    pub prompts: Vec<String>,
    pub hours: f64,
    /// How much there is without speech, to one part of speech.
    pub rest: usize,
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
        let name = arguments.next().context("no mode")?;
        let mode = Mode::ALL.into_iter().find(|mode| mode.name() == name);
        let mut options = Self::of(mode.with_context(|| format!("unknown mode {name:?}"))?);
        while let Some(option) = arguments.next() {
            let value = arguments.next();
            let value = value.with_context(|| format!("{option} needs a value"))?;
            options
                .set(&option, value)
                .with_context(|| option.clone())?;
        }
        if options.seeds.is_empty() {
            options.seeds = vec![1, 2, 3];
        }
        if options.prompts.is_empty() {
            options.prompts = PROMPTS.map(String::from).to_vec();
        }
        if options.out.as_os_str().is_empty() {
            options.out = default_out(options.mode, &options.model);
        }
        Ok(options)
    }

    fn of(mode: Mode) -> Self {
        let model = match mode {
            Mode::Multi | Mode::LeadIn => "base",
            _ => "tiny.en",
        };
        Self {
            mode,
            model: model.into(),
            language: "en".into(),
            speech: repository().join("../shared/speech"),
            device: "auto".into(),
            threads: 0,
            interval: None,
            agreement: false,
            seeds: Vec::new(),
            recordings: 40,
            wav: None,
            texts: None,
            prompts: Vec::new(),
            hours: 2.0,
            rest: 0,
            streams: 1,
            busy: 0,
            out: PathBuf::new(),
            worst: "0".into(),
            kinds: Vec::new(),
            ids: Vec::new(),
        }
    }

    fn set(&mut self, option: &str, value: String) -> Result<()> {
        match option {
            "--model" => self.model = value,
            "--speech" => self.speech = value.into(),
            "--language" => self.language = value,
            "--kind" => self.kinds.push(value),
            "--id" => self.ids.push(value),
            "--device" => self.device = value,
            "--threads" => self.threads = value.parse()?,
            "--interval" => self.interval = Some(value.parse()?),
            "--policy" => {
                self.agreement = match value.as_str() {
                    "agreement" => true,
                    "alignatt" => false,
                    _ => bail!("unknown policy {value:?}"),
                }
            }
            "--seed" => self.seeds.push(value.parse()?),
            "--recordings" => self.recordings = value.parse()?,
            "--wav" => self.wav = Some(value.into()),
            "--texts" => self.texts = Some(value.into()),
            "--prompt" => self.prompts.push(value),
            "--hours" => self.hours = value.parse()?,
            "--rest" => self.rest = value.parse()?,
            "--streams" => self.streams = value.parse()?,
            "--busy" => self.busy = value.parse()?,
            "--out" => self.out = value.into(),
            "--worst" => self.worst = value,
            _ => bail!("unknown option"),
        }
        Ok(())
    }

    /// Whether the clip is to be transcribed.
    pub fn includes(&self, clip: &Clip, layout: Layout) -> bool {
        let of_kind = match (self.kinds.is_empty(), layout) {
            (false, _) => self.kinds.contains(&clip.kind),
            (true, Layout::Manifest) => self.mode.suits(clip),
            (true, Layout::LibriSpeech | Layout::Media) => true,
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

    fn includes(options: &Options, clip: &Clip) -> bool {
        options.includes(clip, Layout::Manifest)
    }

    #[test]
    fn sets_without_kinds_are_taken_whole() {
        let clip = clip("1-2-0000", "en-test-clean");
        assert!(
            parse("simulate")
                .unwrap()
                .includes(&clip, Layout::LibriSpeech)
        );
        let other = parse("offline --kind en-test-other").unwrap();
        assert!(!other.includes(&clip, Layout::LibriSpeech));
        assert!(
            !parse("offline --id 7-")
                .unwrap()
                .includes(&clip, Layout::LibriSpeech)
        );
    }

    #[test]
    fn offline_takes_all_english_but_the_sonnets() {
        let options = parse("offline").unwrap();
        assert!(
            includes(&options, &clip("ls-1", "en-read"))
                && includes(&options, &clip("x", "en-noisy"))
        );
        assert!(
            !includes(&options, &clip("sonnet-1", "en-read"))
                && !includes(&options, &clip("x", "multi"))
        );
        let sonnets = parse("offline --kind en-read --id sonnet-").unwrap();
        assert!(
            includes(&sonnets, &clip("sonnet-1", "en-read"))
                && !includes(&sonnets, &clip("ls-1", "en-read"))
        );
    }

    #[test]
    fn lead_in_takes_what_comes_first_too() {
        let options = parse("lead-in").unwrap();
        assert_eq!(options.model, "base");
        for (id, kind, taken) in [
            ("de-pv", "multi", true),
            ("de-simplicissimus", "multi", false),
            ("music-vibe-ace", "nonspeech", true),
            ("whale", "nonspeech", false),
        ] {
            assert_eq!(includes(&options, &clip(id, kind)), taken, "{id}");
        }
    }

    #[test]
    fn lost_draws_three_times_from_english_clips() {
        let options = parse("lost").unwrap();
        assert_eq!(
            (options.seeds.as_slice(), options.recordings),
            (&[1, 2, 3][..], 40)
        );
        assert!(includes(&options, &clip("ls-1", "en-read")));
        assert!(!includes(&options, &clip("x", "en-noisy")));
        assert_eq!(parse("lost --seed 7 --seed 8").unwrap().seeds, [7, 8]);
    }

    #[test]
    fn invented_takes_what_holds_no_voice() {
        let options = parse("invented").unwrap();
        assert!(includes(&options, &clip("whale", "nonspeech")));
        assert!(!includes(&options, &clip("song-vocals-a", "nonspeech")));
        assert!(!includes(&options, &clip("ls-1", "en-read")));
        assert_eq!(options.prompts.len(), 3);
        assert_eq!(
            parse("invented --prompt Jarvix").unwrap().prompts,
            ["Jarvix"]
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
