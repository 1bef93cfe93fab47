// SPDX-License-Identifier: MPL-2.0
//! Whole files of cues.

use super::{Format, Writer, ass, text};
use crate::{Cue, format::json};

/// What a file of cues is.
///
/// ```
/// use captions::{FileFormat, FileWriter};
///
/// let mut json = FileWriter::new(FileFormat::Json);
/// assert_eq!(json.start() + &json.finish(), "[]\n");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// SubRip, as [`Format::SubRip`].
    SubRip,
    /// WebVTT, as [`Format::WebVtt`].
    WebVtt,
    /// One JSON array with an object for each cue, as [`Format::JsonLines`] has them.
    Json,
    /// The text alone: a line for each cue.
    Text,
    /// Advanced SubStation Alpha, each word lit while it is said.
    Ass,
}

impl FileFormat {
    /// All formats, the most usual one first.
    pub const ALL: [Self; 5] = [
        Self::SubRip,
        Self::WebVtt,
        Self::Json,
        Self::Text,
        Self::Ass,
    ];

    /// How names of such files end, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::SubRip => "srt",
            Self::WebVtt => "vtt",
            Self::Json => "json",
            Self::Text => "txt",
            Self::Ass => "ass",
        }
    }
}

/// Writes a file of cues: [`start`](Self::start), then [`write`](Self::write) for each cue, then
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct FileWriter {
    format: FileFormat,
    subrip: Writer,
    is_empty: bool,
}

impl FileWriter {
    /// A writer of one file.
    pub fn new(format: FileFormat) -> Self {
        Self {
            format,
            subrip: Writer::new(Format::SubRip),
            is_empty: true,
        }
    }

    /// What stands before the first cue.
    pub fn start(&self) -> String {
        match self.format {
            FileFormat::SubRip | FileFormat::Text => String::new(),
            FileFormat::WebVtt => super::webvtt::HEADER.to_owned(),
            FileFormat::Json => "[".to_owned(),
            FileFormat::Ass => ass::HEADER.to_owned(),
        }
    }

    /// The text of the next cue.
    pub fn write(&mut self, cue: &Cue) -> String {
        let is_first = std::mem::take(&mut self.is_empty);
        match self.format {
            FileFormat::SubRip => self.subrip.write(cue),
            FileFormat::WebVtt => super::webvtt::cue(cue),
            FileFormat::Json => {
                let separator = if is_first { "\n" } else { ",\n" };
                separator.to_owned() + json::line(cue).trim_end()
            }
            FileFormat::Text => text::line(cue),
            FileFormat::Ass => ass::dialogue(cue),
        }
    }

    /// What stands behind the last cue.
    pub fn finish(&self) -> String {
        match self.format {
            FileFormat::Json if self.is_empty => "]\n".to_owned(),
            FileFormat::Json => "\n]\n".to_owned(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Word;

    fn cue(text: &str, start_ms: u64, end_ms: u64) -> Cue {
        let word = |text: &str| Word {
            text: text.into(),
            spaced: true,
            start: Duration::from_millis(start_ms),
            end: Duration::from_millis(end_ms),
            probability: 1.0,
        };
        let line = |line: &str| line.split(' ').map(word).collect();
        Cue::all_new(
            Duration::from_millis(start_ms),
            Duration::from_millis(end_ms),
            text.split('\n').map(line).collect(),
        )
    }

    fn file(format: FileFormat, cues: &[Cue]) -> String {
        let mut writer = FileWriter::new(format);
        let mut file = writer.start();
        for cue in cues {
            file += &writer.write(cue);
        }
        file + &writer.finish()
    }

    #[test]
    fn json_file_is_one_array() {
        let file = |cues: &[Cue]| file(FileFormat::Json, cues);
        let cues = [cue("a b", 0, 900), cue("c", 1000, 2000)];
        for count in 0..=cues.len() {
            let value: serde_json::Value = serde_json::from_str(&file(&cues[..count])).unwrap();
            assert_eq!(value.as_array().map(Vec::len), Some(count));
        }
        let value: serde_json::Value = serde_json::from_str(&file(&cues)).unwrap();
        assert_eq!(value[1]["text"], "c");
    }

    #[test]
    fn text_file_has_a_line_for_each_cue() {
        let cues = [cue("Ask not\nwhat", 0, 900), cue("you do.", 1000, 2000)];
        assert_eq!(file(FileFormat::Text, &cues), "Ask not what\nyou do.\n");
    }

    #[test]
    fn webvtt_file_without_cues_has_its_header() {
        assert_eq!(file(FileFormat::WebVtt, &[]), "WEBVTT\n\n");
        let one = file(FileFormat::WebVtt, &[cue("a", 0, 1000)]);
        assert_eq!(one, "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na\n\n");
    }

    #[test]
    fn subrip_file_numbers_cues() {
        let cues = [cue("a", 0, 1000), cue("b", 1000, 2000)];
        assert!(file(FileFormat::SubRip, &cues).contains("\n\n2\n00:00:01,000"));
    }

    #[test]
    fn extensions_differ() {
        let mut extensions = FileFormat::ALL.map(FileFormat::extension).to_vec();
        extensions.sort_unstable();
        extensions.dedup();
        assert_eq!(extensions.len(), FileFormat::ALL.len());
    }
}
