// SPDX-License-Identifier: MPL-2.0
//! The properties that users set, with their defaults and descriptions.

use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use crate::element::{Device, Granularity, Mode, Task};
use captions::Layout;
use whisper_engine::stream::LiveOptions;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub model: String,
    pub device: Device,
    pub language_code: Option<String>,
    pub task: Task,
    /// Milliseconds.
    pub latency: u32,
    /// Milliseconds.
    pub lateness: u32,
    pub granularity: Granularity,
    pub max_line_length: u32,
    pub max_lines: u32,
    pub initial_prompt: Option<String>,
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
            task: Task::Transcribe,
            latency: 4000,
            lateness: 0,
            granularity: Granularity::Cue,
            max_line_length: 42,
            max_lines: 2,
            initial_prompt: None,
            threads: 0,
            mode: Mode::Auto,
            update_interval: LiveOptions::default().interval.as_millis() as u32,
            vad_threshold: LiveOptions::default().vad_threshold,
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

    pub fn live(&self, real_time: bool) -> LiveOptions {
        LiveOptions {
            interval: Duration::from_millis(self.update_interval.into()),
            vad_threshold: self.vad_threshold,
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

    /// Stores a property. `None` if there is no such setting or the value's type is wrong, which GObject rules out.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> Option<()> {
        match name {
            "model" => self.model = value.get::<Option<String>>().ok()?.unwrap_or_default(),
            "device" => self.device = value.get().ok()?,
            "language-code" => self.language_code = not_blank(value.get().ok()?),
            "task" => self.task = value.get().ok()?,
            "latency" => self.latency = value.get().ok()?,
            "lateness" => self.lateness = value.get().ok()?,
            "granularity" => self.granularity = value.get().ok()?,
            "max-line-length" => self.max_line_length = value.get().ok()?,
            "max-lines" => self.max_lines = value.get().ok()?,
            "initial-prompt" => self.initial_prompt = not_blank(value.get().ok()?),
            "threads" => self.threads = value.get().ok()?,
            "mode" => self.mode = value.get().ok()?,
            "update-interval" => self.update_interval = value.get().ok()?,
            "vad-threshold" => self.vad_threshold = value.get().ok()?,
            _ => return None,
        }
        Some(())
    }

    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "model" => self.model.to_value(),
            "device" => self.device.to_value(),
            "language-code" => self.language_code.to_value(),
            "task" => self.task.to_value(),
            "latency" => self.latency.to_value(),
            "lateness" => self.lateness.to_value(),
            "granularity" => self.granularity.to_value(),
            "max-line-length" => self.max_line_length.to_value(),
            "max-lines" => self.max_lines.to_value(),
            "initial-prompt" => self.initial_prompt.to_value(),
            "threads" => self.threads.to_value(),
            "mode" => self.mode.to_value(),
            "update-interval" => self.update_interval.to_value(),
            "vad-threshold" => self.vad_threshold.to_value(),
            _ => return None,
        })
    }
}

fn not_blank(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// All properties of the element, the read-only ones included.
pub fn param_specs() -> Vec<glib::ParamSpec> {
    let mut specs = recogniser_specs();
    specs.extend(live_specs());
    specs.extend(text_specs());
    specs.extend(observed_specs());
    specs
}

fn recogniser_specs() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        glib::ParamSpecString::builder("model")
            .nick("Model")
            .blurb("Name of a Whisper model (tiny.en, base, …) or path of its file or directory")
            .default_value(Some(default.model.as_str()))
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("device", default.device)
            .nick("Device")
            .blurb("What the encoder runs on")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("language-code")
            .nick("Language code")
            .blurb("Language that is spoken (en, en-US, de, …), unset = detect it; takes effect at once, mid-stream")
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("task", default.task)
            .nick("Task")
            .blurb("Whether to transcribe or to translate to English; takes effect at once, mid-stream")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("initial-prompt")
            .nick("Initial prompt")
            .blurb("Names and terms to expect, as text in the language of the output; takes effect at once, mid-stream")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("threads")
            .nick("Threads")
            .blurb("Number of threads to recognise with, 0 = one per core")
            .maximum(1024)
            .default_value(default.threads)
            .mutable_ready()
            .build(),
    ]
}

fn live_specs() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        glib::ParamSpecEnum::builder_with_default("mode", default.mode)
            .nick("Mode")
            .blurb("Whether text comes while it is being said, or later and better")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("update-interval")
            .nick("Update interval")
            .blurb("Time between two looks at what is being said, in milliseconds, longer while the machine is busy (live only)")
            .minimum(100)
            .maximum(10_000)
            .default_value(default.update_interval)
            .mutable_ready()
            .build(),
        glib::ParamSpecFloat::builder("vad-threshold")
            .nick("Voice threshold")
            .blurb("Probability of voice from which on somebody speaks, 0 = take everything for speech (live only)")
            .minimum(0.0)
            .maximum(1.0)
            .default_value(default.vad_threshold)
            .mutable_ready()
            .build(),
    ]
}

fn text_specs() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        glib::ParamSpecUInt::builder("latency")
            .nick("Latency")
            .blurb("Time that a live pipeline gives the recogniser to put out text, in milliseconds")
            .default_value(default.latency)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("lateness")
            .nick("Lateness")
            .blurb("Time by which text is shown later than it was said, without adding latency, in milliseconds; takes effect with the next segment")
            .default_value(default.lateness)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("granularity", default.granularity)
            .nick("Granularity")
            .blurb("What one buffer of text holds")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-line-length")
            .nick("Maximum line length")
            .blurb("Letters in a line of a subtitle, East Asian wide ones counted twice")
            .minimum(1)
            .maximum(1000)
            .default_value(default.max_line_length)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-lines")
            .nick("Maximum lines")
            .blurb("Lines of a subtitle")
            .minimum(1)
            .maximum(100)
            .default_value(default.max_lines)
            .mutable_ready()
            .build(),
    ]
}

fn observed_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("active-device")
            .nick("Active device")
            .blurb("What the encoder really runs on, once the model is loaded")
            .read_only()
            .build(),
        glib::ParamSpecUInt::builder("max-observed-delay")
            .nick("Maximum observed delay")
            .blurb("Longest time from the end of a word to its way out since the element went to PAUSED, in milliseconds (live pipelines only)")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("Audio taken and work done since the element went to PAUSED")
            .read_only()
            .build(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_can_be_written_and_read_back() {
        gst::init().expect("GStreamer");
        let defaults = Settings::default();
        let mut settings = Settings::default();
        for spec in recogniser_specs()
            .iter()
            .chain(&live_specs())
            .chain(&text_specs())
        {
            let value = defaults
                .get(spec.name())
                .expect("every property has a value");
            assert_eq!(value.type_(), spec.value_type(), "{}", spec.name());
            settings
                .set(spec.name(), &value)
                .expect("every property takes its default");
        }
        assert_eq!(settings, defaults);
        assert!(settings.set("no-such-setting", &0u32.to_value()).is_none());
    }

    #[test]
    fn a_blank_language_means_detect_it() {
        let mut settings = Settings::default();
        settings.set("language-code", &"de".to_value()).unwrap();
        assert_eq!(settings.language_code.as_deref(), Some("de"));
        settings.set("language-code", &" ".to_value()).unwrap();
        assert_eq!(settings.language_code, None);
    }
}
