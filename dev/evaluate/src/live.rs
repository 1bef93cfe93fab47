// SPDX-License-Identifier: MPL-2.0
//! Clips in real time through `appsrc is-live=true ! whispernpu granularity=word ! appsink`: audio of 20 ms is pushed
//! when the wall clock says that it has been recorded, and each word is given the time at which it came.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gst::prelude::*;

use crate::bus::error;
use crate::manifest::Clip;
use crate::options::Options;

pub const RATE: usize = 16_000;
/// Samples in a buffer, 20 ms.
pub const BUFFER: usize = RATE / 50;
/// Without an end for so long after the audio, a pipeline hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A word that came out, in seconds from the clip's first sample.
pub struct Heard {
    pub text: String,
    pub start: f64,
    pub end: f64,
    /// When it came out.
    pub at: f64,
}

/// What came of a clip.
pub struct Listened {
    pub words: Vec<Heard>,
    /// Updates made, and what the guards did.
    pub counters: Vec<(String, u64)>,
    /// Of one core, from the first sample to the end.
    pub cpu_share: f64,
    pub device: String,
}

impl Listened {
    pub fn text(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        words.join(" ")
    }

    pub fn count(&self, name: &str) -> u64 {
        let found = self.counters.iter().find(|(counter, _)| counter == name);
        found.map_or(0, |(_, count)| *count)
    }
}

/// Plays a clip in real time. The model is loaded before the clock starts.
pub fn listen(clip: &Clip, options: &Options) -> Result<Listened> {
    let samples = clip.bytes()?;
    let (pipeline, whisper) = pipeline("is-live=true", "", options)?;
    if clip.language != "-" {
        whisper.set_property("language-code", &clip.language);
    }
    let heard = play(&pipeline, &whisper, samples);
    pipeline.set_state(gst::State::Null)?;
    heard
}

/// From an `appsrc` named `source` through the element to an `appsink` named `sink`, a word a buffer; both properties
/// as gst-launch takes them.
pub fn pipeline(
    source: &str,
    element: &str,
    options: &Options,
) -> Result<(gst::Pipeline, gst::Element)> {
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=source format=time {source} \
         caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
         ! whispernpu name=whisper granularity=word {element} ! text/x-raw, format=utf8 ! appsink name=sink sync=false",
    ))?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .ok()
        .context("not a pipeline")?;
    let whisper = pipeline.by_name("whisper").context("no element")?;
    whisper.set_property("model", &options.model);
    whisper.set_property_from_str("device", &options.device);
    whisper.set_property("threads", options.threads);
    if let Some(interval) = options.interval {
        whisper.set_property("update-interval", interval);
    }
    Ok((pipeline, whisper))
}

fn play(pipeline: &gst::Pipeline, whisper: &gst::Element, samples: Vec<u8>) -> Result<Listened> {
    let source = pipeline
        .by_name("source")
        .and_downcast::<gst_app::AppSrc>()
        .context("no source")?;
    let sink = pipeline
        .by_name("sink")
        .and_downcast::<gst_app::AppSink>()
        .context("no sink")?;
    pipeline.set_state(gst::State::Playing)?;
    wait_for_model(whisper, pipeline)?;
    let (began, cpu) = (Instant::now(), cpu_time()?);
    let seconds = samples.len() as f64 / 2.0 / RATE as f64;
    let feeder = thread::spawn(move || feed(&source, &samples, began));
    let mut words = Vec::new();
    while !sink.is_eos() {
        if let Some(error) = error(pipeline) {
            return Err(error);
        }
        if began.elapsed() > Duration::from_secs_f64(seconds) + PATIENCE {
            bail!("no end {} s after the audio", PATIENCE.as_secs());
        }
        let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_mseconds(100)) else {
            continue;
        };
        words.push(heard(&sample, began.elapsed().as_secs_f64())?);
    }
    let cpu_share = (cpu_time()? - cpu) / began.elapsed().as_secs_f64();
    feeder.join().ok().context("the feeder panicked")??;
    Ok(Listened {
        words,
        counters: counters(&whisper.property("stats")),
        cpu_share,
        device: whisper
            .property::<Option<String>>("active-device")
            .unwrap_or_default(),
    })
}

/// An application would start before the first word.
fn wait_for_model(whisper: &gst::Element, pipeline: &gst::Pipeline) -> Result<()> {
    let began = Instant::now();
    while whisper
        .property::<Option<String>>("active-device")
        .is_none()
    {
        if let Some(error) = error(pipeline) {
            return Err(error);
        }
        if began.elapsed() > PATIENCE {
            bail!("the model was not loaded within {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn feed(source: &gst_app::AppSrc, samples: &[u8], began: Instant) -> Result<()> {
    for (index, chunk) in samples.chunks(2 * BUFFER).enumerate() {
        let start = gst::ClockTime::from_mseconds(20 * index as u64);
        let recorded = began + Duration::from_millis(20 * (index as u64 + 1));
        thread::sleep(recorded.saturating_duration_since(Instant::now()));
        let mut buffer = gst::Buffer::from_slice(chunk.to_vec());
        let writable = buffer.get_mut().context("a new buffer is writable")?;
        writable.set_pts(start);
        writable.set_duration(gst::ClockTime::from_mseconds(20));
        source.push_buffer(buffer)?;
    }
    source.end_of_stream()?;
    Ok(())
}

pub fn heard(sample: &gst::Sample, at: f64) -> Result<Heard> {
    let buffer = sample.buffer().context("a sample without a buffer")?;
    let map = buffer.map_readable()?;
    let start = buffer.pts().context("a word without a PTS")?;
    let end = start + buffer.duration().context("a word without a duration")?;
    let seconds = |time: gst::ClockTime| time.nseconds() as f64 / 1e9;
    Ok(Heard {
        text: std::str::from_utf8(&map)
            .context("text is not UTF-8")?
            .to_owned(),
        start: seconds(start),
        end: seconds(end),
        at,
    })
}

/// All whole numbers of the element's statistics.
fn counters(stats: &gst::Structure) -> Vec<(String, u64)> {
    let count = |name: &str| Some((name.to_owned(), stats.get(name).ok()?));
    stats.fields().filter_map(|name| count(name)).collect()
}

/// Seconds that the process has used of all cores, as Linux tells in clock ticks (always 100 a second for programs).
fn cpu_time() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    // The fields after the command, which may hold spaces; utime and stime are the 14th and 15th of all.
    let after = stat.rsplit_once(')').context("/proc/self/stat")?.1;
    let ticks: Vec<f64> = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
