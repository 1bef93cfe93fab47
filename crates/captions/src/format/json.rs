// SPDX-License-Identifier: MPL-2.0
//! JSON: one object a cue on its own line, or the array of its words.
//!
//! ```json
//! {"start":0.5,"end":2.0,"text":"Hi,\nyou","lines":["Hi,","you"],
//!  "words":[{"text":"Hi,","start":0.5,"end":0.9,"probability":0.98}]}
//! ```
//!
//! All of it is on one line. Times are seconds, to the nearest millisecond. `words` holds the words that
//! the cue is the first to show. A word that no white space parts from the one before (Chinese,
//! Japanese, Thai…) has `"spaced":false`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::printable;
use crate::{Cue, Word};

#[derive(Serialize)]
struct CueObject<'a> {
    start: f64,
    end: f64,
    text: String,
    lines: Vec<String>,
    words: Vec<WordObject<'a>>,
}

#[derive(Serialize)]
struct WordObject<'a> {
    text: &'a str,
    start: f64,
    end: f64,
    probability: f32,
    /// Left out where it is true, as for nearly all languages.
    #[serde(skip_serializing_if = "is_true")]
    spaced: bool,
}

/// What is read again; `text` repeats the lines.
#[derive(Deserialize)]
struct ReadCue {
    start: f64,
    end: f64,
    lines: Vec<String>,
    words: Vec<ReadWord>,
}

#[derive(Deserialize)]
struct ReadWord {
    text: String,
    start: f64,
    end: f64,
    probability: f32,
    #[serde(default = "yes")]
    spaced: bool,
}

fn is_true(spaced: &bool) -> bool {
    *spaced
}

fn yes() -> bool {
    true
}

fn seconds(time: Duration) -> f64 {
    super::to_nearest_millisecond(time).as_millis() as f64 / 1000.0
}

fn word_objects(cue: &Cue) -> Vec<WordObject<'_>> {
    let words = cue.new_words().map(|word| WordObject {
        text: &word.text,
        start: seconds(word.start),
        end: seconds(word.end),
        probability: word.probability,
        spaced: word.spaced,
    });
    words.collect()
}

/// The new words of a cue as a JSON array.
///
/// Each is an object such as `{"text":"Hi,","start":0.5,"end":0.9,"probability":0.98}`, with times
/// in seconds. A cue that shows nothing new gives `[]`.
pub fn words(cue: &Cue) -> String {
    serde_json::to_string(&word_objects(cue)).unwrap_or_default()
}

/// The cue as one line of JSON.
pub fn line(cue: &Cue) -> String {
    let lines = super::lines(cue);
    let object = CueObject {
        start: seconds(cue.start),
        end: seconds(cue.end),
        text: lines.join("\n"),
        lines,
        words: word_objects(cue),
    };
    // Numbers and strings always serialise: there is no error to return.
    serde_json::to_string(&object).unwrap_or_default() + "\n"
}

/// The cue that [`Format::JsonLines`](super::Format::JsonLines) wrote.
///
/// The line has no times of words that an earlier cue has shown: such a cue comes back with its new
/// words alone.
///
/// # Errors
///
/// If this is not such a line.
pub fn read_line(line: &str) -> Result<Cue, serde_json::Error> {
    let read: ReadCue = serde_json::from_str(line)?;
    let words = read.words.into_iter().map(|word| Word {
        text: word.text,
        spaced: word.spaced,
        start: duration(word.start),
        end: duration(word.end).max(duration(word.start)),
        probability: word.probability,
    });
    let mut words: Vec<Word> = words.collect();
    let mut lines = Vec::new();
    for line in read.lines.iter().rev() {
        let first = first_of_line(&words, line);
        let of_line = words.split_off(first);
        if !of_line.is_empty() {
            lines.insert(0, of_line);
        }
    }
    // What fits no line, because the line was sanitised, is not lost.
    if !words.is_empty() {
        lines.insert(0, words);
    }
    Ok(Cue::all_new(
        duration(read.start),
        duration(read.end),
        lines,
    ))
}

/// The index of the first of the last words that make up `line`, or what is there of it.
fn first_of_line(words: &[Word], line: &str) -> usize {
    let mut first = words.len();
    while first > 0 && line.ends_with(&printable(&words[first - 1..])) {
        first -= 1;
    }
    first
}

fn duration(seconds: f64) -> Duration {
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    super::to_nearest_millisecond(time)
}
