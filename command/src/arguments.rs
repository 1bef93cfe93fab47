// SPDX-License-Identifier: MPL-2.0
//! What the user asks for.

use std::path::PathBuf;

use captions::FileFormat;
use clap::{Parser, ValueEnum};

/// Exit codes, as [`EXIT_CODES`] tells users.
pub mod exit {
    /// Some file has no subtitles.
    pub const FAILED: u8 = 1;
    /// The command line is wrong; clap's code.
    pub const USAGE: u8 = 2;
    /// Nothing failed, but some subtitles that were there already were kept.
    pub const KEPT: u8 = 3;
    /// Nothing was begun: the model is missing, or an element of GStreamer.
    pub const NOT_READY: u8 = 4;
    /// A signal came: this and the signal's number.
    pub const SIGNAL: u8 = 128;
}

const EXIT_CODES: &str = "\
Exit codes:
  0    every file has its subtitles
  1    some file has none; the others are done
  2    the command line is wrong
  3    nothing failed, but subtitles that were there already were kept (see --force)
  4    nothing was begun: no such model, or GStreamer lacks an element
  130  stopped by Ctrl-C (143: by SIGTERM); the text so far is in FILE.partial.srt

Examples:
  whispernpu film.mkv                      film.srt beside it
  whispernpu --format vtt --output - talk.mp3
  whispernpu --model base --language de --mux interview.mp4
  whispernpu recordings/                   all media in the folder and below
  whispernpu --live                        what the microphone hears, word by word
  whispernpu --fetch --model base          fetches a model";

/// Subtitles for media files, made by Whisper on this machine.
///
/// FILE may be anything that GStreamer plays. The subtitles come to lie beside it, and appear whole or
/// not at all. Until then the text grows in FILE.partial.srt.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Arguments {
    /// Media files, or folders with media files
    #[arg(value_name = "FILE", required_unless_present_any = ["fetch", "live"])]
    pub inputs: Vec<PathBuf>,

    /// What to write
    #[arg(short, long, value_enum, default_value_t = FormatName::Srt)]
    pub format: FormatName,

    /// Where to write: a file, a folder, or - for standard output
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,

    /// A model's name or path [default: tiny.en; base for other languages and --translate]
    #[arg(short, long)]
    pub model: Option<String>,

    /// Language that is spoken, such as en or de; otherwise it is detected
    #[arg(short, long, value_name = "CODE")]
    pub language: Option<String>,

    /// Translate to English
    #[arg(long)]
    pub translate: bool,

    /// Print words while they are said: by the FILE, played in real time, or into the microphone.
    /// Ctrl-C ends it, and --output takes subtitles as well
    #[arg(long)]
    pub live: bool,

    /// Write a copy of the file with the subtitles as a track, in MP4 or Matroska. Sound and pictures
    /// are not encoded again
    #[arg(long, conflicts_with_all = ["format", "live"])]
    pub mux: bool,

    /// Fetch the model if it is missing, and the voice detector
    #[arg(long)]
    pub fetch: bool,

    /// With --fetch: a model whose SHA-256 sums are not known, trusting the server alone
    #[arg(long, requires = "fetch")]
    pub unpinned: bool,

    /// Replace subtitles that are there already
    #[arg(long)]
    pub force: bool,

    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// The formats by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// SubRip
    Srt,
    /// WebVTT
    Vtt,
    /// A JSON array of cues, with words and their times
    Json,
    /// The text alone
    Txt,
    /// Advanced SubStation Alpha, each word lit while it is said
    Ass,
}

impl From<FormatName> for FileFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Srt => Self::SubRip,
            FormatName::Vtt => Self::WebVtt,
            FormatName::Json => Self::Json,
            FormatName::Txt => Self::Text,
            FormatName::Ass => Self::Ass,
        }
    }
}

impl Arguments {
    /// The model that is asked for, or the one for the task.
    pub fn model(&self) -> &str {
        let is_english = |code: &str| code == "en" || code.starts_with("en-");
        match (&self.model, &self.language) {
            (Some(model), _) => model,
            (None, Some(code)) if !is_english(code) => "base",
            (None, _) if self.translate => "base",
            (None, _) => "tiny.en",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Arguments {
        let words = std::iter::once("whispernpu").chain(line.split_whitespace());
        Arguments::try_parse_from(words).unwrap()
    }

    #[test]
    fn options_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn default_model_suits_the_language() {
        for (line, model) in [
            ("a.mp3", "tiny.en"),
            ("--language en a.mp3", "tiny.en"),
            ("--language en-GB a.mp3", "tiny.en"),
            ("--language de a.mp3", "base"),
            ("--translate a.mp3", "base"),
            ("--translate --model small a.mp3", "small"),
        ] {
            assert_eq!(parse(line).model(), model, "{line}");
        }
    }

    #[test]
    fn names_of_formats_are_their_extensions() {
        for name in FormatName::value_variants() {
            let shown = name.to_possible_value().unwrap();
            assert_eq!(FileFormat::from(*name).extension(), shown.get_name());
        }
    }
}
