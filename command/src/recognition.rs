// SPDX-License-Identifier: MPL-2.0
//! One media file through GStreamer: cues come out.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use captions::{Cue, cue_from_json};
use gst::prelude::*;

use crate::arguments::Arguments;
use crate::failures::Failures;
use crate::medium_start::MediumStart;
use crate::problem::Problem;

/// Time in which a file shows what tracks it has.
const LONGEST_OPENING: Duration = Duration::from_secs(30);

/// How to recognise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model's name or path.
    pub model: String,
    /// The language that is spoken, if that is known.
    pub language: Option<String>,
    /// Whether to translate to English.
    pub translate: bool,
    /// Whether words come while they are said. A file is played in real time then.
    pub live: bool,
    /// Whether the text goes into a copy of the file, which keeps the file's times.
    pub mux: bool,
}

impl From<&Arguments> for Settings {
    fn from(arguments: &Arguments) -> Self {
        Self {
            model: arguments.model().to_owned(),
            language: arguments.language.clone(),
            translate: arguments.translate,
            live: arguments.live,
            mux: arguments.mux,
        }
    }
}

impl Settings {
    /// The language of the text, if that is known.
    pub fn text_language(&self) -> Option<&str> {
        match self.translate {
            true => Some("en"),
            false => self.language.as_deref(),
        }
    }
}

/// What comes out of the pipeline.
#[derive(Debug)]
pub enum Event {
    /// The next cue.
    Cue(Cue),
    /// The language of the text, as a code.
    Language(String),
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
    is_file: bool,
    began: Instant,
}

impl Recognition {
    /// Begins to recognise the first sound track of `input`, or else the microphone.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or an element is missing. All else comes as [`Event::Failed`].
    pub fn start(input: Option<&Path>, settings: &Settings) -> Result<Self, Problem> {
        let (sender, events) = mpsc::channel();
        let pipeline = gst::Pipeline::new();
        let recogniser = recogniser(settings)?;
        let mut chain = vec![make("audioconvert")?, make("audioresample")?];
        let start = MediumStart::default();
        if !settings.mux {
            start.watch(&pipeline);
        }
        chain.extend([recogniser.clone(), sink(sender.clone(), start).upcast()]);
        if settings.live && input.is_some() {
            let pace = make("identity")?;
            pace.set_property("sync", true);
            chain.insert(0, pace);
        }
        let source = source(input)?;
        let built = pipeline
            .add(&source)
            .and_then(|()| pipeline.add_many(&chain))
            .and_then(|()| gst::Element::link_many(&chain));
        built.map_err(|error| Problem::Element(error.to_string()))?;
        let audio = match input {
            Some(_) => connect(&pipeline, &source, &chain[0], &sender)?,
            None => {
                let linked = source.link(&chain[0]);
                linked.map_err(|error| Problem::Element(error.to_string()))?;
                Arc::default()
            }
        };
        watch(pipeline.bus().as_ref(), sender);
        // A failed change of state has its reason on the bus.
        let _ = pipeline.set_state(gst::State::Playing);
        Ok(Self {
            pipeline,
            recogniser,
            audio,
            events,
            is_file: input.is_some(),
            began: Instant::now(),
        })
    }

    /// The next event, if one comes within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Event> {
        match self.events.recv_timeout(patience) {
            Ok(event) => Some(event),
            // decodebin (GStreamer 1.22) sometimes swallows the error of a demultiplexer.
            Err(RecvTimeoutError::Timeout) => {
                let is_stuck = self.is_file
                    && self.audio.get().is_none()
                    && self.began.elapsed() > LONGEST_OPENING;
                is_stuck
                    .then(|| Event::Failed(Problem::Element("nothing in it can be played".into())))
            }
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

    /// Ends the sound here: what was said until now is recognised still.
    pub fn end(&self) {
        self.pipeline.send_event(gst::event::Eos::new());
    }

    /// The element that holds the model: as long as it lives, another one has it at once.
    pub fn stop(self) -> gst::Element {
        let _ = self.pipeline.set_state(gst::State::Null);
        self.recogniser.clone()
    }
}

/// An element of this name.
///
/// # Errors
///
/// With the package that has it.
pub fn make(name: &'static str) -> Result<gst::Element, Problem> {
    let package = match name {
        "filesrc" | "filesink" | "queue" | "identity" => "libgstreamer1.0-0",
        "autoaudiosrc" | "matroskamux" | "mp4mux" => "gstreamer1.0-plugins-good",
        _ => "gstreamer1.0-plugins-base",
    };
    let made = gst::ElementFactory::make(name).build();
    made.map_err(|_| Problem::MissingElement(name, package))
}

/// What reads the file, or listens to the microphone.
fn source(input: Option<&Path>) -> Result<gst::Element, Problem> {
    let Some(input) = input else {
        return make("autoaudiosrc");
    };
    // GStreamer's own message would not say why.
    let length = File::open(input).and_then(|file| file.metadata());
    if length.map_err(Problem::Unreadable)?.len() == 0 {
        return Err(Problem::NotMedia);
    }
    let source = make("filesrc")?;
    source.set_property("location", input);
    Ok(source)
}

fn recogniser(settings: &Settings) -> Result<gst::Element, Problem> {
    let recogniser = make("whispernpu")?;
    recogniser.set_property("model", &settings.model);
    recogniser.set_property("language-code", &settings.language);
    let mode = if settings.live { "live" } else { "offline" };
    recogniser.set_property_from_str("mode", mode);
    if settings.translate {
        recogniser.set_property_from_str("task", "translate");
    }
    Ok(recogniser)
}

fn sink(sender: Sender<Event>, start: MediumStart) -> gst_app::AppSink {
    let pull = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
        let bytes = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let cue = cue_from_json(&String::from_utf8_lossy(&bytes));
        let cue = cue.map_err(|_| gst::FlowError::Error)?;
        sender
            .send(Event::Cue(start.retimed(cue)))
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

/// Decodes what `source` reads, links the first sound track to `next`, and tells if there is none.
fn connect(
    pipeline: &gst::Pipeline,
    source: &gst::Element,
    next: &gst::Element,
    sender: &Sender<Event>,
) -> Result<Arc<OnceLock<gst::Pad>>, Problem> {
    let decoder = make("decodebin")?;
    // Pictures are not even decoded.
    decoder.set_property("expose-all-streams", false);
    decoder.set_property("caps", gst::Caps::new_empty_simple("audio/x-raw"));
    let linked = pipeline.add(&decoder).and_then(|()| source.link(&decoder));
    linked.map_err(|error| Problem::Element(error.to_string()))?;
    let audio = Arc::new(OnceLock::new());
    let (first, next) = (audio.clone(), next.downgrade());
    decoder.connect_pad_added(move |_, pad| {
        let Some(next) = next.upgrade() else {
            return;
        };
        let sink = next.static_pad("sink").filter(|sink| !sink.is_linked());
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
    Ok(audio)
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
            gst::MessageView::Tag(tag) => {
                let code = tag.tags().get::<gst::tags::LanguageCode>();
                code.map(|code| Event::Language(code.get().to_owned()))
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
