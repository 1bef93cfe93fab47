// SPDX-License-Identifier: MPL-2.0
//! The GObject class: properties, pads, states.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::caps;
use crate::element::{CAT, lock};
use crate::input::Input;
use crate::recogniser::Recogniser;
use crate::session::Session;
use crate::settings::{self, Settings};
use crate::stats;
use crate::worker::Worker;
use whisper_engine::encoder::fallback::StatusChange;
use whisper_engine::engine::Engine;
use whisper_engine::stream::TranscribeOptions;
use whisper_frontend::mel::SAMPLE_RATE;

pub struct WhisperNpu {
    pub(super) sinkpad: gst::Pad,
    pub(super) srcpad: gst::Pad,
    pub(super) settings: Mutex<Settings>,
    /// Kept from NULL to NULL, so that a model is loaded once however often the state changes.
    recogniser: Mutex<Option<Arc<Recogniser>>>,
    /// There from READY to PAUSED and back; used by upstream's streaming thread, and while no pad is active.
    input: Mutex<Option<Input>>,
    session: Mutex<Option<Arc<Session>>>,
    /// Whether the recogniser is to be asked something else from the next buffer on.
    request_changed: AtomicBool,
    /// Whether it was said on the bus what `device=auto` came to.
    device_announced: AtomicBool,
}

#[glib::object_subclass]
impl ObjectSubclass for WhisperNpu {
    const NAME: &'static str = "GstWhisperNpu";
    type Type = crate::element::WhisperNpu;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        let sinkpad = gst::Pad::builder_from_template(&template(class, "sink"))
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.chain(buffer),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.sink_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.sink_query(pad, query))
            })
            .build();
        let srcpad = gst::Pad::builder_from_template(&template(class, "src"))
            .activatemode_function(|pad, parent, mode, active| {
                let failed = || {
                    Err(gst::loggable_error!(
                        CAT,
                        "Panic while (de)activating the pad"
                    ))
                };
                Self::catch_panic_pad_function(parent, failed, |imp| {
                    imp.activate_src(pad, mode, active)
                })
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.src_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.src_query(pad, query))
            })
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            recogniser: Mutex::default(),
            input: Mutex::default(),
            session: Mutex::default(),
            request_changed: AtomicBool::new(false),
            device_announced: AtomicBool::new(false),
        }
    }
}

/// One of the templates below, which every class of this type has.
fn template(class: &<WhisperNpu as ObjectSubclass>::Class, name: &str) -> gst::PadTemplate {
    class
        .pad_template(name)
        .expect("the class declares its pad templates")
}

impl ObjectImpl for WhisperNpu {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(settings::param_specs);
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let before = lock(&self.settings).clone();
        let after = {
            let mut settings = lock(&self.settings);
            if settings.set(pspec.name(), value).is_none() {
                gst::error!(CAT, imp = self, "cannot set {}", pspec.name());
            }
            settings.clone()
        };
        if after.latency != before.latency {
            let _ = self
                .obj()
                .post_message(gst::message::Latency::builder().src(&*self.obj()).build());
        }
        self.ask_anew(&before, &after);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "active-device" => self
                .engine()
                .map(|engine| engine.active_device())
                .to_value(),
            "max-observed-delay" => {
                let session = self.session();
                let delay = session.map_or(0, |session| session.counters.max_delay_ms());
                delay.to_value()
            }
            "stats" => self.stats().to_value(),
            name => {
                let value = lock(&self.settings).get(name);
                value.unwrap_or_else(|| pspec.default_value().clone())
            }
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
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
            gst::subclass::ElementMetadata::new(
                "Whisper speech recogniser",
                "Text/Audio/Filter",
                "Recognises speech with Whisper and puts out timed subtitles",
                "whispernpu developers",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let audio = gst_audio::AudioCapsBuilder::new_interleaved()
                .format_list([gst_audio::AudioFormat::S16le, gst_audio::AudioFormat::F32le])
                .rate(SAMPLE_RATE as i32)
                .channels(1)
                .build();
            let template = |name, direction, caps| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps)
            };
            let sink = template("sink", gst::PadDirection::Sink, &audio);
            let src = template("src", gst::PadDirection::Src, &caps::all());
            [sink, src]
                .into_iter()
                .map(|made| made.expect("the caps are valid"))
                .collect()
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
            self.close_session();
            *lock(&self.input) = None;
        }
        done
    }
}

