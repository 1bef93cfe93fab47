// SPDX-License-Identifier: MPL-2.0
//! The thread that loads the engine and lets it recognise runs, one after the other.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::element::{CAT, WhisperNpu};
use crate::input_queue::{Item, QueuedRun};
use crate::output_queue::Stale;
use crate::recogniser::{Recogniser, iso_639, model_error, no_npu};
use crate::session::Session;
use crate::settings::Settings;
use crate::text_stream::TextStream;
use crate::timeline::RunTimes;
use whisper_engine::{
    Engine, EngineError, Flush, LiveTranscriber, OfflineTranscriber, Task, TranscribeOptions,
    Transcriber, TranscriptEvent, Wake,
};

/// When upstream sends nothing for so long, what is there is recognised: it may be waiting for our
/// text.
const STALL: Duration = Duration::from_millis(500);

/// Holds the element weakly: an inference that is under way must not keep it alive, nor delay a
/// change of state.
pub struct Worker {
    element: glib::WeakRef<WhisperNpu>,
    session: Arc<Session>,
    recogniser: Arc<Recogniser>,
    settings: Settings,
    /// Number of the last news of the NPU that was passed on.
    last_change: Cell<u64>,
}

/// Why the worker leaves a run.
enum RunEnd {
    /// It was flushed away.
    Stale,
    Failed(EngineError),
}

impl From<Stale> for RunEnd {
    fn from(_: Stale) -> Self {
        Self::Stale
    }
}

impl From<EngineError> for RunEnd {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

impl Worker {
    /// Starts the thread. It ends by itself after the session was closed.
    pub fn spawn(
        element: &WhisperNpu,
        session: Arc<Session>,
        recogniser: Arc<Recogniser>,
        settings: Settings,
    ) -> std::io::Result<()> {
        let worker = Self {
            element: element.downgrade(),
            session,
            recogniser,
            settings,
            last_change: Cell::new(0),
        };
        std::thread::Builder::new()
            .name("whispernpu".into())
            .spawn(move || {
                if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                    worker.fail(gst::error_msg!(
                        gst::LibraryError::Failed,
                        ("The recogniser panicked")
                    ));
                }
            })?;
        Ok(())
    }

    fn run(&self) {
        let engine = match self.load() {
            Ok(engine) => engine,
            Err(error) => return self.fail(load_error(&error)),
        };
        let mut text_stream = TextStream::new(&self.session, 0, self.settings.clone());
        while let Some((epoch, item)) = self.session.input_queue.pop() {
            if epoch != text_stream.epoch() {
                text_stream = TextStream::new(&self.session, epoch, self.settings.clone());
            }
            let done = match item {
                Item::Run(queued) => self.recognise(&engine, queued, &mut text_stream),
                Item::Event { event, .. } => text_stream.push_event(event).map_err(RunEnd::from),
            };
            if let Err(RunEnd::Failed(error)) = done {
                return self.fail(gst::error_msg!(
                    gst::LibraryError::Failed,
                    ("Recognition failed: {error}")
                ));
            }
        }
    }

    /// The engine, with messages on the bus if that takes its time.
    fn load(&self) -> Result<Engine, EngineError> {
        if let Some(engine) = self.recogniser.engine() {
            return Ok(engine.clone());
        }
        self.progress(gst::ProgressType::Start, "Loading the model");
        let loaded = self.recogniser.load();
        match &loaded {
            Ok(engine) => {
                self.progress(gst::ProgressType::Complete, "The model is loaded");
                if let Some(element) = self.element.upgrade() {
                    element.imp().announce_device(engine);
                }
            }
            Err(_) => self.progress(gst::ProgressType::Error, "The model could not be loaded"),
        }
        loaded
    }

    fn progress(&self, kind: gst::ProgressType, text: &str) {
        if let Some(element) = self.element.upgrade() {
            let message = gst::message::Progress::builder(kind, "load-model", text)
                .src(&element)
                .build();
            let _ = element.post_message(message);
        }
    }

    /// Says on the bus what became of the NPU since the last time. Other streams' failures are ours
    /// too: it is one NPU.
    fn pass_on_news(&self, engine: &Engine) {
        let change = engine.npu().and_then(|health| health.last_change);
        let Some(change) =
            change.filter(|change| change.number > self.last_change.replace(change.number))
        else {
            return;
        };
        if let Some(element) = self.element.upgrade() {
            element.imp().announce_npu(&change);
        }
    }

