// SPDX-License-Identifier: MPL-2.0
//! A piece of audio to its transcript, with the best accuracy.

use std::sync::Arc;
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::engine::{Engine, EngineError};
use crate::feed::AudioFeed;
use crate::stream::{Flush, OfflineTranscriber, TranscribeOptions, Transcriber, TranscriptEvent};
use crate::transcript::Transcript;
use crate::voice::VoiceModel;
use whisper_frontend::mel::SAMPLE_RATE;
use whisper_frontend::{AudioRun, Samples, Wake};

/// How far a transcription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Audio that is transcribed.
    pub done: Duration,
    /// All audio.
    pub total: Duration,
}

impl Progress {
    /// From 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.total.is_zero() {
            return 1.0;
        }
        self.done.as_secs_f64() / self.total.as_secs_f64()
    }
}

/// A transcription that is about to [run](Self::run), with all that may be asked of it.
///
/// ```no_run
/// use whisper_engine::{CancelToken, Engine, Task, TranscribeOptions};
///
/// let engine = Engine::open("base")?;
/// let samples: Vec<i16> = vec![0; 16_000]; // one channel at 16 kHz
/// let token = CancelToken::new(); // for another thread
/// let transcript = engine
///     .transcription(TranscribeOptions {
///         language: Some("de".into()),
///         task: Task::Translate,
///         ..TranscribeOptions::default()
///     })
///     .cancel_token(&token)
///     .on_progress(|progress| eprintln!("{:.0} %", 100.0 * progress.fraction()))
///     .run(&samples[..])?;
/// println!("{}", transcript.text());
/// # Ok::<(), whisper_engine::EngineError>(())
/// ```
pub struct Transcription<'a> {
    engine: &'a Engine,
    options: TranscribeOptions,
    token: CancelToken,
    voice: Option<VoiceModel>,
    on_progress: Box<dyn FnMut(Progress) + Send + 'a>,
}

impl Engine {
    /// Transcribes one channel of audio at 16 kHz, full scale ±1:
    /// [`transcription`](Self::transcription) with the default options.
    ///
    /// # Errors
    /// The encoder or the decoder failed.
    ///
    /// ```no_run
    /// # let samples = [0.0_f32; 16_000];
    /// let engine = whisper_engine::Engine::open("tiny.en")?;
    /// for cue in engine.transcribe(&samples)?.cues() {
    ///     println!("{:?}: {}", cue.start, cue.text());
    /// }
    /// # Ok::<(), whisper_engine::EngineError>(())
    /// ```
    pub fn transcribe(&self, samples: &[f32]) -> Result<Transcript, EngineError> {
        self.transcription(TranscribeOptions::default())
            .run(samples)
    }

    /// A transcription with these options.
    pub fn transcription(&self, options: TranscribeOptions) -> Transcription<'_> {
        Transcription {
            engine: self,
            options,
            token: CancelToken::new(),
            voice: None,
            on_progress: Box::new(|_| {}),
        }
    }
}

impl<'a> Transcription<'a> {
    /// Lets `token` cancel the transcription.
    pub fn cancel_token(mut self, token: &CancelToken) -> Self {
        self.token = token.clone();
        self
    }

    /// What tells voice from other sound, instead of [`VoiceModel::installed`].
    pub fn voice(mut self, voice: VoiceModel) -> Self {
        self.voice = Some(voice);
        self
    }

    /// Calls `report` after each step, on the thread that runs the transcription.
    pub fn on_progress(mut self, report: impl FnMut(Progress) + Send + 'a) -> Self {
        self.on_progress = Box::new(report);
        self
    }

    /// Transcribes one channel of audio at 16 kHz: `&[f32]`, `&[i16]`, or bytes as [`Samples`].
    /// Returns when all is transcribed.
    ///
    /// # Errors
    /// The model cannot do what the options ask for, the encoder or the decoder failed, or it was
    /// cancelled.
    pub fn run<'s>(mut self, samples: impl Into<Samples<'s>>) -> Result<Transcript, EngineError> {
        let model = self.engine.model();
        self.options.check(model)?;
        let samples = samples.into();
        let total = Duration::from_secs(samples.len() as u64) / SAMPLE_RATE;
        let mut transcript = Transcript {
            language: self.options.text_language(model).map(str::to_owned),
            duration: total,
            ..Transcript::default()
        };
        let feed = AudioFeed::for_options(&self.options, model, self.voice.take())?;
        let mut source = Source::new(samples, feed);
        self.token.attach(&source.run);
        let mut transcriber = OfflineTranscriber::new(self.engine, self.options.clone());
        loop {
            source.fill();
            let (run, next) = (&source.run, transcriber.next_frame());
            let flush = match run.wait(next, Duration::ZERO) {
                Wake::Ready => Flush::Wait,
                Wake::Finished => Flush::All,
                Wake::Stalled => continue,
                Wake::Cancelled => return Err(EngineError::Cancelled),
            };
            let events = transcriber.step(run, flush)?;
            if run.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let done = transcript.extend(events).min(total);
            (self.on_progress)(Progress { done, total });
            if flush == Flush::All {
                return Ok(transcript);
            }
        }
    }
}

impl Transcript {
    /// Adds what a step yields; returns how far it has come.
    fn extend(&mut self, events: Vec<TranscriptEvent>) -> Duration {
        let mut reached = Duration::ZERO;
        for event in events {
            match event {
                TranscriptEvent::Words(words) => self.words.extend(words),
                TranscriptEvent::Language(code) => {
                    self.language.get_or_insert(code);
                }
                TranscriptEvent::Watermark(until) => reached = until,
                TranscriptEvent::OtherLanguage(_)
                | TranscriptEvent::Partial { .. }
                | TranscriptEvent::EndOfUtterance => {}
            }
        }
        reached
    }
}

/// Samples on their way into a run.
struct Source<'a> {
    rest: Samples<'a>,
    feed: AudioFeed,
    run: Arc<AudioRun>,
    is_finished: bool,
}

impl<'a> Source<'a> {
    fn new(samples: Samples<'a>, feed: AudioFeed) -> Self {
        Self {
            rest: samples,
            run: Arc::new(feed.new_run()),
            feed,
            is_finished: false,
        }
    }

    /// Writes as many samples as fit.
    fn fill(&mut self) {
        let taken = self.feed.push(self.rest, &self.run);
        self.rest = self.rest.split_at(taken).1;
        if self.rest.is_empty() && !self.is_finished {
            self.is_finished = self.feed.finish(&self.run);
        }
    }
}