impl WhisperNpu {
    fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::trace!(CAT, imp = self, "{buffer:?}");
        let taken = self
            .with_input(|input| {
                if self.request_changed.swap(false, Ordering::Relaxed) {
                    input.end_run();
                }
                input.buffer(buffer, || self.request())
            })
            .unwrap_or(Err(gst::FlowError::Flushing))?;
        if taken.overloaded {
            gst::element_imp_warning!(
                self,
                gst::CoreError::Clock,
                ("Recognition cannot keep up with the live audio: some of it is left out (see stats)")
            );
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn activate_src(
        &self,
        pad: &gst::Pad,
        mode: gst::PadMode,
        active: bool,
    ) -> Result<(), gst::LoggableError> {
        if mode != gst::PadMode::Push {
            return Err(gst::loggable_error!(CAT, "{mode:?} mode is not supported"));
        }
        match (active, self.session()) {
            (true, Some(session)) => self
                .start_output(session)
                .map_err(|_| gst::loggable_error!(CAT, "Cannot start the task")),
            (true, None) => Err(gst::loggable_error!(CAT, "The element is not in PAUSED")),
            (false, session) => {
                if let Some(session) = session {
                    session.close(gst::FlowError::Flushing);
                }
                pad.stop_task()
                    .map_err(|_| gst::loggable_error!(CAT, "Cannot stop the task"))
            }
        }
    }

    /// Finds and opens the model, which takes milliseconds; its weights are loaded later.
    fn open(&self) -> Result<(), gst::StateChangeError> {
        let settings = lock(&self.settings).clone();
        let current = lock(&self.recogniser).clone();
        match Recogniser::open(&settings, current) {
            Ok(recogniser) => {
                *lock(&self.recogniser) = Some(recogniser);
                Ok(())
            }
            Err(message) => {
                self.post_error_message(message);
                Err(gst::StateChangeError)
            }
        }
    }

    /// Starts the worker, which loads the engine if it is not there yet.
    fn start(&self) -> Result<(), gst::StateChangeError> {
        let recogniser = lock(&self.recogniser)
            .clone()
            .ok_or(gst::StateChangeError)?;
        let settings = lock(&self.settings).clone();
        let session = Arc::new(Session::new(settings.mode));
        *lock(&self.input) = Some(Input::new(session.clone(), recogniser.n_mels()));
        *lock(&self.session) = Some(session.clone());
        self.request_changed.store(false, Ordering::Relaxed);
        Worker::spawn(&self.obj(), session, recogniser, settings).map_err(|error| {
            gst::element_imp_error!(
                self,
                gst::ResourceError::Failed,
                ("Cannot start a thread: {error}")
            );
            gst::StateChangeError
        })
    }

    /// Lets all threads leave. The session stays for its `stats`.
    fn close_session(&self) {
        if let Some(session) = self.session() {
            session.close(gst::FlowError::Flushing);
        }
    }

    pub(super) fn session(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }

    /// Runs `work` on the sink pad's state, if there is one. Only for serialized events and buffers: it may wait.
    pub(super) fn with_input<R>(&self, work: impl FnOnce(&mut Input) -> R) -> Option<R> {
        lock(&self.input).as_mut().map(work)
    }

    /// What to ask of the recogniser now.
    pub(super) fn request(&self) -> TranscribeOptions {
        let recogniser = lock(&self.recogniser).clone();
        let settings = lock(&self.settings);
        recogniser
            .map(|recogniser| recogniser.request(&settings))
            .unwrap_or_default()
    }

    /// Lets a changed language, task or prompt take effect from the next buffer on.
    fn ask_anew(&self, before: &Settings, after: &Settings) {
        let asked = |settings: &Settings| {
            (
                settings.language_code.clone(),
                settings.task,
                settings.initial_prompt.clone(),
            )
        };
        if asked(before) == asked(after) {
            return;
        }
        self.request_changed.store(true, Ordering::Relaxed);
        let recogniser = lock(&self.recogniser).clone();
        let playing = self.obj().current_state() >= gst::State::Paused;
        if let Some(recogniser) = recogniser.filter(|_| playing)
            && let Err(problem) = recogniser.check_language(after)
        {
            gst::element_imp_warning!(self, gst::LibraryError::Settings, ("{problem}"));
        }
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        let recogniser = lock(&self.recogniser).clone();
        recogniser.and_then(|recogniser| recogniser.engine().cloned())
    }

    /// The engine was loaded.
    pub(super) fn announce_device(&self, engine: &Engine) {
        self.obj().notify("active-device");
        if let Some(reason) = engine.without_npu()
            && !self.device_announced.swap(true, Ordering::Relaxed)
        {
            gst::element_imp_info!(
                self,
                gst::ResourceError::NotFound,
                ("Recognising on {}: {reason}", engine.active_device()),
                // gst-launch-1.0 prints no more than this of an info message.
                ["{reason}"]
            );
        }
    }

    /// The NPU has failed, or is back.
    pub(super) fn announce_npu(&self, news: &StatusChange) {
        self.obj().notify("active-device");
        if news.failure {
            gst::element_imp_warning!(self, gst::ResourceError::Failed, ("{}", news.text));
        } else {
            gst::element_imp_info!(self, gst::ResourceError::Failed, ("{}", news.text));
        }
    }

    /// A word went out later than any before.
    pub(super) fn announce_delay(&self, milliseconds: u32) {
        self.obj().notify("max-observed-delay");
        // Upstream's part of it is not ours to answer for.
        let upstream = self
            .upstream_latency()
            .map_or(gst::ClockTime::ZERO, |(_, min, _)| min);
        let latency = upstream.saturating_add(lock(&self.settings).latency());
        if u64::from(milliseconds) > latency.mseconds() {
            let details = gst::Structure::builder("whispernpu/excessive-delay")
                .field("new-observed-max-delay", milliseconds)
                .build();
            gst::element_imp_warning!(
                self,
                gst::CoreError::Clock,
                ("Text comes {milliseconds} ms after it was said, later than the latency allows for, {latency}"),
                details: details
            );
        }
    }

    fn stats(&self) -> gst::Structure {
        let n_mels = lock(&self.recogniser)
            .as_ref()
            .map_or(80, |recogniser| recogniser.n_mels());
        let session = self.session();
        let none = stats::Counters::default();
        let counters = session.as_ref().map_or(&none, |session| &session.counters);
        stats::structure(counters, n_mels, self.engine().as_deref())
    }
}
