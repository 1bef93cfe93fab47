// SPDX-License-Identifier: MPL-2.0
//! How late words come, against the gold times in `words.tsv` and `segments.tsv`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::live::Heard;
use crate::manifest::Clip;
use crate::words::{align, plain};

/// Words this close to the edge of a span without speech may belong to what is beside it, seconds.
const EDGE: f64 = 0.5;

/// A span of a clip, in seconds, with a word or an utterance in it, or `#` and what it holds instead of speech.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub start: f64,
    pub end: f64,
    pub text: String,
}

/// Gold words, or segments, of a clip; none if there is no such file.
pub fn spans(file: &Path, clip: &Clip, columns: [&str; 3]) -> Result<Vec<Span>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    parse(&text, &|path| clip.path.ends_with(path), columns)
        .with_context(|| file.display().to_string())
}

fn parse(text: &str, wanted: &dyn Fn(&str) -> bool, columns: [&str; 3]) -> Result<Vec<Span>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        let found = header.iter().position(|&column| column == name);
        found.with_context(|| format!("no column {name:?}"))
    };
    let file = column("file")?;
    let [text, start, end] = columns.map(column);
    let (text, start, end) = (text?, start?, end?);
    let mut spans = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        if wanted(field(file)) {
            spans.push(Span {
                start: field(start).parse().with_context(|| line.to_owned())?,
                end: field(end).parse().with_context(|| line.to_owned())?,
                text: field(text).to_owned(),
            });
        }
    }
    Ok(spans)
}

/// The end of each gold word that came out right, and the time from there to its coming out.
pub fn latencies(gold: &[Span], heard: &[Heard]) -> Vec<(f64, f64)> {
    let said: Vec<String> = gold.iter().map(|word| plain(&word.text)).collect();
    let came: Vec<String> = heard.iter().map(|word| plain(&word.text)).collect();
    let pairs = align(&said, &came);
    pairs
        .into_iter()
        .map(|(i, j)| (gold[i].end, heard[j].at - gold[i].end))
        .collect()
}

/// How far the times of words that came out right are from the gold ones: starts, absolute.
pub fn start_errors(gold: &[Span], heard: &[Heard]) -> Vec<f64> {
    let said: Vec<String> = gold.iter().map(|word| plain(&word.text)).collect();
    let came: Vec<String> = heard.iter().map(|word| plain(&word.text)).collect();
    let pairs = align(&said, &came);
    pairs
        .into_iter()
        .map(|(i, j)| (heard[j].start - gold[i].start).abs())
        .collect()
}

/// From the end of each utterance's last gold word to the last word that came out for it.
pub fn final_delays(segments: &[Span], gold: &[Span], heard: &[Heard]) -> Vec<f64> {
    let delay = |segment: &Span| {
        let last_said = gold
            .iter()
            .rfind(|word| word.start >= segment.start && word.start < segment.end)?;
        let last_came = heard
            .iter()
            .rfind(|word| word.start >= segment.start && word.start < segment.end)?;
        Some(last_came.at - last_said.end)
    };
    let speech = segments
        .iter()
        .filter(|segment| !segment.text.starts_with('#'));
    speech.filter_map(delay).collect()
}

/// Words that came out where nobody speaks.
pub fn intruders<'a>(segments: &[Span], heard: &'a [Heard]) -> Vec<&'a Heard> {
    let empty: Vec<&Span> = segments
        .iter()
        .filter(|segment| segment.text.starts_with('#'))
        .collect();
    let intrudes = |word: &&Heard| {
        let middle = (word.start + word.end) / 2.0;
        empty
            .iter()
            .any(|span| middle > span.start + EDGE && middle < span.end - EDGE)
    };
    heard.iter().filter(intrudes).collect()
}

/// Mean, median, 95th percentile and maximum.
pub fn summary(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(max), count) = (values.last(), values.len()) else {
        return "none".into();
    };
    let quantile = |q: f64| values[((count - 1) as f64 * q).round() as usize];
    let mean = values.iter().sum::<f64>() / count as f64;
    format!(
        "mean {mean:.2}  p50 {:.2}  p95 {:.2}  max {max:.2} s ({count} words)",
        quantile(0.5),
        quantile(0.95)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str, start: f64, end: f64) -> Span {
        Span {
            start,
            end,
            text: text.into(),
        }
    }

    fn heard(text: &str, start: f64, at: f64) -> Heard {
        Heard {
            text: text.into(),
            start,
            end: start + 0.2,
            at,
        }
    }

    #[test]
    fn latencies_skip_wrong_and_missing_words() {
        let gold = [
            span("hold", 0.0, 0.5),
            span("on", 0.5, 1.0),
            span("hold", 1.0, 1.5),
            span("fast", 1.5, 2.0),
        ];
        let came = [
            heard("Hold", 0.1, 1.5),
            heard("an", 0.5, 2.0),
            heard("fast.", 1.6, 2.75),
        ];
        assert_eq!(latencies(&gold, &came), [(0.5, 1.0), (2.0, 0.75)]);
    }

    #[test]
    fn intruders_are_words_in_silence_off_its_edges() {
        let segments = [span("#silence", 0.0, 3.0), span("ls-1", 3.0, 5.0)];
        let came = [
            heard("a", 1.0, 2.0),
            heard("b", 2.7, 3.5),
            heard("c", 3.5, 4.0),
        ];
        let found: Vec<&str> = intruders(&segments, &came)
            .iter()
            .map(|word| word.text.as_str())
            .collect();
        assert_eq!(found, ["a"]);
        let gold = [span("b", 3.0, 3.4), span("c", 3.5, 3.9)];
        assert_eq!(final_delays(&segments, &gold, &came).len(), 1);
        assert!((final_delays(&segments, &gold, &came)[0] - 0.1).abs() < 1e-9);
    }

    #[test]
    fn rows_of_other_files_are_left_out() {
        let text = "file\tword\tstart\tend\na.flac\tone\t0.5\t1\nb.flac\ttwo\t1\t2\n";
        let spans = parse(text, &|file| file == "a.flac", ["word", "start", "end"]).unwrap();
        assert_eq!(spans, [span("one", 0.5, 1.0)]);
        assert!(parse("file\tstart\n", &|_| true, ["word", "start", "end"]).is_err());
    }
}
