// SPDX-License-Identifier: MPL-2.0
//! Speech to words while it is being said.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::engine::{Engine, EngineError};
use crate::feed::AudioFeed;
use crate::stream::{
    Flush, LiveOptions, LiveTranscriber, StreamCounters, TranscribeOptions, Transcriber,
    TranscriptEvent,
};
use crate::voice::VoiceModel;
use whisper_frontend::{AudioRun, Samples};

/// How a live stream is to be transcribed.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    /// Language, task, prompt.
    pub transcribe: TranscribeOptions,
    /// How often to update, and when a word is final.
    pub live: LiveOptions,
    /// What tells voice from other sound; `None` for [`VoiceModel::installed`].
    pub voice: Option<VoiceModel>,
}

/// Samples that a live stream could not take: its reader is two and a half minutes late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is full: {taken} samples were taken, poll before the rest is pushed")]
pub struct StreamFull {
    /// Samples that were taken.
    pub taken: usize,
}

/// Speech to words while it is being said.
///
/// [`push`](Self::push) is cheap; [`poll`](Self::poll) recognises, on the thread that calls it. To
/// push from a thread that must not wait, use the two halves that this type is made of,
/// [`AudioFeed`] and [`LiveTranscriber`], with an [`AudioRun`] between them.
///
/// ```no_run
/// use whisper_engine::{Engine, StreamOptions, TranscriptEvent};
///
/// # fn microphone() -> std::iter::Once<Vec<f32>> { std::iter::once(vec![0.0; 1600]) }
/// let engine = Engine::open("tiny.en")?;
/// let mut live = engine.stream(StreamOptions::default())?;
/// for samples in microphone() {
///     live.push(&samples[..])?;
///     while let Some(event) = live.poll()? {
///         match event {
///             TranscriptEvent::Words(words) => println!("final: {words:?}"),
///             TranscriptEvent::Partial { text, .. } => println!("perhaps: {text}"),
///             _ => {}
///         }
///     }
/// }
/// for event in live.finish()? {
///     println!("{event:?}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LiveStream {
    feed: AudioFeed,
    run: Arc<AudioRun>,
    transcriber: LiveTranscriber,
    events: VecDeque<TranscriptEvent>,
    watermark: Duration,
}

impl Engine {
    /// A stream of live audio. Reads the voice detector's file, if that is not in memory.
    ///
    /// # Errors
    /// The model cannot do what the options ask for, or the file of the voice detector is damaged.
    pub fn stream(&self, options: StreamOptions) -> Result<LiveStream, EngineError> {
        let model = self.model();
        options.transcribe.check(model)?;
        let feed = AudioFeed::for_options(&options.transcribe, model, options.voice)?;
        Ok(LiveStream {
            run: Arc::new(feed.new_run()),
            feed,
            transcriber: LiveTranscriber::new(self, options.transcribe, options.live),
            events: VecDeque::new(),
            watermark: Duration::ZERO,
        })
    }
}

impl LiveStream {
    /// Takes the next samples of one channel at 16 kHz: `&[f32]`, `&[i16]`, or bytes as
    /// [`Samples`].
    ///
    /// # Errors
    /// The stream was not polled for so long that two and a half minutes of audio lie in it.
    pub fn push<'s>(&mut self, samples: impl Into<Samples<'s>>) -> Result<(), StreamFull> {
        let samples = samples.into();
        let taken = self.feed.push(samples, &self.run);
        if taken < samples.len() {
            return Err(StreamFull { taken });
        }
        Ok(())
    }

    /// The next event; `None` until more audio was pushed. Recognises what is due, which may take a
    /// while.
    ///
    /// # Errors
    /// The encoder or the decoder failed, or the stream was cancelled.
    pub fn poll(&mut self) -> Result<Option<TranscriptEvent>, EngineError> {
        while self.events.is_empty() {
            if self.run.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let reached = self.run.read(|mel| mel.voice_end());
            if reached < self.transcriber.next_frame() {
                return Ok(None);
            }
            self.step(Flush::Wait)?;
        }
        Ok(self.events.pop_front())
    }

    /// Ends the stream, and gives all events that are left.
    ///
    /// # Errors
    /// The encoder or the decoder failed, or the stream was cancelled.
    pub fn finish(mut self) -> Result<Vec<TranscriptEvent>, EngineError> {
        while !self.feed.finish(&self.run) {
            self.step(Flush::Wait)?;
        }
        self.step(Flush::All)?;
        Ok(self.events.into())
    }

    /// Gives up: what is under way ends soon, and yields [`EngineError::Cancelled`].
    pub fn cancel(&self) {
        self.run.cancel();
    }

    /// A token for other threads to cancel the stream with.
    pub fn cancel_token(&self) -> CancelToken {
        let token = CancelToken::new();
        token.attach(&self.run);
        token
    }

    /// What was done since the last call.
    pub fn take_counters(&mut self) -> StreamCounters {
        self.transcriber.take_counters()
    }

    /// One step of the transcriber; keeps events that say something new.
    fn step(&mut self, flush: Flush) -> Result<(), EngineError> {
        let events = self.transcriber.step(&self.run, flush)?;
        if self.run.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        for event in events {
            if let TranscriptEvent::Watermark(until) = event
                && std::mem::replace(&mut self.watermark, until) == until
            {
                continue;
            }
            self.events.push_back(event);
        }
        Ok(())
    }
}
