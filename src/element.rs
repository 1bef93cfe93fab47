// SPDX-License-Identifier: MPL-2.0
//! Type, enumerations and documentation of the element.

use std::sync::{LazyLock, Mutex, MutexGuard};

use gst::glib;
use gst::prelude::*;

/// Debug category of everything in the plugin.
pub(crate) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "whispernpu",
        gst::DebugColorFlags::empty(),
        Some("Whisper speech recognition"),
    )
});

/// Device that the encoder is to run on.
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

impl From<Device> for whisper_engine::Device {
    fn from(device: Device) -> Self {
        match device {
            Device::Auto => Self::Auto,
            Device::Npu => Self::Npu,
            Device::Cpu => Self::Cpu,
        }
    }
}

/// Kind of text that is made of the speech.
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

impl From<Task> for whisper_engine::Task {
    fn from(task: Task) -> Self {
        match task {
            Task::Transcribe => Self::Transcribe,
            Task::Translate => Self::Translate,
        }
    }
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
    /// The element.
    pub struct WhisperNpu(ObjectSubclass<crate::imp::WhisperNpu>) @extends gst::Element, gst::Object;
}

/**
 * SECTION:element-whispernpu
 * @see_also: textoverlay, webvttenc, srtenc
 *
 * Turns speech into timed text with a Whisper model. All of it runs on this machine: the encoder on
 * an AMD XDNA2 NPU where there is one that works, else on the CPU.
 *
 * Audio goes in as 16 kHz mono, so put `audioconvert ! audioresample` in front. A model is fetched
 * once with `scripts/fetch-model tiny.en`. The element never downloads anything.
 *
 * ## Output
 *
 * The src pad writes plain text, Pango markup, SubRip, WebVTT or JSON lines: the first of these
 * that downstream accepts. A caps filter behind the element chooses.
 *
 * * With `granularity=cue` a buffer is a subtitle of at most `max-lines` lines.
 * * With `granularity=word` a buffer is one word, as `transcriberbin` and `textaccumulate` want it.
 * * Cues never overlap and are never empty. GAP events cover all time without one.
 * * Each buffer carries a meta `WhisperNpuItemMeta` with the times and probabilities of its new
 *   words.
 *
 * ## Files
 *
 * From an upstream that is not live, the element waits for windows of 30 s and writes whole cues.
 * It slows upstream down when more than two and a half minutes of audio wait for recognition. Other
 * streams of the same file need queues that hold as much.
 *
 * |[
 * gst-launch-1.0 -q filesrc location=speech.ogg ! decodebin ! audioconvert ! audioresample ! whispernpu ! application/x-subtitle ! filesink location=speech.srt
 * ]| Writes the subtitles of a media file as SubRip.
 *
 * |[
 * gst-launch-1.0 filesrc location=film.mkv ! decodebin name=d d. ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! videoconvert ! textoverlay name=o ! videoconvert ! autovideosink d. ! audioconvert ! audioresample ! whispernpu ! o.text_sink
 * ]| Shows a film with its subtitles.
 *
 * ## Live
 *
 * From a live upstream, or with `mode=live`, text comes about a second after it was said. With
 * `granularity=cue` a buffer is what the screen shows until the next buffer: words are added to the
 * bottom line, and lines roll up. Align the text left, so that words stay where they are.
 *
 * * `latency` is how long the pipeline delays video so that text arrives in time.
 * * ELEMENT messages `whispernpu/partial` carry words that may come next.
 * * An event `rstranscribe/final-transcript` follows each utterance.
 * * Audio is dropped, and counted in `stats`, if the machine is too slow.
 *
 * Fetch Silero's voice activity detector with `scripts/fetch-model silero-vad`. Without it, a
 * simpler one takes some music for speech.
 *
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! textoverlay name=o halignment=left line-alignment=left ! videoconvert ! autovideosink autoaudiosrc ! queue ! audioconvert ! audioresample ! whispernpu latency=3000 ! o.text_sink
 * ]| Shows a camera with live captions from the microphone.
 *
 * `docs/element.md` describes each property, message, event and error, and says which came later.
 *
 * Since: 0.1.0
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

/// Locks also after a panic of another thread, which is posted as an error in any case.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
