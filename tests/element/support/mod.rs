// SPDX-License-Identifier: MPL-2.0
//! Speech to test with, and a downstream that keeps what it gets.

mod listener;
mod output;

use std::sync::Once;

use gst::ClockTime;
use gst::prelude::*;
use test_support::Clip;

pub use listener::Listener;
pub use output::{Out, Text, events, record, said, texts, timed_words};

pub const AUDIO: &str = "audio/x-raw, format=S16LE, rate=16000, channels=1, layout=interleaved";
/// Longer than any test takes on a busy machine.
pub const PATIENCE: ClockTime = ClockTime::from_seconds(180);
pub const RATE: usize = test_support::SAMPLE_RATE;

/// Initialises GStreamer with our plugin. Warnings of GLib and GStreamer fail the test, and so does a
/// machine without the model tiny.en.
pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("GStreamer");
        gst::glib::log_set_always_fatal(
            gst::glib::LogLevels::LEVEL_WARNING | gst::glib::LogLevels::LEVEL_CRITICAL,
        );
        gstwhispernpu::plugin_register_static().expect("plugin");
    });
    test_support::model("tiny.en");
}

/// A clip of speech and a word that is said in it.
#[derive(Clone, Copy)]
pub struct Speech {
    pub samples: &'static [i16],
    pub word: &'static str,
}

impl Speech {
    pub fn duration(&self) -> ClockTime {
        duration_of(self.samples.len())
    }
}

impl From<&'static Clip> for Speech {
    fn from(clip: &'static Clip) -> Self {
        Self {
            samples: &clip.samples,
            word: clip.word,
        }
    }
}

/// Eleven seconds of English.
pub fn speech() -> Speech {
    test_support::clip().into()
}

/// Six seconds of German.
pub fn german() -> Speech {
    test_support::german_clip().into()
}

/// The samples as a WAV file, so many times in a row.
pub fn wav(samples: &[i16], times: usize) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("file");
    test_support::wav(&file, samples, times * samples.len()).expect("samples");
    file
}

pub fn duration_of(samples: usize) -> ClockTime {
    ClockTime::from_nseconds(samples as u64 * 62_500)
}

pub fn seconds(seconds: u64) -> ClockTime {
    ClockTime::from_seconds(seconds)
}

/// A buffer without times.
pub fn s16(samples: &[i16]) -> gst::Buffer {
    gst::Buffer::from_mut_slice(
        samples
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect::<Vec<u8>>(),
    )
}

pub fn timed(mut buffer: gst::Buffer, pts: ClockTime, duration: ClockTime) -> gst::Buffer {
    let writable = buffer.make_mut();
    writable.set_pts(pts);
    writable.set_duration(duration);
    buffer
}

/// The samples as buffers of 100 ms from `base` on.
pub fn buffers(samples: &[i16], base: ClockTime) -> impl Iterator<Item = gst::Buffer> + '_ {
    samples
        .chunks(RATE / 10)
        .enumerate()
        .map(move |(index, chunk)| {
            timed(
                s16(chunk),
                base + duration_of(index * RATE / 10),
                duration_of(chunk.len()),
            )
        })
}

/// An appsrc of this name is a live source of our samples in a pipeline.
pub fn live_source(name: &str) -> String {
    format!("appsrc name={name} is-live=true format=time caps=\"{AUDIO}\"")
}

/// Pushes the samples into a playing live source as fast as they would be spoken, behind `position`.
/// Returns the position of what comes next.
pub fn speak(source: &gst_app::AppSrc, samples: &[i16], position: ClockTime) -> ClockTime {
    for buffer in buffers(samples, position) {
        let end = buffer
            .pts()
            .zip(buffer.duration())
            .map(|(pts, duration)| pts + duration);
        let now = source.current_running_time();
        if let Some(ahead) = end.zip(now).and_then(|(end, now)| end.checked_sub(now)) {
            std::thread::sleep(ahead.into());
        }
        source.push_buffer(buffer).expect("the buffer is taken");
    }
    position + duration_of(samples.len())
}
