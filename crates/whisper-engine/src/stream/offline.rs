// SPDX-License-Identifier: MPL-2.0
//! Speech over arbitrarily long audio: found by the voice detector, put together to windows of up to
//! 30 s, each recognised by itself. All windows that are there are decoded side by side.
//!
//! | module | what it does |
//! |---|---|
//! | `passage`, `passages`, `cut`, `clarity` | where speech is, parted by pauses and from music |
//! | `window` | passages side by side, without the silence between |
//! | `language` | which one is spoken in each window |
//! | `reader`, `attempt` | windows to texts, and which can be trusted |
//! | `coverage` | voice that became no words: it is recognised again, alone |
//!
//! In Whisper's own order each window starts where the timestamps of the one before end, and is
//! prompted with its text (openai/whisper `transcribe.py`). That has one window wait for the other,
//! and made as many errors (docs/performance.md).

mod attempt;
mod clarity;
mod coverage;
mod cut;
mod language;
mod passage;
mod passages;
mod reader;
mod window;

use std::collections::VecDeque;

use super::guards::is_same;
use super::language::LanguageTracker;
use super::{
    Flush, StreamCounters, TranscribeOptions, Transcriber, TranscriptEvent, Word, language_event,
};
use crate::decoder::MAX_SEQUENCES;
use crate::engine::{Engine, EngineError, KeptWindows};
use attempt::{Attempt, Verdict};
use passage::Passage;
use passages::PassageFinder;
use reader::WindowReader;
use whisper_frontend::mel::{MelRing, WINDOW};
use whisper_frontend::{AudioRun, MelFrame};
use window::Window;

/// A window holds no passage that begins later after its first one: text must not wait longer.
const LONGEST_WAIT: MelFrame = MelFrame::from_secs(60);
/// New audio that is worth a look.
const LOOK: MelFrame = MelFrame::from_secs(1);

/// Transcribes with the best accuracy, window by window.
pub struct OfflineTranscriber {
    engine: Engine,
    reader: WindowReader,
    language: LanguageTracker,
    /// The language that was told last.
    told: Option<u32>,
    finder: PassageFinder,
    /// Passages that were found and are not decoded yet.
    passages: VecDeque<Passage>,
    /// End of the run when upstream last stalled.
    stalled_at: Option<MelFrame>,
    counters: StreamCounters,
    _kept: KeptWindows,
}

/// Words of a window, and their language.
struct WindowWords {
    language: Option<u32>,
    words: Vec<Word>,
}

impl OfflineTranscriber {
    /// For one run, whose rows have their probability of voice.
    pub fn new(engine: &Engine, options: TranscribeOptions) -> Self {
        let language = LanguageTracker::new(&options, engine.model().tokenizer.clone());
        Self {
            reader: WindowReader::new(engine, &options),
            told: language.current(),
            language,
            engine: engine.clone(),
            finder: PassageFinder::new(options.vad_threshold),
            passages: VecDeque::new(),
            stalled_at: None,
            counters: StreamCounters::default(),
            _kept: engine.keep_windows(MAX_SEQUENCES),
        }
    }

    /// The next windows: those that are full, and when flushing all that is left. `is_last`: no
    /// passage goes on in audio that is still to come.
    fn windows(&mut self, mel: &MelRing, flush: Flush, is_last: bool) -> Vec<Window> {
        while let Some(passage) = self.finder.next(mel, is_last) {
            self.passages.push_back(passage);
        }
        let mut windows = Vec::new();
        while windows.len() < MAX_SEQUENCES {
            let count = self.fitting();
            let Some(first) = self.passages.front() else {
                break;
            };
            let is_open = self.finder.open_start() < first.span.start + LONGEST_WAIT;
            let may_grow = count == self.passages.len() && is_open && first.is_clear();
            if may_grow && flush == Flush::Wait {
                break;
            }
            windows.push(Window::new(self.passages.drain(..count).collect()));
        }
        windows
    }

