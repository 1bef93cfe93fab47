// SPDX-License-Identifier: MPL-2.0
//! One media file through GStreamer: cues come out.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use captions::{Cue, cue_from_json};
use gst::prelude::*;

use crate::failures::Failures;
use crate::problem::Problem;

/// How to recognise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model's name or path.
    pub model: String,
    /// The language that is spoken, if that is known.
    pub language: Option<String>,
    /// Whether to translate to English.
    pub translate: bool,
}

/// What comes out of the pipeline.
#[derive(Debug)]
pub enum Event {
    /// The next cue.
    Cue(Cue),
    /// The recogniser has something to say.
    Warning(String),
    /// The model is there, recognition begins.
    Loaded,
    /// All cues have come.
    End,
    /// No more cues will come.
    Failed(Problem),
}

/// A pipeline that runs.
pub struct Recognition {
    pipeline: gst::Pipeline,
    recogniser: gst::Element,
    audio: Arc<OnceLock<gst::Pad>>,
    events: Receiver<Event>,
}

impl Recognition {
    /// Begins to recognise the first sound track of `input`.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or an element is missing. All else comes as [`Event::Failed`].
    pub fn start(input: &Path, settings: &Settings) -> Result<Self, Problem> {
        // GStreamer's own message would not say why.
        let length = File::open(input).and_then(|file| file.metadata());
        if length.map_err(Problem::Unreadable)?.len() == 0 {
            return Err(Problem::NotMedia);
        }
        let (sender, events) = mpsc::channel();
        let pipeline = gst::Pipeline::new();
        let source = make("filesrc")?;
        source.set_property("location", input);
        let decoder = make("decodebin")?;
        // Pictures are not even decoded.
        decoder.set_property("expose-all-streams", false);
        decoder.set_property("caps", gst::Caps::new_empty_simple("audio/x-raw"));
        let convert = make("audioconvert")?;
        let resample = make("audioresample")?;
        let recogniser = recogniser(settings)?;
        let sink = sink(sender.clone());
        let chain = [&convert, &resample, &recogniser, sink.upcast_ref()];
        let added = pipeline.add_many([&source, &decoder]);
        let added = added.and_then(|()| pipeline.add_many(chain));
        let linked = added.and_then(|()| source.link(&decoder));
        let linked = linked.and_then(|()| gst::Element::link_many(chain));
        linked.map_err(|error| Problem::Element(error.to_string()))?;

        let audio = connect(&decoder, &convert, &sender);
        let bus = pipeline.bus();
        watch(bus.as_ref(), sender);
        // A failed change of state has its reason on the bus.
        let _ = pipeline.set_state(gst::State::Playing);
        Ok(Self {
            pipeline,
            recogniser,
            audio,
            events,
        })
    }

    /// The next event, if one comes within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Event> {
        match self.events.recv_timeout(patience) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::End),
        }
    }

    /// How long the sound is, if the file says so.
    pub fn duration(&self) -> Option<Duration> {
        let length = self.audio.get()?.query_duration::<gst::ClockTime>()?;
        Some(length.into())
    }

    /// How much audio is recognised.
    pub fn recognised(&self) -> Duration {
        let stats = self.recogniser.property::<gst::Structure>("stats");
        let time = stats.get::<gst::ClockTime>("audio-time");
        time.map(Duration::from).unwrap_or_default()
    }

    /// The element that holds the model: as long as it lives, another one has it at once.
    pub fn stop(self) -> gst::Element {
        let _ = self.pipeline.set_state(gst::State::Null);
        self.recogniser.clone()
    }
}

fn make(name: &'static str) -> Result<gst::Element, Problem> {
    let package = match name {
        "filesrc" => "libgstreamer1.0-0",
        _ => "gstreamer1.0-plugins-base",
    };
    let made = gst::ElementFactory::make(name).build();
    made.map_err(|_| Problem::MissingElement(name, package))
}

fn recogniser(settings: &Settings) -> Result<gst::Element, Problem> {
    let recogniser = make("whispernpu")?;
    recogniser.set_property("model", &settings.model);
    recogniser.set_property("language-code", &settings.language);
    recogniser.set_property_from_str("mode", "offline");
    if settings.translate {
        recogniser.set_property_from_str("task", "translate");
    }
    Ok(recogniser)
}

fn sink(sender: Sender<Event>) -> gst_app::AppSink {
    let pull = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
        let bytes = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let cue = cue_from_json(&String::from_utf8_lossy(&bytes));
        let cue = cue.map_err(|_| gst::FlowError::Error)?;
        sender
            .send(Event::Cue(cue))
            .map_err(|_| gst::FlowError::Eos)?;
        Ok(gst::FlowSuccess::Ok)
    };
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(pull);
    let sink = gst_app::AppSink::builder()
        .caps(&gst::Caps::new_empty_simple("application/x-json"))
        .sync(false)
        .build();
    sink.set_callbacks(callbacks.build());
    sink
}

/// Links the first sound track, and tells if there is none.
fn connect(
    decoder: &gst::Element,
    convert: &gst::Element,
    sender: &Sender<Event>,
) -> Arc<OnceLock<gst::Pad>> {
    let audio = Arc::new(OnceLock::new());
    let (first, convert) = (audio.clone(), convert.downgrade());
    decoder.connect_pad_added(move |_, pad| {
        let Some(convert) = convert.upgrade() else {
            return;
        };
        let sink = convert.static_pad("sink").filter(|sink| !sink.is_linked());
        if sink.is_some_and(|sink| pad.link(&sink).is_ok()) {
            let _ = first.set(pad.clone());
        }
    });
    let (first, sender) = (audio.clone(), sender.clone());
    decoder.connect_no_more_pads(move |_| {
        if first.get().is_none() {
            let _ = sender.send(Event::Failed(Problem::NoAudio));
        }
    });
    audio
}

/// Sends on what the bus says.
fn watch(bus: Option<&gst::Bus>, sender: Sender<Event>) {
    let failures = Failures::default();
    let Some(bus) = bus else {
        return;
    };
    bus.set_sync_handler(move |_, message| {
        let event = match message.view() {
            gst::MessageView::Eos(_) => Some(Event::End),
            gst::MessageView::Error(error) => Some(Event::Failed(failures.problem(error))),
            gst::MessageView::Warning(warning) if is_recogniser(message.src()) => {
                Some(Event::Warning(warning.error().to_string()))
            }
            gst::MessageView::Progress(progress) => {
                let (kind, code, _) = progress.get();
                let is_loaded = kind == gst::ProgressType::Complete && code == "load-model";
                is_loaded.then_some(Event::Loaded)
            }
            gst::MessageView::Element(element) => {
                if let Some(structure) = element.structure() {
                    failures.note(structure);
                }
                None
            }
            _ => None,
        };
        if let Some(event) = event {
            let _ = sender.send(event);
        }
        gst::BusSyncReply::Drop
    });
}

fn is_recogniser(source: Option<&gst::Object>) -> bool {
    let element = source.and_then(|source| source.downcast_ref::<gst::Element>());
    let factory = element.and_then(gst::Element::factory);
    factory.is_some_and(|factory| factory.name() == "whispernpu")
}
