// SPDX-License-Identifier: MPL-2.0
//! Words while they are said.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use captions::{Captioner, Layout, Word};

use crate::models::for_the_command;
use crate::problem::Problem;
use crate::recognition::{Event, Recognition, Settings};
use crate::signals::Signals;
use crate::text::Text;

/// Time between two looks at signals.
const TICK: Duration = Duration::from_millis(100);
/// What the last words may take after Ctrl-C.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Letters in a line after which a sentence begins another one.
const LINE: usize = 60;

/// Prints the words of a file or, without one, of the microphone; `text` gets them as subtitles. Goes
/// on to the end of the file, or to a signal.
///
/// # Errors
///
/// If it cannot be recognised, or the output not written.
pub fn run(
    input: Option<&Path>,
    settings: &Settings,
    signals: &Signals,
    mut text: Option<&mut Text>,
) -> Result<(), Problem> {
    let recognition = Recognition::start(input, settings)?;
    let mut lines = Lines::default();
    let mut captioner = Captioner::cues(Layout::default());
    let mut deadline = None;
    loop {
        if signals.exit_code().is_some() && deadline.is_none() {
            recognition.end();
            deadline = Some(Instant::now() + LAST_WORDS);
        }
        let is_over = match recognition.next(TICK) {
            Some(Event::Cue(cue)) => {
                print(&lines.add(cue.new_words()))?;
                for word in cue.new_words() {
                    captioner.push(std::slice::from_ref(word));
                    captioner.advance_watermark(word.end);
                }
                false
            }
            Some(Event::Warning(warning)) => {
                eprintln!("whispernpu: {}", for_the_command(&warning));
                false
            }
            Some(Event::Failed(problem)) => return Err(problem),
            Some(Event::End) => true,
            _ => deadline.is_some_and(|deadline| Instant::now() > deadline),
        };
        if is_over {
            captioner.finish();
        }
        while let Some(cue) = captioner.pop() {
            if let Some(text) = &mut text {
                text.write(&cue)?;
            }
        }
        if is_over {
            recognition.stop();
            return print(lines.end());
        }
    }
}

fn print(text: &str) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(Problem::output(Path::new("standard output")))
}

/// Breaks text into lines that end with a sentence.
#[derive(Default)]
struct Lines {
    /// Letters in the line so far.
    column: usize,
    /// Whether the last word ended a sentence.
    has_ended: bool,
}

impl Lines {
    /// What to print for more words.
    fn add<'a>(&mut self, words: impl Iterator<Item = &'a Word>) -> String {
        let mut text = String::new();
        for word in words {
            if self.has_ended && self.column > LINE {
                text.push('\n');
                self.column = 0;
            } else if word.spaced && self.column > 0 {
                text.push(' ');
                self.column += 1;
            }
            text.push_str(&word.text);
            self.column += word.text.chars().count();
            self.has_ended = word.text.ends_with(['.', '?', '!', '。', '？', '！']);
        }
        text
    }

    /// What to print at the end.
    fn end(&self) -> &'static str {
        if self.column > 0 { "\n" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Word> {
        let word = |text: &str| Word {
            text: text.trim_start_matches('_').into(),
            spaced: !text.starts_with('_'),
            start: Duration::ZERO,
            end: Duration::ZERO,
            probability: 1.0,
        };
        text.split(' ').map(word).collect()
    }

    #[test]
    fn lines_end_with_sentences() {
        let mut lines = Lines::default();
        assert_eq!(lines.end(), "");
        let long = "a".repeat(LINE);
        assert_eq!(lines.add(words("Ask. Not").iter()), "Ask. Not");
        assert_eq!(lines.add(words(&long).iter()), format!(" {long}"));
        assert_eq!(lines.add(words("what. You").iter()), " what.\nYou");
        assert_eq!(lines.end(), "\n");
    }

    #[test]
    fn words_without_spaces_follow_each_other() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(words("今日 _は").iter()), "今日は");
    }
}
