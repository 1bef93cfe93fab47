// SPDX-License-Identifier: MPL-2.0
//! An upstream that does to buffers and events what no upstream should.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use gst::ClockTime;
use gst::prelude::*;
use test_support::SAMPLE_RATE;

use crate::request::{buffer, time_of};
use crate::speech::read_wav;
use crate::stage::Stage;

/// Milliseconds of the longest buffer.
const LONGEST_MS: usize = 120;
/// By how much a time stamp may be off.
const JITTER_MS: i64 = 100;
const MODES: [&str; 2] = [
    "mode=offline granularity=word language-code=en",
    "mode=live granularity=word language-code=en",
];

/// The speech through `seeds` upstreams, each worse in its own way: the words are those of a clean run,
/// and take at most twice its time.
pub fn timeline(speech: &Path, seeds: u64) -> Result<()> {
    let mut samples = read_wav(speech)?;
    samples.truncate(12 * SAMPLE_RATE);
    let clean = MODES.map(|mode| play(mode, &samples, None));
    let [offline, live] = clean;
    let clean = [offline?, live?];
    let mut slowest: f64 = 0.0;
    let (mut spent, mut spent_clean) = (0.0, 0.0);
    for seed in 0..seeds {
        let which = seed as usize % MODES.len();
        let Played {
            words,
            seconds,
            stats,
        } = play(MODES[which], &samples, Some(seed))
            .with_context(|| format!("seed {seed}, {}", MODES[which]))?;
        let expected = &clean[which];
        ensure!(
            words == expected.words,
            "seed {seed}, {}: {words:?}, but a clean run has {:?}; {stats}",
            MODES[which],
            expected.words
        );
        slowest = slowest.max(seconds / expected.seconds);
        spent += seconds;
        spent_clean += expected.seconds;
    }
    println!(
        "{seeds} seeds, {:.1} s of speech each: every word; {:.2} of the time of clean runs, {slowest:.1} at most",
        samples.len() as f64 / SAMPLE_RATE as f64,
        spent / spent_clean
    );
    ensure!(
        spent <= 2.0 * spent_clean,
        "bad time stamps cost more than twice the time"
    );
    Ok(())
}

/// What came of the speech.
struct Played {
    words: String,
    seconds: f64,
    /// The element's counters.
    stats: gst::Structure,
}

/// Plays the speech from an upstream that is clean or does what a seed says.
fn play(properties: &str, samples: &[i16], seed: Option<u64>) -> Result<Played> {
    let stage = Stage::new(properties, |_| Ok(gst::FlowSuccess::Ok))?;
    stage.start();
    let began = Instant::now();
    let mut upstream = Upstream {
        stage: &stage,
        rng: Rng::with_seed(seed.unwrap_or(0)),
        rounding_ms: 1,
    };
    match seed {
        None => upstream.clean(samples)?,
        Some(_) => upstream.hostile(samples)?,
    }
    let words = words(&stage.finish()?);
    Ok(Played {
        words,
        seconds: began.elapsed().as_secs_f64(),
        stats: stage.element.property("stats"),
    })
}

/// Without marks: when a live update comes, and so what it takes for the end of a sentence, depends on
/// how the samples are cut.
fn words(text: &str) -> String {
    let is_kept = |letter: &char| letter.is_alphanumeric() || letter.is_whitespace();
    text.chars().filter(is_kept).collect()
}

struct Upstream<'a> {
    stage: &'a Stage,
    rng: Rng,
    /// What time stamps are rounded to.
    rounding_ms: u64,
}

impl Upstream<'_> {
    fn clean(&mut self, samples: &[i16]) -> Result<()> {
        const BUFFER: usize = SAMPLE_RATE / 50;
        for (index, chunk) in samples.chunks(BUFFER).enumerate() {
            self.stage
                .source
                .push(buffer(chunk, (index * BUFFER) as u64))?;
        }
        Ok(())
    }

    fn hostile(&mut self, samples: &[i16]) -> Result<()> {
        self.rounding_ms = [1, 1, 10, 20, 100][self.rng.usize(..5)];
        let jitter = self.rng.i64(0..=JITTER_MS);
        let longest = self.rng.usize(1..=LONGEST_MS) * SAMPLE_RATE / 1000;
        let mut at = 0;
        while at < samples.len() {
            let size = self.rng.usize(1..=longest).min(samples.len() - at);
            let sent = buffer(&samples[at..at + size], at as u64);
            let sent = self.stamped(sent, at as u64, jitter);
            // Nobody can tell the repetition of a few samples, or of some at no time, from a tone.
            if sent.pts().is_some() && size >= SAMPLE_RATE / 100 && self.rng.u8(..) < 4 {
                self.stage.source.push(sent.clone())?;
                self.stage.source.push(sent)?;
            } else {
                self.push_cut(sent)?;
            }
            if self.rng.u8(..) < 16 {
                self.disturb();
            }
            at += size;
        }
        Ok(())
    }

    /// The buffer with a time stamp that is off, rounded, or not there.
    fn stamped(&mut self, mut sent: gst::Buffer, first: u64, jitter: i64) -> gst::Buffer {
        let off = self.rng.i64(-jitter..=jitter) * 1_000_000;
        let pts = time_of(first).nseconds().saturating_add_signed(off);
        let step = self.rounding_ms * 1_000_000;
        let pts = pts.next_multiple_of(step);
        let writable = sent.make_mut();
        // The first one says where the speech begins.
        let is_missing = first > 0 && self.rng.u8(..) < 26;
        writable.set_pts((!is_missing).then_some(ClockTime::from_nseconds(pts)));
        if self.rng.bool() {
            writable.set_duration(ClockTime::NONE);
        }
        if first == 0 {
            writable.set_pts(ClockTime::ZERO);
        }
        sent
    }

    /// Pushes the buffer whole, or cut within a sample.
    fn push_cut(&mut self, sent: gst::Buffer) -> Result<()> {
        if sent.size() < 4 || self.rng.u8(..) > 12 {
            self.stage.source.push(sent)?;
            return Ok(());
        }
        let cut = self.rng.usize(1..sent.size());
        let part = |range: std::ops::Range<usize>| -> Result<gst::Buffer> {
            let mut bytes = vec![0; range.len()];
            sent.copy_to_slice(range.start, &mut bytes)
                .map_err(|_| anyhow::anyhow!("cannot copy"))?;
            Ok(gst::Buffer::from_mut_slice(bytes))
        };
        let mut first = part(0..cut)?;
        first.make_mut().set_pts(sent.pts());
        self.stage.source.push(first)?;
        self.stage.source.push(part(cut..sent.size())?)?;
        Ok(())
    }

    /// Something that has no bearing on the samples.
    fn disturb(&mut self) {
        let pad = &self.stage.source;
        let custom = || gst::Structure::builder("soak/nothing").build();
        match self.rng.u8(..7) {
            0 => self.stage.segment(),
            1 => self.stage.start(),
            2 => {
                let event = gst::event::CustomDownstream::new(custom());
                pad.push_event(event);
            }
            3 => {
                let mut tags = gst::TagList::new();
                if let Some(tags) = tags.get_mut() {
                    tags.add::<gst::tags::Title>(&"a title", gst::TagMergeMode::Replace);
                }
                pad.push_event(gst::event::Tag::new(tags));
            }
            4 => {
                pad.peer_query(&mut gst::query::Latency::new());
            }
            5 => {
                let _ = pad.push(gst::Buffer::new());
            }
            _ => {
                let code = ["en", "en-US", "en-GB"][self.rng.usize(..3)];
                self.stage.element.set_property("language-code", code);
            }
        }
    }
}
