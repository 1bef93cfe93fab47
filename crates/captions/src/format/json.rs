// SPDX-License-Identifier: MPL-2.0
//! JSON: one object a cue on a line of its own, or the list of its words. Times are seconds, to the millisecond.
//!
//! `{"start":0.5,"end":2.0,"text":"Hi,\nyou","lines":["Hi,","you"],
//!   "words":[{"text":"Hi,","start":0.5,"end":0.9,"probability":0.98},…]}`, on one line.
//! Of text that rolls up, `words` has those that the cue is the first to show.

use std::time::Duration;

use serde::Serialize;

use crate::Cue;

#[derive(Serialize)]
struct Line<'a> {
    start: f64,
    end: f64,
    text: String,
    lines: Vec<String>,
    words: Vec<Spoken<'a>>,
}

#[derive(Serialize)]
struct Spoken<'a> {
    text: &'a str,
    start: f64,
    end: f64,
    probability: f32,
}

fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

fn spoken(cue: &Cue) -> Vec<Spoken<'_>> {
    let words = cue.new_words().map(|word| Spoken {
        text: &word.text,
        start: seconds(word.start),
        end: seconds(word.end),
        probability: word.probability,
    });
    words.collect()
}

/// The words of the cue as an array.
pub fn words(cue: &Cue) -> String {
    serde_json::to_string(&spoken(cue)).unwrap_or_default()
}

pub fn line(cue: &Cue) -> String {
    let lines = super::lines(cue);
    let object = Line {
        start: seconds(cue.start),
        end: seconds(cue.end),
        text: lines.join("\n"),
        lines,
        words: spoken(cue),
    };
    // Numbers and strings always serialize: there is no error to hand on.
    serde_json::to_string(&object).unwrap_or_default() + "\n"
}
