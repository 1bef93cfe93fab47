// SPDX-License-Identifier: MPL-2.0
//! Hours of live text from a clip played over and over, with holes, and music, noise and silence in
//! between: do times drift, does memory grow, has each hour its text?
//!
//! `appsrc ! whispernpu mode=live granularity=word ! appsink`, as fast as it goes: the element hears what it would have
//! heard in real time if computing took no time. A fifth of the audio is lost in holes of 1 to 5 s, whose end carries
//! DISCONT; times go on through them.

use std::thread;

use anyhow::{Context, Result, ensure};
use gst::prelude::*;
use test_support::resident_mb;

use crate::bus;
use crate::live::{self, BUFFER, Heard, RATE, heard};
use crate::manifest::Clip;
use crate::options::Options;
use crate::timing::{self, Span};

/// Buffers of 20 ms of which one begins a hole, on average: holes of 3 s then take a fifth of the time.
const BUFFERS_PER_HOLE: u64 = 600;
/// Allocators keep what they were given once; a leak grows without end.
const GROWTH_ALLOWED_MB: f64 = 16.0;
/// Words so many seconds after the clip may belong to it.
const EDGE: f64 = 1.0;
/// 95 of 100 words are nearer to where they were said, in seconds.
const DRIFT_ALLOWED: f64 = 0.4;

/// What is played over and over.
struct Programme {
    /// Bytes of the clip, then of what comes between.
    samples: Vec<u8>,
    /// Seconds of the clip, and of all.
    clip: f64,
    length: f64,
}

impl Programme {
    /// The clip, and `rest` times as much without speech: other clips, then silence.
    fn new(clip: &Clip, others: &[Clip], rest: usize) -> Result<Self> {
        let mut samples = clip.bytes()?;
        let (spoken, whole) = (samples.len(), samples.len() * (1 + rest));
        for other in others.iter().filter(|other| other.kind == "nonspeech") {
            samples.extend(other.bytes()?);
        }
        samples.resize(whole, 0);
        let seconds = |bytes: usize| bytes as f64 / 2.0 / RATE as f64;
        Ok(Self {
            samples,
            clip: seconds(spoken),
            length: seconds(whole),
        })
    }
}

/// Plays the first clip for `options.hours`; an error if a promise is not kept.
pub fn run(clips: &[Clip], options: &Options) -> Result<()> {
    let (clip, others) = clips.split_first().context("no clip")?;
    let gold = timing::spans(
        &options.speech.join("words.tsv"),
        clip,
        ["word", "start", "end"],
    )?;
    let programme = Programme::new(clip, others, options.rest)?;
    let (spoken, length) = (programme.clip, programme.length);
    let rounds = (options.hours * 3600.0 / length).ceil() as u64;
    let source = "block=true max-bytes=320000";
    let (pipeline, _) = live::pipeline(source, "mode=live language-code=en", options)?;
    let element = |name| pipeline.by_name(name).context("no element");
    let source = element("source")?
        .downcast::<gst_app::AppSrc>()
        .ok()
        .context("no source")?;
    let sink = element("sink")?
        .downcast::<gst_app::AppSink>()
        .ok()
        .context("no sink")?;
    pipeline.set_state(gst::State::Playing)?;
    let feeder = thread::spawn(move || feed(&source, &programme.samples, rounds));
    let mut round = Round {
        number: 0,
        spoken,
        length,
        words: Vec::new(),
        errors: Vec::new(),
        silent: 0,
        invented: 0,
    };
    // The first hour, or quarter of a shorter run, fills pools and caches.
    let warm_up = (options.hours * 900.0).min(3600.0);
    let (mut warm, mut peak) = (0.0, 0.0_f64);
    while let Ok(sample) = sink.pull_sample() {
        let word = heard(&sample, 0.0)?;
        while word.start >= (round.number + 1) as f64 * length {
            round.close(&gold);
            let resident = resident_mb()?;
            if (round.number as f64) * length < warm_up.max(2.0 * length) {
                warm = resident;
            }
            peak = peak.max(resident);
        }
        round.words.push(word);
    }
    round.close(&gold);
    let holes = feeder.join().ok().context("the feeder panicked")??;
    if let Some(error) = bus::error(&pipeline) {
        return Err(error);
    }
    pipeline.set_state(gst::State::Null)?;
    report(round, holes, rounds as f64 * length, (warm, peak))
}

