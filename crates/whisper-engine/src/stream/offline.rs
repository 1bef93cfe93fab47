// SPDX-License-Identifier: MPL-2.0
//! Windows of up to 30 s over arbitrarily long audio, cut where it is quiet, each recognised by
//! itself. All windows that are there are decoded side by side.
//!
//! In Whisper's own order each window starts where the timestamps of the one before end, and is
//! prompted with its text (openai/whisper `transcribe.py`). That has one window wait for the other,
//! and made as many errors (docs/performance.md).

mod cut;

use std::time::Duration;

use super::prompt::PromptBuilder;
use super::{Flush, TranscribeOptions, Transcriber, TranscriptEvent, Word};
use crate::decoder::{
    Decision, DecodeRequest, EncodedWindow, FallbackThresholds, Hypothesis, MAX_SEQUENCES,
    TokenSuppressor, Transcript,
};
use crate::engine::{DecoderTurn, Engine, EngineError};
use whisper_frontend::mel::{MelRing, WINDOW};
use whisper_frontend::{AudioRun, MelFrame};

/// Temperatures that a window is tried at, until one is good enough.
const TEMPERATURES: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
/// What a window may decode to, half of the decoder's context.
const MAX_TOKENS: usize = 224;
/// Audio shorter than this holds no word.
const MIN_WINDOW: MelFrame = MelFrame::new(10);
/// When upstream stalls, words that end this close to the end may go on.
const STALL_MARGIN: Duration = Duration::from_secs(1);

/// Transcribes with the best accuracy, window by window.
pub struct OfflineTranscriber {
    engine: Engine,
    prompt: PromptBuilder,
    /// Frame at which the next window starts.
    seek: MelFrame,
    /// End of the run when upstream last stalled.
    stalled_at: Option<MelFrame>,
    thresholds: FallbackThresholds,
}

/// Frames that are recognised together.
#[derive(Clone, Copy)]
struct Window {
    start: MelFrame,
    frames: MelFrame,
    /// Words at its end may go on in audio that is still to come.
    is_open: bool,
}

impl Window {
    fn end(&self) -> MelFrame {
        self.start + self.frames
    }
}

/// A window, and what the encoder made of it.
type Encoded = (Window, EncodedWindow);

impl OfflineTranscriber {
    /// For one run.
    pub fn new(engine: &Engine, options: TranscribeOptions) -> Self {
        Self {
            prompt: PromptBuilder::new(options, engine.model().clone()),
            engine: engine.clone(),
            seek: MelFrame::ZERO,
            stalled_at: None,
            thresholds: FallbackThresholds::default(),
        }
    }

    /// Windows that can be recognised now: whole ones, and when flushing also what is left after
    /// them.
    fn windows(&mut self, mel: &MelRing, flush: Flush, is_finished: bool) -> Vec<Window> {
        let (mut windows, mut start, end) = (Vec::new(), self.seek, mel.end());
        while windows.len() < MAX_SEQUENCES && end - start >= WINDOW {
            let frames = cut::window(mel, start);
            windows.push(Window {
                start,
                frames,
                is_open: false,
            });
            start += frames;
        }
        let has_rest = flush == Flush::All && windows.len() < MAX_SEQUENCES;
        // A second stall at the same place: the reader gets all there is.
        let is_open = !is_finished && self.stalled_at != Some(end);
        self.stalled_at = has_rest.then_some(end);
        if has_rest {
            windows.push(Window {
                start,
                frames: end - start,
                is_open,
            });
        }
        windows
    }

    /// Encodes windows, one turn each; `None` once the run was cancelled.
    fn encode(
        &self,
        windows: &[Window],
        run: &AudioRun,
    ) -> Result<Option<Vec<Encoded>>, EngineError> {
        let encode = |window: &Window| {
            let Some(turn) = self.engine.turn(run) else {
                return Ok(None);
            };
            let (encoded, _) = turn.encode(window.start..window.end())?;
            Ok(Some((*window, encoded)))
        };
        windows.iter().map(encode).collect()
    }

    /// The words of each window; none where there is no speech.
    fn recognise(
        &mut self,
        windows: &[Encoded],
        run: &AudioRun,
        events: &mut Vec<TranscriptEvent>,
    ) -> Result<Vec<Vec<Word>>, EngineError> {
        let Some((_, first)) = windows.first() else {
            return Ok(Vec::new());
        };
        let engine = self.engine.clone();
        let turn = engine.decoder_turn();
        events.extend(self.prompt.detect_language(&turn, first)?);
        let texts = self.decode(windows, &turn, run)?;
        let texts = texts.into_iter().zip(windows);
        texts
            .map(|(text, window)| match text {
                Some(text) => self.time_words(&text, window, &turn),
                None => Ok(Vec::new()),
            })
            .collect()
    }