    /// How many of the passages fit into the next window. That does not depend on how much of the run
    /// is there. What is not clearly a voice is recognised alone: beside speech, models write into
    /// music, too.
    fn fitting(&self) -> usize {
        let Some(first) = self.passages.front() else {
            return 0;
        };
        if !first.is_clear() {
            return 1;
        }
        let (mut room, last) = (WINDOW, first.span.start + LONGEST_WAIT);
        let fits = |passage: &&Passage| {
            let left = room.checked_sub(passage.frames());
            room = left.unwrap_or(room);
            left.is_some() && passage.span.start < last && passage.is_clear()
        };
        self.passages.iter().take_while(fits).count()
    }

    /// The words of windows, in their order. Texts that cannot be trusted, and voice that has no
    /// words, are recognised again, passage by passage.
    fn recognise(
        &mut self,
        windows: Vec<Window>,
        run: &AudioRun,
    ) -> Result<Vec<WindowWords>, EngineError> {
        let Some(encoded) = self.encode(windows, run)? else {
            return Ok(Vec::new());
        };
        let attempts = self.reader.read(&encoded)?;
        let (mut texts, mut again) = (Vec::new(), Vec::new());
        for (number, ((window, _), attempt)) in encoded.iter().zip(attempts).enumerate() {
            let (words, unheard) = judged(window, attempt);
            self.counters.passages_lost += u64::from(words.is_empty() && unheard.is_empty());
            let alone = |passage| (number, Window::alone(passage, window.language));
            again.extend(unheard.into_iter().map(alone));
            texts.push(WindowWords {
                language: window.language,
                words,
            });
        }
        drop(encoded);
        while !again.is_empty() {
            let now = again.drain(..again.len().min(MAX_SEQUENCES));
            let (numbers, windows): (Vec<_>, Vec<_>) = now.unzip();
            self.counters.passages_again += windows.len() as u64;
            for (number, words) in numbers.into_iter().zip(self.recognise_alone(windows, run)?) {
                self.counters.passages_lost += u64::from(words.is_empty());
                insert(&mut texts[number].words, words);
            }
        }
        Ok(texts)
    }

    /// The words of windows of one passage each.
    fn recognise_alone(
        &self,
        windows: Vec<Window>,
        run: &AudioRun,
    ) -> Result<Vec<Vec<Word>>, EngineError> {
        let Some(encoded) = self.reader.encode(windows, run)? else {
            return Ok(Vec::new());
        };
        let attempts = self.reader.read_carefully(&encoded, run)?;
        let words = encoded.iter().zip(attempts).map(|((window, _), attempt)| {
            let words = window.place(&attempt.timed);
            if attempt.is_printed() {
                words
            } else {
                Vec::new()
            }
        });
        Ok(words.collect())
    }

    /// Says what was recognised.
    fn tell(&mut self, text: WindowWords, events: &mut Vec<TranscriptEvent>) {
        if text.language != self.told && !text.words.is_empty() {
            self.told = text.language;
            events.extend(language_event(self.engine.model(), text.language));
        }
        if !text.words.is_empty() {
            events.push(TranscriptEvent::Words(text.words));
        }
        events.push(TranscriptEvent::EndOfUtterance);
    }

    /// No word that is still to come starts before.
    fn watermark(&self) -> MelFrame {
        let next = self.passages.front().map(|passage| passage.span.start);
        next.unwrap_or(self.finder.open_start())
    }
}

impl Transcriber for OfflineTranscriber {
    fn next_frame(&self) -> MelFrame {
        (self.watermark() + WINDOW).max(self.finder.position() + LOOK)
    }

    fn step(&mut self, run: &AudioRun, flush: Flush) -> Result<Vec<TranscriptEvent>, EngineError> {
        let (is_finished, end) = (run.is_finished(), run.read(|mel| mel.end()));
        // A second stall at the same place: the reader gets all there is.
        let is_last = flush == Flush::All && (is_finished || self.stalled_at == Some(end));
        self.stalled_at = (flush == Flush::All).then_some(end);
        let mut events = Vec::new();
        loop {
            let windows = run.read(|mel| self.windows(mel, flush, is_last));
            if windows.is_empty() || run.is_cancelled() {
                break;
            }
            for text in self.recognise(windows, run)? {
                self.tell(text, &mut events);
            }
            run.release(self.watermark());
            if flush == Flush::Wait {
                break;
            }
        }
        let mismatch = self.language.take_mismatch();
        events.extend(mismatch.map(|code| TranscriptEvent::OtherLanguage(code.into())));
        let reached = if is_last { end } else { self.watermark() };
        events.push(TranscriptEvent::Watermark(reached.to_duration()));
        run.release(reached);
        Ok(events)
    }