fn report(mut round: Round, holes: u64, seconds: f64, (warm, peak): (f64, f64)) -> Result<()> {
    let third = round.errors.len() / 3;
    println!(
        "{:.2} h of audio, {holes} holes, {} rounds of which {} without text, {} words where nobody speaks",
        seconds / 3600.0,
        round.number,
        round.silent,
        round.invented
    );
    println!(
        "starts of words against the gold ones, all:  {}",
        timing::summary(round.errors.clone())
    );
    println!(
        "the first third: {}",
        timing::summary(round.errors[..third].to_vec())
    );
    println!(
        "the last third:  {}",
        timing::summary(round.errors[2 * third..].to_vec())
    );
    println!("resident: {warm:.1} MB after the warm-up, {peak:.1} MB at most");
    round.errors.sort_by(f64::total_cmp);
    let p95 = round
        .errors
        .get(round.errors.len() * 95 / 100)
        .context("no words came")?;
    ensure!(
        *p95 <= DRIFT_ALLOWED,
        "times of words are off: p95 {p95:.2} s"
    );
    ensure!(peak - warm <= GROWTH_ALLOWED_MB, "memory grows");
    ensure!(round.silent == 0, "a round is without text");
    Ok(())
}

/// Plays the samples over and over; returns the number of holes.
fn feed(source: &gst_app::AppSrc, samples: &[u8], rounds: u64) -> Result<u64> {
    // The same holes in each run.
    let mut random = fastrand::Rng::with_seed(1);
    let (mut holes, mut lost) = (0, 0);
    let mut position = 0;
    for _ in 0..rounds {
        for chunk in samples.chunks(2 * BUFFER) {
            let time = |samples: usize| {
                gst::ClockTime::from_nseconds(samples as u64 * 1_000_000_000 / RATE as u64)
            };
            let pts = time(position);
            position += chunk.len() / 2;
            let was_lost = lost > 0;
            lost = u64::saturating_sub(lost, 1);
            if lost == 0 && random.u64(..BUFFERS_PER_HOLE) == 0 {
                holes += 1;
                lost = 50 + random.u64(..200);
            }
            if lost > 0 {
                continue;
            }
            let mut buffer = gst::Buffer::from_slice(chunk.to_vec());
            let writable = buffer.get_mut().context("a new buffer is writable")?;
            writable.set_pts(pts);
            writable.set_duration(time(chunk.len() / 2));
            if was_lost {
                writable.set_flags(gst::BufferFlags::DISCONT);
            }
            source.push_buffer(buffer)?;
        }
    }
    source.end_of_stream()?;
    Ok(holes)
}

/// One time through the clip.
struct Round {
    number: u64,
    /// Seconds of speech, and of all.
    spoken: f64,
    length: f64,
    words: Vec<Heard>,
    /// Of all rounds so far.
    errors: Vec<f64>,
    /// Rounds without text.
    silent: u64,
    /// Words where nobody speaks.
    invented: usize,
}

impl Round {
    fn close(&mut self, gold: &[Span]) {
        let offset = self.number as f64 * self.length;
        for word in &mut self.words {
            word.start -= offset;
        }
        let spoken = self.spoken + EDGE;
        let all = self.words.len();
        self.words.retain(|word| word.start < spoken);
        self.invented += all - self.words.len();
        self.silent += u64::from(self.words.is_empty());
        self.errors.extend(timing::start_errors(gold, &self.words));
        self.words.clear();
        self.number += 1;
    }
}
