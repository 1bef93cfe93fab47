// SPDX-License-Identifier: MPL-2.0
//! JSON: one object a cue on its own line, or the array of its words.
//!
//! ```json
//! {"start":0.5,"end":2.0,"text":"Hi,\nyou","lines":["Hi,","you"],
//!  "words":[{"text":"Hi,","start":0.5,"end":0.9,"probability":0.98}]}
//! ```
//!
//! All of it is on one line. Times are seconds, to the nearest millisecond. `words` holds the words that
//! the cue is the first to show.

use std::time::Duration;

use serde::Serialize;

use crate::Cue;

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
