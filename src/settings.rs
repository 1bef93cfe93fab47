// SPDX-License-Identifier: MPL-2.0
//! Values of the properties that users set, and their defaults.

use std::time::Duration;

use crate::element::{Device, Granularity, Mode, Task};
use captions::Layout;
use whisper_engine::{LiveOptions, TranscribeOptions};

/// A copy is taken wherever several values are read. The lock is never held for longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub model: String,
    pub device: Device,
    pub language_code: Option<String>,
    /// Parted by commas or lines.
    pub languages: Option<String>,
    pub task: Task,
    /// Milliseconds.
    pub latency: u32,
    /// Milliseconds.
    pub lateness: u32,
    pub granularity: Granularity,
    pub max_line_length: u32,
    pub max_lines: u32,
    pub initial_prompt: Option<String>,
    /// Parted by commas or lines.
    pub terms: Option<String>,
    pub threads: u32,
    pub mode: Mode,
    /// Milliseconds.
    pub update_interval: u32,
    pub vad_threshold: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: "tiny.en".into(),
            device: Device::Auto,
            language_code: None,
            languages: None,
            task: Task::Transcribe,
            latency: 4000,
            lateness: 0,
            granularity: Granularity::Cue,
            max_line_length: 42,
            max_lines: 2,
            initial_prompt: None,
            terms: None,
            threads: 0,
            mode: Mode::Auto,
            update_interval: LiveOptions::default().interval.as_millis() as u32,
            vad_threshold: TranscribeOptions::default().vad_threshold,
        }
    }
}

impl Settings {
    pub fn latency(&self) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(self.latency.into())
    }

    pub fn lateness(&self) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(self.lateness.into())
    }

    /// Options of live recognition. `real_time` says whether upstream is live.
    pub fn live(&self, real_time: bool) -> LiveOptions {
        LiveOptions {
            interval: Duration::from_millis(self.update_interval.into()),
            real_time,
            policy: None,
        }
    }

    pub fn layout(&self) -> Layout {
        Layout {
            max_line_length: self.max_line_length as usize,
            max_lines: self.max_lines as usize,
        }
    }
}
