// SPDX-License-Identifier: MPL-2.0
//! The GObject class: properties, pads, metadata.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::element::{CAT, Device, Granularity, Mode, Task, lock};
use crate::input::Input;
use crate::recogniser::Recogniser;
use crate::session::Session;
use crate::settings::Settings;
use crate::{caps, sink_pad, src_pad, unsynced_pad};

/// Where the reference of the element is, as whoever builds a package says: the project itself has
/// no public address.
const DOCUMENTATION: Option<&str> = option_env!("WHISPERNPU_DOC_URI");
const STATS: &str = "stats";

/// State of an element. `settings` lists all properties; their functions are in `properties`.
#[derive(glib::Properties)]
#[properties(wrapper_type = crate::element::WhisperNpu)]
pub struct WhisperNpu {
    pub(super) sinkpad: gst::Pad,
    pub(super) srcpad: gst::Pad,
    /// For words that wait for nothing.
    pub(super) unsynced_pad: gst::Pad,

    #[property(
        name = "model", type = Option<String>, get = Self::model, set = Self::set_model,
        default = Settings::default().model.as_str(), mutable_ready, nick = "Model",
        blurb = "Name of a Whisper model (tiny.en, base, …), path of its file or directory, or its repository in the Hugging Face cache"
    )]
    #[property(
        name = "device", type = Device, member = device, get, set,
        mutable_ready, nick = "Device",
        blurb = "Device that the encoder is to run on",
        builder(Settings::default().device)
    )]
    #[property(
        name = "active-device", type = Option<String>, get = Self::active_device,
        nick = "Active device",
        blurb = "Device that the encoder runs on, once the model is loaded"
    )]
    #[property(
        name = "threads", type = u32, member = threads, get, set,
        maximum = 1024, default = Settings::default().threads, mutable_ready, nick = "Threads",
        blurb = "Number of threads to recognise with, 0 = one per core"
    )]
    #[property(
        name = "language-code", type = Option<String>, member = language_code,
        get, set = Self::set_language_code, mutable_playing, nick = "Language code",
        blurb = "Language that is spoken (en, en-US, de, …), unset = detect it; takes effect with the next buffer"
    )]
    #[property(
        name = "task", type = Task, member = task, get, set = Self::set_task,
        mutable_playing, nick = "Task",
        blurb = "Whether to transcribe or to translate to English; takes effect with the next buffer",
        builder(Settings::default().task)
    )]
    #[property(
        name = "initial-prompt", type = Option<String>, member = initial_prompt,
        get, set = Self::set_initial_prompt, mutable_playing, nick = "Initial prompt",
        blurb = "What might have been said before, as text in the language of the output; takes effect with the next buffer"
    )]
    #[property(
        name = "languages", type = Option<String>, member = languages,
        get, set = Self::set_languages, mutable_playing, nick = "Languages",
        blurb = "Codes of the languages that may be spoken, parted by commas; unset for all that the model knows; takes effect with the next buffer"
    )]
    #[property(
        name = "terms", type = Option<String>, member = terms,
        get, set = Self::set_terms, mutable_playing, nick = "Terms",
        blurb = "Names and words to expect, as they are to be written, parted by commas or lines; takes effect with the next buffer"
    )]
    #[property(
        name = "mode", type = Mode, member = mode, get, set,
        mutable_ready, nick = "Mode",
        blurb = "Whether text comes while it is being said, or later and more accurate",
        builder(Settings::default().mode)
    )]
    #[property(
        name = "update-interval", type = u32, member = update_interval, get, set,
        minimum = 100, maximum = 10_000, default = Settings::default().update_interval,
        mutable_ready, nick = "Update interval",
        blurb = "Time between two updates of what is being said, in milliseconds, longer while the machine is busy (live only)"
    )]
    #[property(
        name = "vad-threshold", type = f32, member = vad_threshold, get, set,
        minimum = 0.0, maximum = 1.0, default = Settings::default().vad_threshold,
        mutable_ready, nick = "Voice threshold",
        blurb = "Probability of voice from which on audio is speech, 0 = all audio is"
    )]
    #[property(
        name = "granularity", type = Granularity, member = granularity, get, set,
        mutable_ready, nick = "Granularity",
        blurb = "What one buffer of text holds",
        builder(Settings::default().granularity)
    )]
    #[property(
        name = "max-line-length", type = u32, member = max_line_length, get, set,
        minimum = 1, maximum = 1000, default = Settings::default().max_line_length,
        mutable_ready, nick = "Maximum line length",
        blurb = "Most letters in a line of a subtitle; a wide East Asian character counts as two and a half"
    )]
    #[property(
        name = "max-lines", type = u32, member = max_lines, get, set,
        minimum = 1, maximum = 100, default = Settings::default().max_lines,
        mutable_ready, nick = "Maximum lines",
        blurb = "Most lines of a subtitle"
    )]
    #[property(
        name = "latency", type = u32, member = latency, get, set = Self::set_latency,
        default = Settings::default().latency, mutable_playing, nick = "Latency",
        blurb = "Time that a live pipeline gives the recogniser to put out text, in milliseconds"
    )]
    #[property(
        name = "lateness", type = u32, member = lateness, get, set,
        default = Settings::default().lateness, mutable_playing, nick = "Lateness",
        blurb = "Time by which text is shown later than it was said, without adding latency, in milliseconds; takes effect with the next segment"
    )]
    #[property(
        name = "max-observed-delay", type = u32, get = Self::max_observed_delay,
        nick = "Maximum observed delay",
        blurb = "Longest time from the end of a word to its buffer since the element went to PAUSED, in milliseconds (live pipelines only)"
    )]
    pub(super) settings: Mutex<Settings>,

    /// Kept from NULL to NULL, so that a model is loaded once however often the state changes.
    pub(super) recogniser: Mutex<Option<Arc<Recogniser>>>,
    /// Audio path; there between READY and PAUSED. The streaming thread of the sink pad holds the
    /// lock.
    pub(super) input: Mutex<Option<Input>>,
    /// What the threads share; the last one is kept for its `stats`.
    pub(super) session: Mutex<Option<Arc<Session>>>,
    /// Whether language, task or prompt changed since the last buffer.
    pub(super) request_changed: AtomicBool,
    /// Whether the reason why `device=auto` has no NPU was posted.
    pub(super) device_announced: AtomicBool,
}

