// SPDX-License-Identifier: MPL-2.0
//! What was said, all of it.

use std::time::Duration;

use captions::{Captioner, Cue, Format, Layout, Word, Writer};

/// What was said in a piece of audio.
///
/// ```
/// use std::time::Duration;
/// use whisper_engine::captions::{Format, Word};
/// use whisper_engine::Transcript;
///
/// let word = |text: &str, start| Word {
///     text: text.into(),
///     spaced: true,
///     start: Duration::from_millis(start),
///     end: Duration::from_millis(start + 400),
///     probability: 0.9,
/// };
/// let transcript = Transcript {
///     words: vec![word("Ask", 1_000), word("not.", 1_500)],
///     language: Some("en".into()),
///     duration: Duration::from_secs(3),
/// };
/// assert_eq!(transcript.text(), "Ask not.");
/// let subrip = transcript.subtitles(Format::SubRip);
/// assert!(subrip.starts_with("1\n00:00:01,000 --> "), "{subrip}");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// All words, in the order in which they were said.
    pub words: Vec<Word>,
    /// The language of the text: ISO 639-1 code as Whisper names it. `None` if no speech was there
    /// to tell it from.
    pub language: Option<String>,
    /// Length of the audio.
    pub duration: Duration,
}

impl Transcript {
    /// The words as one text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for word in &self.words {
            if word.spaced && !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&word.text);
        }
        text
    }

    /// The words as subtitles of two lines of 42 characters at most.
    pub fn cues(&self) -> Vec<Cue> {
        self.cues_with(Layout::default())
    }

    /// The words as subtitles of this layout.
    pub fn cues_with(&self, layout: Layout) -> Vec<Cue> {
        let mut captioner = Captioner::cues(layout);
        captioner.push(&self.words);
        captioner.finish();
        std::iter::from_fn(|| captioner.pop()).collect()
    }

    /// The subtitles as a file in this format.
    pub fn subtitles(&self, format: Format) -> String {
        let mut writer = Writer::new(format);
        let mut file = writer.header().unwrap_or_default();
        for cue in self.cues() {
            file.push_str(&writer.write(&cue));
        }
        file
    }
}
