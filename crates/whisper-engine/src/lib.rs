// SPDX-License-Identifier: MPL-2.0
//! Speech to timed words with Whisper, offline and live, on the CPU or an AMD XDNA2 NPU.
//!
//! Audio is one channel at 16 kHz. An [`Engine`] is an opened model; it transcribes a piece of
//! audio at once, or a stream while it is being said. All types are `Send`, errors are typed, and
//! no network is ever used: fetch models with `scripts/fetch-model`, or take those in the Hugging
//! Face cache.
//!
//! # A file to subtitles
//!
//! ```no_run
//! # let samples = [0.0_f32; 16_000];
//! use whisper_engine::Engine;
//!
//! let engine = Engine::open("tiny.en")?;
//! let transcript = engine.transcribe(&samples)?;
//! println!("{}", transcript.text());
//! for cue in transcript.cues() {
//!     println!("{:?} to {:?}: {}", cue.start, cue.end, cue.text());
//! }
//! # Ok::<(), whisper_engine::EngineError>(())
//! ```
//!
//! [`Engine::transcription`] takes a language, a prompt, `i16` samples, reports progress and can be
//! cancelled. `examples/transcribe.rs` makes a program of it.
//!
//! # Live
//!
//! ```no_run
//! # let buffers: Vec<Vec<f32>> = Vec::new();
//! use whisper_engine::{Engine, StreamOptions, TranscriptEvent};
//!
//! let engine = Engine::open("tiny.en")?;
//! let mut live = engine.stream(StreamOptions::default())?;
//! for samples in &buffers {
//!     live.push(&samples[..])?;
//!     while let Some(event) = live.poll()? {
//!         if let TranscriptEvent::Words(words) = event {
//!             println!("{words:?}"); // final: they never change
//!         }
//!     }
//! }
//! let last = live.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # In a pipeline
//!
//! [`LiveStream`] and [`Transcription`] are made of two halves, which a pipeline of several threads
//! uses directly, as the GStreamer element does:
//!
//! | half | thread | what it does |
//! |---|---|---|
//! | [`AudioFeed`] | streaming | writes samples into an [`AudioRun`] as mel rows; never waits for recognition, allocates nothing |
//! | [`Transcriber`] | worker | [`LiveTranscriber`] or [`OfflineTranscriber`]: takes rows when enough are there, yields [`TranscriptEvent`]s |
//!
//! Many streams share one engine. They take [turns](Engine::turn), in the order in which they ask.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use whisper_engine::{AudioFeed, Samples, Wake};
//!
//! let mut feed = AudioFeed::new(80);
//! let run = Arc::new(feed.new_run());
//! let reader = std::thread::spawn({
//!     let run = run.clone();
//!     // A transcriber's `next_frame` says what to wait for, and `step` reads the rows.
//!     move || run.wait(50.into(), Duration::from_secs(5))
//! });
//! feed.push(Samples::Silence(16_000), &run);
//! assert_eq!(reader.join().unwrap(), Wake::Ready);
//! ```

pub mod decoder;
pub mod encoder;
pub mod engine;
pub mod stream;
pub mod voice;

mod cancel;
mod feed;
mod live_stream;
mod transcript;
mod transcription;
mod weights;

pub use cancel::CancelToken;
pub use captions::{self, Word};
pub use engine::{Device, Engine, EngineBuilder, EngineCounters, EngineError};
pub use feed::AudioFeed;
pub use live_stream::{LiveStream, StreamFull, StreamOptions};
pub use stream::{
    Flush, LiveOptions, LiveTranscriber, OfflineTranscriber, OptionsError, Policy, StreamCounters,
    Task, TranscribeOptions, Transcriber, TranscriptEvent,
};
pub use transcript::Transcript;
pub use transcription::{Progress, Transcription};
pub use voice::{VoiceError, VoiceModel};
pub use whisper_frontend::mel::SAMPLE_RATE;
pub use whisper_frontend::{AudioRun, EncoderFrame, MelFrame, Samples, VoiceDetector, Wake};
/// Model files: where they are, what is in them.
pub use whisper_model as model;