#[glib::object_subclass]
impl ObjectSubclass for WhisperNpu {
    const NAME: &'static str = "GstWhisperNpu";
    type Type = crate::element::WhisperNpu;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        let template = |name| {
            class
                .pad_template(name)
                .expect("pad_templates() has a template of this name")
        };
        Self {
            sinkpad: sink_pad::build(&template("sink")),
            srcpad: src_pad::build(&template("src")),
            unsynced_pad: gst::Pad::from_template(&template("unsynced_src")),
            settings: Mutex::default(),
            recogniser: Mutex::default(),
            input: Mutex::default(),
            session: Mutex::default(),
            request_changed: AtomicBool::new(false),
            device_announced: AtomicBool::new(false),
        }
    }
}

impl ObjectImpl for WhisperNpu {
    /// The derived properties, and `stats`: the bindings cannot derive a property that is a
    /// structure.
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let stats = glib::ParamSpecBoxed::builder::<gst::Structure>(STATS)
                .nick("Statistics")
                .blurb("Audio taken in and work done since the element went to PAUSED")
                .read_only()
                .build();
            [WhisperNpu::derived_properties(), &[stats]].concat()
        });
        PROPERTIES.as_ref()
    }

    fn property(&self, id: usize, spec: &glib::ParamSpec) -> glib::Value {
        match spec.name() {
            STATS => self.stats().to_value(),
            _ => self.derived_property(id, spec),
        }
    }

    fn set_property(&self, id: usize, value: &glib::Value, spec: &glib::ParamSpec) {
        let before = lock(&self.settings).clone();
        self.derived_set_property(id, value, spec);
        let changed = *lock(&self.settings) != before;
        if changed && !spec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
            self.warn_of_late_change(spec.name());
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        for pad in [&self.sinkpad, &self.srcpad, &self.unsynced_pad] {
            if let Err(error) = element.add_pad(pad) {
                gst::error!(CAT, imp = self, "{error}");
            }
        }
    }
}

impl GstObjectImpl for WhisperNpu {}

impl ElementImpl for WhisperNpu {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            let documentation =
                DOCUMENTATION.map(|uri| (gst::ELEMENT_METADATA_DOC_URI.as_str(), uri));
            gst::subclass::ElementMetadata::with_additional(
                "Whisper speech recogniser",
                "Text/Audio/Filter",
                "Recognises speech with Whisper and puts out timed subtitles",
                env!("CARGO_PKG_AUTHORS"),
                documentation.as_slice(),
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<[gst::PadTemplate; 3]> = LazyLock::new(|| {
            let template = |name, direction, caps| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps)
                    .expect("the caps are valid")
            };
            [
                template("sink", gst::PadDirection::Sink, &caps::audio()),
                template("src", gst::PadDirection::Src, &caps::all()),
                template(
                    "unsynced_src",
                    gst::PadDirection::Src,
                    &unsynced_pad::caps(),
                ),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "{transition:?}");
        match transition {
            gst::StateChange::NullToReady => self.open()?,
            gst::StateChange::ReadyToPaused => self.start()?,
            gst::StateChange::PausedToReady => self.close_session(),
            _ => {}
        }
        let done = self.parent_change_state(transition);
        if transition == gst::StateChange::PausedToReady
            || (transition == gst::StateChange::ReadyToPaused && done.is_err())
        {
            self.stop();
        }
        done
    }
}
