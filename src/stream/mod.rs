// SPDX-License-Identifier: MPL-2.0
//! When to encode, what to commit: the schedules, and the run of audio they read.
//!
//! Nothing here knows GStreamer. Times are offsets from the first sample of a [`Run`].

mod offline;
mod run;
mod segments;

use std::time::Duration;

pub use offline::Offline;
pub use run::{Run, Wake, track_counters};

use crate::engine::{Engine, EngineError};

/// A recognised word, timed from the start of its run.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The word with its punctuation, without surrounding white space.
    pub text: String,
    /// Whether white space parts it from the word before.
    pub spaced: bool,
    pub start: Duration,
    pub end: Duration,
    /// Mean probability of the word's tokens, 0 to 1.
    pub probability: f32,
}

/// What an update of a schedule yields, in this order downstream.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The language that was detected (ISO 639-1 code as Whisper names it, `en`, `yue`).
    Language(String),
    /// Final words: later outputs start no earlier, and never change them.
    Words(Vec<Word>),
    /// The speaker paused or the window closed here: a cue may end.
    Pause,
    /// No word that is still to come starts before this time.
    Settled(Duration),
}

/// What the user asked of the recogniser.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Whisper's code of the language, `None` to detect it.
    pub language: Option<String>,
    /// Translate to English rather than transcribe.
    pub translate: bool,
    /// Names and terms to expect.
    pub initial_prompt: Option<String>,
}

/// A policy over one [`Run`]: how much audio an update needs, and which words it commits.
pub trait Schedule: Send {
    /// Frame (10 ms, counted from the run's start) up to which rows must be there for the next update.
    fn wants(&self) -> u64;

    /// One update. `settle` asks to commit all that is in the run, because no more audio can be expected
    /// for now (`run` is finished, or upstream stalled).
    fn update(
        &mut self,
        run: &Run,
        engine: &Engine,
        settle: bool,
    ) -> Result<Vec<Output>, EngineError>;
}
