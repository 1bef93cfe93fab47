// SPDX-License-Identifier: MPL-2.0
//! Words that come without speech: from music, noise and silence, with and without a prompt.
//!
//! Whisper writes what often stands under such sounds ("Thank you."), repeats a prompt, or loops. A
//! clip is transcribed offline and through the live schedule, as an application would that does not
//! know the language.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context, Result};
use whisper_engine::{Engine, TranscribeOptions};

use crate::manifest::Clip;
use crate::options::Options;
use crate::simulate;
use crate::words::words;

/// How a clip is listened to.
#[derive(Clone, Copy, Debug)]
enum How {
    Offline,
    Live,
}

/// Prints each invented text, and how many words came in all.
pub fn run(options: &Options, clips: &[Clip]) -> Result<()> {
    // Held, so that the live schedule shares it.
    let engine = Engine::builder()
        .threads(options.threads as usize)
        .open(&options.model)?;
    let mut all = Tally::default();
    for how in [How::Offline, How::Live] {
        for prompt in &options.prompts {
            let mut tally = Tally::default();
            for clip in clips {
                let text = listen(how, clip, prompt, (&engine, options));
                let text = text.with_context(|| clip.id.clone())?;
                if !text.is_empty() {
                    println!("{:<22} {text}", clip.id);
                }
                tally.add(&text);
                all.add(&text);
            }
            println!("{how:?}, prompt {prompt:?}: {tally}");
        }
    }
    println!("{}, all: {all}", options.model);
    Ok(())
}

fn listen(
    how: How,
    clip: &Clip,
    prompt: &str,
    (engine, options): (&Engine, &Options),
) -> Result<String> {
    let request = TranscribeOptions {
        initial_prompt: (!prompt.is_empty()).then(|| prompt.to_owned()),
        ..TranscribeOptions::default()
    };
    Ok(match how {
        How::Offline => engine.transcription(request).run(&clip.samples()?)?.text(),
        How::Live => simulate::listen_for(clip, request, options)?.text(),
    })
}

/// Words without speech.
#[derive(Debug, Default)]
struct Tally {
    clips: usize,
    with_text: usize,
    words: usize,
}

impl Tally {
    /// Counts a clip by the text that came.
    fn add(&mut self, text: &str) {
        self.clips += 1;
        self.with_text += usize::from(!text.is_empty());
        self.words += words(text).len();
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            clips,
            with_text,
            words,
        } = self;
        write!(f, "{words} words, text for {with_text} of {clips} clips")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_words_is_counted_as_text() {
        let mut tally = Tally::default();
        for text in ["", "♪ ♪", "Thank you."] {
            tally.add(text);
        }
        assert_eq!(tally.to_string(), "2 words, text for 2 of 3 clips");
    }
}
