// SPDX-License-Identifier: MPL-2.0
//! When to encode, what to commit: the schedules, and the run of audio they read.
//!
//! Nothing here knows GStreamer. Times are offsets from the first sample of a [`AudioRun`].

mod live;
mod offline;
mod prompt;

pub use captions::Word;
use std::ops::AddAssign;
use std::time::Duration;

pub use live::{Live, LiveOptions, Policy};
pub use offline::Offline;

use crate::engine::{Engine, EngineError};
use whisper_frontend::AudioRun;

/// What an update of a schedule yields, in this order downstream.
#[derive(Clone, Debug, PartialEq)]
pub enum TranscriptEvent {
    /// The language that was detected (ISO 639-1 code as Whisper names it, `en`, `yue`).
    Language(String),
    /// Final words: later outputs start no earlier, and never change them.
    Words(Vec<Word>),
    /// What may come after the words so far; it changes until it is said in [`TranscriptEvent::Words`].
    Partial {
        /// Words of the utterance that are final.
        stable: String,
        text: String,
        start: Duration,
    },
    /// The speaker paused or the window closed here: a cue may end.
    EndOfUtterance,
    /// No word that is still to come starts before this time.
    Watermark(Duration),
}

/// What the user asked of the recogniser.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranscribeOptions {
    /// Whisper's code of the language, `None` to detect it.
    pub language: Option<String>,
    /// Translate to English rather than transcribe.
    pub translate: bool,
    /// Names and terms to expect.
    pub initial_prompt: Option<String>,
}

/// What a live schedule did, and what it kept from being printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveCounters {
    /// Times that the utterance was heard.
    pub updates: u64,
    /// Updates that were due while another took too long, and were made as one.
    pub coalesced: u64,
    /// Utterances with text.
    pub utterances: u64,
    /// Windows that were begun anew because the model took their text for complete.
    pub restarts: u64,
    /// Sounds with too little voice to be heard as an utterance.
    pub ignored_noises: u64,
    /// Updates thrown away because nobody seemed to speak.
    pub refused_silence: u64,
    /// Updates thrown away because they said more than can be said in the time.
    pub refused_too_much: u64,
    /// Updates thrown away because they repeated themselves.
    pub refused_loops: u64,
    /// Updates thrown away because attention jumped back or stood still.
    pub refused_unsteady: u64,
    /// Utterances thrown away that were nothing but a phrase that models invent.
    pub refused_boilerplate: u64,
    /// Tokens thrown away because there was no audio that they could stand for.
    pub refused_tokens: u64,
    /// Words thrown away because there was no voice where they were.
    pub refused_words: u64,
}

impl LiveCounters {
    /// Each counter under the name that users see.
    pub fn counters(&self) -> [(&'static str, u64); 12] {
        [
            ("updates", self.updates),
            ("updates-coalesced", self.coalesced),
            ("utterances", self.utterances),
            ("restarts", self.restarts),
            ("noises-ignored", self.ignored_noises),
            ("refused-silence", self.refused_silence),
            ("refused-too-much", self.refused_too_much),
            ("refused-loops", self.refused_loops),
            ("refused-unsteady", self.refused_unsteady),
            ("refused-boilerplate", self.refused_boilerplate),
            ("refused-tokens", self.refused_tokens),
            ("refused-words", self.refused_words),
        ]
    }
}

impl AddAssign for LiveCounters {
    fn add_assign(&mut self, other: Self) {
        self.updates += other.updates;
        self.coalesced += other.coalesced;
        self.utterances += other.utterances;
        self.restarts += other.restarts;
        self.ignored_noises += other.ignored_noises;
        self.refused_silence += other.refused_silence;
        self.refused_too_much += other.refused_too_much;
        self.refused_loops += other.refused_loops;
        self.refused_unsteady += other.refused_unsteady;
        self.refused_boilerplate += other.refused_boilerplate;
        self.refused_tokens += other.refused_tokens;
        self.refused_words += other.refused_words;
    }
}

/// A policy over one [`AudioRun`]: how much audio an update needs, and which words it commits.
pub trait Transcriber: Send {
    /// Frame (10 ms, counted from the run's start) up to which rows must be there for the next update.
    fn next_frame(&self) -> u64;

    /// One update. `settle` asks to commit all that is in the run, because no more audio can be expected
    /// for now (`run` is finished, or upstream stalled).
    fn update(
        &mut self,
        run: &AudioRun,
        engine: &Engine,
        settle: bool,
    ) -> Result<Vec<TranscriptEvent>, EngineError>;

    /// What was done since the last call.
    fn take_counters(&mut self) -> LiveCounters {
        LiveCounters::default()
    }
}
