// SPDX-License-Identifier: MPL-2.0
//! The element's type, its enumerations and its documentation.

use std::sync::{LazyLock, Mutex, MutexGuard};

use gst::glib;
use gst::prelude::*;

pub(crate) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "whispernpu",
        gst::DebugColorFlags::empty(),
        Some("Whisper speech recognition"),
    )
});

/// What the encoder runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstWhisperNpuDevice")]
#[non_exhaustive]
pub enum Device {
    #[default]
    #[enum_value(
        name = "Auto: the NPU where there is one that works, else the CPU",
        nick = "auto"
    )]
    Auto,
    #[enum_value(name = "NPU: the NPU, or an error", nick = "npu")]
    Npu,
    #[enum_value(name = "CPU: the CPU", nick = "cpu")]
    Cpu,
}

impl From<Device> for whisper_engine::engine::Device {
    fn from(device: Device) -> Self {
        match device {
            Device::Auto => Self::Auto,
            Device::Npu => Self::Npu,
            Device::Cpu => Self::Cpu,
        }
    }
}

/// What to make of the speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstWhisperNpuTask")]
#[non_exhaustive]
pub enum Task {
    #[default]
    #[enum_value(
        name = "Transcribe: text in the language that is spoken",
        nick = "transcribe"
    )]
    Transcribe,
    #[enum_value(
        name = "Translate: text in English (multilingual models)",
        nick = "translate"
    )]
    Translate,
}

/// When text comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstWhisperNpuMode")]
#[non_exhaustive]
pub enum Mode {
    #[default]
    #[enum_value(name = "Auto: live if upstream is", nick = "auto")]
    Auto,
    #[enum_value(name = "Live: while it is being said", nick = "live")]
    Live,
    #[enum_value(
        name = "Offline: after 30 seconds, with the best accuracy",
        nick = "offline"
    )]
    Offline,
}

/// What one buffer of text holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstWhisperNpuGranularity")]
#[non_exhaustive]
pub enum Granularity {
    #[default]
    #[enum_value(name = "Cue: a subtitle of one or more lines", nick = "cue")]
    Cue,
    #[enum_value(name = "Word: a single word", nick = "word")]
    Word,
}

glib::wrapper! {
    /// Speech to timed text.
    pub struct WhisperNpu(ObjectSubclass<crate::imp::WhisperNpu>) @extends gst::Element, gst::Object;
}

/**
 * SECTION:element-whispernpu
 *
 * Recognises speech with a Whisper model and puts out subtitles with their times. Everything runs on this machine.
 *
 * Audio goes in as it comes and never waits for the recogniser, except that an upstream that is not live is slowed
 * down when more than two and a half minutes of audio lie unrecognised. Subtitles come out of a thread of their own, with gaps
 * between them, so that elements downstream which combine them with video do not stall. What they are written in
 * depends on what is downstream: plain text (preferred), Pango markup, SubRip, WebVTT or JSON lines.
 *
 * From a live upstream (or with `mode=live`) text comes about a second after it was said, a word at a time. With
 * `granularity=cue` a buffer holds what is on the screen, whose lines roll up, until the next buffer; align it left
 * (`textoverlay halignment=left line-alignment=left`), so that words stay where they are. With `granularity=word` a
 * buffer holds one word. A meta `WhisperNpuItemMeta` on each buffer has the times and probabilities of its new words,
 * and an event `rstranscribe/new-item` tells upstream of each of them. ELEMENT messages `whispernpu/partial` tell what may come next (`text`, after `stable-prefix`, at
 * `running-time`); an event `rstranscribe/final-transcript` follows each utterance. Fetch Silero's voice detector with
 * `scripts/fetch-model silero-vad`: without it music is listened to as if it were speech.
 *
 * ## Example pipelines
 * |[
 * gst-launch-1.0 -q filesrc location=speech.ogg ! decodebin ! audioconvert ! audioresample ! whispernpu ! application/x-subtitle ! filesink location=speech.srt
 * ]| Writes SubRip subtitles for any media file.
 * |[
 * gst-launch-1.0 filesrc location=film.mkv ! decodebin name=d d. ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! videoconvert ! textoverlay name=o ! videoconvert ! autovideosink d. ! audioconvert ! audioresample ! whispernpu ! o.text_sink
 * ]| Shows a film with subtitles burned in.
 */
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    for enumeration in [
        Device::static_type(),
        Task::static_type(),
        Mode::static_type(),
        Granularity::static_type(),
    ] {
        enumeration.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    crate::items::register_meta();
    gst::Element::register(
        Some(plugin),
        "whispernpu",
        gst::Rank::NONE,
        WhisperNpu::static_type(),
    )
}

/// Locks whatever a panic elsewhere left behind: the panic itself is reported as an error on the bus.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