    /// Decodes windows at rising temperatures, each until its text is good enough; `None` where
    /// there is no speech.
    fn decode(
        &self,
        windows: &[Encoded],
        turn: &DecoderTurn,
        run: &AudioRun,
    ) -> Result<Vec<Option<Hypothesis>>, EngineError> {
        let tokenizer = &self.engine.model().tokenizer;
        let suppressor = TokenSuppressor::new(tokenizer);
        let prompt = self.prompt.prompt(&[]);
        let mut texts = vec![None; windows.len()];
        let mut undecided: Vec<usize> = (0..windows.len()).collect();
        for temperature in TEMPERATURES {
            if undecided.is_empty() || run.is_cancelled() {
                break;
            }
            let request = |&index: &usize| {
                let (span, window) = &windows[index];
                DecodeRequest {
                    window,
                    prompt: &prompt,
                    suppressor: &suppressor,
                    temperature,
                    max_tokens: MAX_TOKENS,
                    seed: span.start.get(),
                }
            };
            let requests: Vec<DecodeRequest> = undecided.iter().map(request).collect();
            let decoded = turn.decode(&requests)?;
            let tried = std::mem::take(&mut undecided);
            for (index, text) in tried.into_iter().zip(decoded) {
                let decision = self
                    .thresholds
                    .judge(&text, &tokenizer.decode(&text.tokens));
                texts[index] = (decision != Decision::Silence).then_some(text);
                if decision == Decision::Retry {
                    undecided.push(index);
                }
            }
        }
        Ok(texts)
    }

    /// When each word of a window was said.
    fn time_words(
        &self,
        text: &Hypothesis,
        (span, window): &Encoded,
        turn: &DecoderTurn,
    ) -> Result<Vec<Word>, EngineError> {
        let transcript = Transcript {
            start: &self.prompt.start(),
            text: &text.tokens,
            probabilities: &text.probabilities,
            unspaced: self.prompt.is_unspaced(),
        };
        turn.time_words(&transcript, window, span.frames.to_encoder())
    }

    /// Adds the words of the next window, or says that there are none.
    fn commit(&mut self, window: &Window, mut words: Vec<Word>, events: &mut Vec<TranscriptEvent>) {
        self.seek = window.end();
        let is_silent = words.is_empty();
        if window.is_open && !is_silent {
            self.seek = window.start + hold_back(&mut words, window.frames);
        }
        let base = window.start.to_duration();
        for word in &mut words {
            word.start += base;
            word.end += base;
        }
        if !words.is_empty() {
            events.push(TranscriptEvent::Words(words));
        } else if is_silent {
            events.push(TranscriptEvent::EndOfUtterance);
        }
    }
}

impl Transcriber for OfflineTranscriber {
    fn next_frame(&self) -> MelFrame {
        self.seek + WINDOW
    }

    fn step(&mut self, run: &AudioRun, flush: Flush) -> Result<Vec<TranscriptEvent>, EngineError> {
        let is_finished = run.is_finished();
        let (mut windows, end) = run.read(|mel| (self.windows(mel, flush, is_finished), mel.end()));
        let is_open = windows.last().is_some_and(|window| window.is_open);
        let too_short = windows.pop_if(|window| window.frames < MIN_WINDOW);
        let mut events = Vec::new();
        let Some(encoded) = self.encode(&windows, run)? else {
            return Ok(events);
        };
        if !is_open && let Some(last) = windows.last() {
            // Room for what comes while they are decoded.
            run.release(last.end());
        }
        let words = self.recognise(&encoded, run, &mut events)?;
        for (window, words) in windows.iter().zip(words) {
            self.commit(window, words, &mut events);
        }
        if too_short.is_some() && !is_open {
            self.seek = end;
        }
        if flush == Flush::All && !is_open && self.seek >= end {
            events.push(TranscriptEvent::EndOfUtterance);
        }
        events.push(TranscriptEvent::Watermark(self.seek.to_duration()));
        run.release(self.seek);
        Ok(events)
    }
}

/// Keeps only the words that cannot go on in audio that is still to come; returns where the last
/// one of them ends.
fn hold_back(words: &mut Vec<Word>, frames: MelFrame) -> MelFrame {
    let limit = frames.to_duration().saturating_sub(STALL_MARGIN);
    let kept = words.iter().take_while(|word| word.end <= limit).count();
    words.truncate(kept);
    words
        .last()
        .map_or(MelFrame::ZERO, |word| MelFrame::from_duration(word.end))
}