    /// Says on the bus that the speech does not sound like the language that was asked for.
    fn warn_of_language(&self, spoken: &str, asked: &str) {
        if let Some(element) = self.element.upgrade() {
            gst::element_warning!(
                element,
                gst::StreamError::Decode,
                (
                    "The speech sounds like \"{}\", not \"{asked}\". Set language-code to what is spoken, or unset it to detect the language.",
                    iso_639(spoken)
                )
            );
        }
    }

    /// Ends the stream with an error on the bus, unless nobody wants it any more.
    fn fail(&self, message: gst::ErrorMessage) {
        let wanted = !self.session.input_queue.is_closed();
        self.session.close(gst::FlowError::Error);
        if let Some(element) = self.element.upgrade().filter(|_| wanted) {
            element.imp().post_error_message(message);
        }
    }

    fn transcriber(&self, request: TranscribeOptions, engine: &Engine) -> Box<dyn Transcriber> {
        if !self.session.wants_live_text() {
            return Box::new(OfflineTranscriber::new(engine, request));
        }
        let live = self.settings.live(self.session.is_live());
        Box::new(LiveTranscriber::new(engine, request, live))
    }

    /// One run from its first row to its last.
    fn recognise(
        &self,
        engine: &Engine,
        queued: QueuedRun,
        text_stream: &mut TextStream,
    ) -> Result<(), RunEnd> {
        let QueuedRun {
            run,
            times,
            discont,
            request,
        } = queued;
        let base = times.pts(Duration::ZERO);
        gst::info!(CAT, "run from {base}, {request:?}");
        text_stream.begin_run(base, discont)?;
        if let Some(code) = self.recogniser.text_language(&request) {
            text_stream.set_language(code)?;
        }
        let translate = request.task == Task::Translate;
        let asked = request.language.clone().unwrap_or_default();
        let mut transcriber = self.transcriber(request, engine);
        let mut watermark = Duration::ZERO;
        loop {
            let wake = run.wait(transcriber.next_frame(), STALL);
            let end = run.read(|mel| mel.end().to_duration());
            let flush = match wake {
                Wake::Cancelled => return Ok(()),
                Wake::Stalled if self.session.is_live() || watermark >= end => continue,
                Wake::Ready => Flush::Wait,
                Wake::Stalled | Wake::Finished => Flush::All,
            };
            let before = watermark;
            let began = Instant::now();
            let events = transcriber.step(&run, flush)?;
            let counters = &self.session.counters;
            counters.add_busy(began.elapsed());
            counters.add_live(transcriber.take_counters());
            self.pass_on_news(engine);
            let mut has_ended = false;
            for event in events {
                match event {
                    TranscriptEvent::Watermark(until) => watermark = until,
                    TranscriptEvent::EndOfUtterance => has_ended = self.session.wants_live_text(),
                    TranscriptEvent::OtherLanguage(ref code) => self.warn_of_language(code, &asked),
                    _ => {}
                }
                put_text(event, &times, translate, text_stream)?;
            }
            counters.add_recognised(watermark.saturating_sub(before));
            text_stream.push_ready()?;
            if has_ended {
                text_stream.push_final_transcript()?;
            }
            if wake == Wake::Stalled && watermark >= end {
                // Upstream may be waiting for a cue that would grow if there were more audio.
                text_stream.release()?;
            }
            if wake == Wake::Finished && (watermark >= end || watermark == before) {
                return Ok(text_stream.end_run(times.pts(end))?);
            }
        }
    }
}

/// Makes text of what the transcriber says about a run.
fn put_text(
    event: TranscriptEvent,
    times: &RunTimes,
    translate: bool,
    text_stream: &mut TextStream,
) -> Result<(), Stale> {
    match event {
        // A translation is in English, whatever is spoken.
        TranscriptEvent::Language(_) if translate => {}
        // The worker says so on the bus.
        TranscriptEvent::OtherLanguage(_) => {}
        TranscriptEvent::Language(code) => text_stream.set_language(iso_639(&code))?,
        TranscriptEvent::Words(words) => text_stream.push_words(times, words),
        TranscriptEvent::Partial {
            stable,
            text,
            start,
        } => {
            text_stream.push_ready()?;
            text_stream.push_partial(stable, text, times.pts(start))?;
        }
        TranscriptEvent::EndOfUtterance => text_stream.end_utterance(),
        TranscriptEvent::Watermark(until) => text_stream.advance_watermark(times.pts(until)),
    }
    Ok(())
}

fn load_error(error: &EngineError) -> gst::ErrorMessage {
    match error {
        EngineError::Model(error) => model_error(error),
        EngineError::Npu(reason) => no_npu(reason),
        _ => gst::error_msg!(
            gst::ResourceError::OpenRead,
            ("Cannot load the model: {error}")
        ),
    }
}