    fn take_counters(&mut self) -> StreamCounters {
        std::mem::take(&mut self.counters)
    }
}

/// The words of an attempt, and the passages that are to be recognised again.
fn judged(window: &Window, attempt: Attempt) -> (Vec<Word>, Vec<Passage>) {
    match attempt.verdict {
        Verdict::Sound => (window.place(&attempt.timed), attempt.unheard),
        // It was recognised alone.
        Verdict::Silent if window.passages.len() == 1 => (Vec::new(), Vec::new()),
        _ => (Vec::new(), window.passages.clone()),
    }
}

/// Adds words that were missed to the others, in the order of time. What was heard of them before is
/// replaced.
fn insert(words: &mut Vec<Word>, more: Vec<Word>) {
    let (Some(first), Some(last)) = (more.first(), more.last()) else {
        return;
    };
    let (start, end) = (first.start, last.end);
    let is_there = |word: &Word| more.iter().any(|other| is_same(&word.text, &other.text));
    let is_within = |word: &Word| start <= word.end && word.start <= end;
    words.retain(|word| !(is_within(word) && is_there(word)));
    let middle = |word: &Word| (word.start + word.end) / 2;
    let at = words.partition_point(|word| middle(word) < (start + end) / 2);
    for before in &mut words[..at] {
        before.end = before.end.min(start).max(before.start.min(start));
        before.start = before.start.min(start);
    }
    for after in &mut words[at..] {
        after.start = after.start.max(end);
        after.end = after.end.max(after.start);
    }
    words.splice(at..at, more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn words(words: &[(&str, u64, u64)]) -> Vec<Word> {
        let time = |tenths| Duration::from_millis(100 * tenths);
        let words = words.iter().map(|&(text, start, end)| Word {
            text: text.into(),
            spaced: true,
            start: time(start),
            end: time(end),
            probability: 1.0,
        });
        words.collect()
    }

    fn inserted(some: &[(&str, u64, u64)], more: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
        let mut all = words(some);
        insert(&mut all, words(more));
        let tenths = |time: Duration| time.as_millis() as u64 / 100;
        let all = all.into_iter();
        all.map(|word| (word.text, tenths(word.start), tenths(word.end)))
            .collect()
    }

    #[test]
    fn words_that_were_missed_come_between_the_others() {
        let found = inserted(
            &[("one", 0, 10), ("two.", 10, 55), ("Five", 58, 90)],
            &[("Three", 20, 30), ("four.", 30, 60)],
        );
        let text: Vec<&str> = found.iter().map(|(text, ..)| text.as_str()).collect();
        assert_eq!(text, ["one", "two.", "Three", "four.", "Five"]);
        assert!(
            found.windows(2).all(|pair| pair[0].2 <= pair[1].1),
            "{found:?}"
        );
    }

    #[test]
    fn words_that_are_heard_again_are_there_once() {
        let found = inserted(
            &[
                ("one.", 0, 10),
                ("three", 22, 28),
                ("In", 29, 31),
                ("five", 50, 60),
            ],
            &[("Two", 20, 22), ("three.", 22, 30)],
        );
        let text: Vec<&str> = found.iter().map(|(text, ..)| text.as_str()).collect();
        assert_eq!(text, ["one.", "Two", "three.", "In", "five"]);
    }

    #[test]
    fn words_that_are_none_change_nothing() {
        let some = [("one", 0, 10)];
        assert_eq!(inserted(&some, &[]).len(), 1);
        assert_eq!(inserted(&[], &some).len(), 1);
    }
}
