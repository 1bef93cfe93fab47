// SPDX-License-Identifier: MPL-2.0
//! Long runs of the element, and runs that are meant to break it. `scripts/soak` runs them with
//! GStreamer's leaks tracer.
//!
//! ```sh
//! cargo run --release -p soak -- SPEECH.wav MODE [COUNT]
//! ```
//!
//! | mode | COUNT | promise |
//! |---|---|---|
//! | `hour` | minutes of speech (60) | memory is flat, each minute has text |
//! | `seeks` | seeks and flushes (200) | text is of the place that was sought |
//! | `cycles` | NULL to PLAYING to NULL (50) | no memory stays behind |
//! | `stress` | requests (1000), ten at once | each text as alone; memory and threads are flat |
//! | `states` | states, properties and seeks (2000) from three threads at once | text as before the storm |
//! | `timeline` | seeds (1000) | whatever upstream does to buffers and events, the words of a clean run |
//! | `downstream` | downstreams (300) that fail, block or do not answer | each ends at once, the next one has its text |
//!
//! The speech is 16 kHz mono S16 in a plain WAV file, and is repeated as long as needed. Each mode
//! prints its figures, and the seed of its random numbers where it draws any; the exit status says
//! whether its promise was kept.

mod cycles;
mod downstream;
mod hour;
mod player;
mod request;
mod seeks;
mod speech;
mod stage;
mod states;
mod stress;
mod timeline;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

/// Allocators keep what they were given once; a leak grows without end.
const GROWTH_ALLOWED_MB: f64 = 16.0;
/// Nothing that we do once takes as long as this, on any machine that can be called alive.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs on the speech, so many times.
type Mode = fn(&Path, u64) -> Result<()>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (speech, mode) = match &arguments[..] {
        [speech, mode, ..] => (Path::new(speech), mode.as_str()),
        _ => bail!("usage: soak SPEECH.wav MODE [COUNT]"),
    };
    let (run, count): (Mode, u64) = match mode {
        "hour" => (hour::hour, 60),
        "seeks" => (seeks::seeks, 200),
        "cycles" => (cycles::cycles, 50),
        "stress" => (stress::stress, 1000),
        "states" => (states::states, 2000),
        "timeline" => (timeline::timeline, 1000),
        "downstream" => (downstream::downstream, 300),
        other => bail!("no mode {other}"),
    };
    let count = arguments.get(2).map_or(Ok(count), |count| count.parse())?;
    gst::init()?;
    gstwhispernpu::plugin_register_static()?;
    run(speech, count)?;
    // SAFETY: every GStreamer object of this program is gone; nothing of GStreamer is used after this.
    // It makes the leaks tracer report.
    unsafe { gst::deinit() };
    Ok(())
}

fn require(kept: bool, promise: &str) -> Result<()> {
    if kept {
        Ok(())
    } else {
        bail!("not so: {promise}")
    }
}
