// SPDX-License-Identifier: MPL-2.0
//! When to encode, and which words are final: transcribers over an [`AudioRun`].
//!
//! All times are offsets from the first sample of the run.

mod counters;
mod guards;
mod language;
mod live;
mod offline;
mod options;
mod prompt;

use std::time::Duration;

pub use captions::Word;
pub use counters::StreamCounters;
pub use live::{LiveTranscriber, Policy};
pub use offline::OfflineTranscriber;
pub use options::{LiveOptions, OptionsError, Task, TranscribeOptions};

use crate::engine::EngineError;
use whisper_frontend::{AudioRun, MelFrame};
use whisper_model::Model;

/// What a transcriber found out, in the order in which a reader wants to know.
#[derive(Clone, Debug, PartialEq)]
pub enum TranscriptEvent {
    /// The language that was detected: ISO 639-1 code as Whisper names it, `en`, `yue`.
    Language(String),
    /// Another language than the one that was asked for seems to be spoken: its code. Told once.
    OtherLanguage(String),
    /// Final words: later events start no earlier, and never change them.
    Words(Vec<Word>),
    /// What may come after the words so far. It changes until it is final.
    Partial {
        /// Words of the utterance that are final.
        stable: String,
        /// The words that may follow them.
        text: String,
        /// Where they would start.
        start: Duration,
    },
    /// The speaker paused, or a window of silence ended: a cue may end here.
    EndOfUtterance,
    /// No word that is still to come starts before this time.
    Watermark(Duration),
}

/// How much of the run a step has to turn into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// More audio is on its way: what it may change waits for it.
    #[default]
    Wait,
    /// No more audio can be expected for now: all that is in the run becomes words.
    All,
}

/// The consumer half of a stream: mel rows of one [`AudioRun`] to words.
///
/// Wait until [`next_frame`](Self::next_frame) is in the run, call [`step`](Self::step), and so on.
/// When the run is finished, step with [`Flush::All`] until the watermark has reached the run's
/// end.
pub trait Transcriber: Send {
    /// Frame, counted from the run's start, up to which rows must be there for the next step.
    fn next_frame(&self) -> MelFrame;

    /// Recognises what is due, and releases the rows that no later step needs. Waits for the
    /// engine's turn.
    ///
    /// # Errors
    /// The encoder or the decoder failed. A run that was cancelled is no error: its step yields
    /// nothing new.
    fn step(&mut self, run: &AudioRun, flush: Flush) -> Result<Vec<TranscriptEvent>, EngineError>;

    /// What was done since the last call.
    fn take_counters(&mut self) -> StreamCounters {
        StreamCounters::default()
    }
}

/// What tells the language of the words that follow.
fn language_event(model: &Model, language: Option<u32>) -> Option<TranscriptEvent> {
    let code = model.tokenizer.language_code(language?)?;
    Some(TranscriptEvent::Language(code.into()))
}
