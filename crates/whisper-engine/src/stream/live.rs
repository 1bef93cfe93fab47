// SPDX-License-Identifier: MPL-2.0
//! Text while it is being said: AlignAtt over an utterance that grows (see
//! [`crate::decoder::AlignAttRequest`]).
//!
//! Each update encodes the whole utterance again, feeds the committed text as a prompt, and commits the
//! words that no longer look at the end of the audio. Committed text never changes. Silence is
//! never encoded.

mod commit;
mod gate;
mod interval;
mod language;
mod policy;
mod utterance;
mod word_timer;

use std::time::Instant;

use super::language::LanguageTracker;
use super::prompt::PromptBuilder;
use super::{
    Flush, LiveOptions, StreamCounters, TranscribeOptions, Transcriber, TranscriptEvent, Word,
};
use crate::decoder::{AlignAttRequest, AlignAttResult, Stop, TokenSuppressor};
use crate::engine::{Engine, EngineError, KeptWindows};
use gate::{Change, SpeechGate};
use interval::UpdateInterval;
pub use policy::Policy;
use policy::Update;
use utterance::Utterance;
use whisper_frontend::mel::MelRing;
use whisper_frontend::{AudioRun, EncoderFrame, MelFrame};

/// How often to look for the begin or end of speech.
const GATE_INTERVAL: MelFrame = MelFrame::new(10);
/// Audio before the first voice that belongs to the utterance.
const PRE_ROLL: MelFrame = MelFrame::new(30);
/// Without voice for so long, what was said is committed, although the utterance may go on.
const PAUSE: MelFrame = MelFrame::new(25);
/// After no more silence than this an utterance goes on in the window of the one before.
const MAX_GAP: MelFrame = MelFrame::new(300);
/// What the encoder takes at once, less some room.
const MAX_WINDOW: MelFrame = MelFrame::new(2900);
/// Tokens that an update may add at first and with each second, more in scripts with many tokens a
/// word.
const TOKENS: u64 = 8;
const TOKENS_UNSPACED: u64 = 16;
/// After so much audio without a word, the text before is not trusted.
const MAX_WORDLESS: MelFrame = MelFrame::new(200);

/// Transcribes speech while it is being said.
pub struct LiveTranscriber {
    engine: Engine,
    prompt: PromptBuilder,
    language: LanguageTracker,
    suppressor: TokenSuppressor,
    policy: Policy,
    /// What an unsure word waits for.
    commit_delay: EncoderFrame,
    real_time: bool,
    gate: SpeechGate,
    interval: UpdateInterval,
    utterance: Option<Utterance>,
    /// The utterance before, while it is context for what may come.
    previous: Option<Utterance>,
    /// No word that is still to come starts before it.
    watermark: MelFrame,
    /// Where the last utterance ended.
    last_end: MelFrame,
    counters: StreamCounters,
    _kept: KeptWindows,
}

/// An update that is to be made now.
#[derive(Clone, Copy)]
struct DueUpdate {
    why: Update,
    /// Frames of the utterance that hold voice.
    voiced: MelFrame,
}

impl LiveTranscriber {
    /// For one run, whose rows have their probability of voice.
    pub fn new(engine: &Engine, options: TranscribeOptions, live: LiveOptions) -> Self {
        let model = engine.model();
        Self {
            prompt: PromptBuilder::new(&options, model.clone()),
            language: LanguageTracker::new(&options, model.tokenizer.clone()),
            suppressor: TokenSuppressor::new(&model.tokenizer)
                .with_terms(&options.terms, &model.tokenizer),
            policy: live.policy.unwrap_or(Policy::of(&model.config)),
            commit_delay: Policy::commit_delay(&model.config),
            engine: engine.clone(),
            real_time: live.real_time,
            gate: SpeechGate::new(options.vad_threshold),
            interval: UpdateInterval::new(live.interval, live.real_time),
            utterance: None,
            previous: None,
            watermark: MelFrame::ZERO,
            last_end: MelFrame::ZERO,
            counters: StreamCounters::default(),
            _kept: engine.keep_windows(1),
        }
    }

    /// Lets the gate pass over frames that are new, up to where an update is due.
    fn advance_gate(&mut self, mel: &MelRing) -> Option<Update> {
        let mut end = mel.voice_end();
        if !self.real_time {
            end = end.min(self.gate.position() + GATE_INTERVAL);
        }
        loop {
            let until = match &self.utterance {
                Some(utterance) => end.min(utterance.start + MAX_WINDOW),
                None => end,
            };
            match self.gate.advance(until, |frame| mel.voice(frame)) {
                Some(Change::Began) => self.begin_utterance(),
                Some(Change::Ended) => return Some(Update::Last),
                None => break,
            }
        }
        self.counters.ignored_noises += self.gate.take_ignored();
        let (utterance, speech) = (self.utterance.as_ref()?, self.gate.speech()?);
        let position = self.gate.position();
        if position >= speech.last_voice + PAUSE && utterance.flushed_to <= speech.last_voice {
            return Some(Update::Pause);
        }
        let is_due = position >= utterance.decoded_to + self.interval.frames();
        let is_full = position >= utterance.start + MAX_WINDOW;
        // In a pause nothing can be added, but a window that is full has to be cut.
        let is_open = utterance.flushed_to <= speech.last_voice;
        (is_full || (is_due && is_open)).then_some(Update::Regular)
    }

    fn begin_utterance(&mut self) {
        let Some(speech) = self.gate.speech() else {
            return;
        };
        let start = speech.start.saturating_sub(PRE_ROLL).max(self.watermark);
        self.forget_previous();
        // The voice and the words just before make the first words of what follows much surer.
        let previous = self.previous.take();
        self.utterance =
            Some(previous.map_or_else(|| Utterance::new(start), |previous| previous.resume(start)));
    }

    fn end_utterance(&mut self, events: &mut Vec<TranscriptEvent>) {
        if let Some(utterance) = self.utterance.take() {
            self.counters.utterances += u64::from(utterance.has_text);
            self.previous = Some(utterance);
            events.push(TranscriptEvent::EndOfUtterance);
        }
        self.gate.close();
        self.last_end = self.gate.position();
    }

    /// Gives up the window of the utterance that ended, once it is too long ago.
    fn forget_previous(&mut self) {
        let position = self.gate.position();
        let next = self.gate.speech().map_or(position, |speech| speech.start);
        if next > self.last_end + MAX_GAP {
            self.previous = None;
        }
    }

    /// Decodes the utterance as far as it goes, and commits what is sure.
    fn update(
        &mut self,
        run: &AudioRun,
        due: DueUpdate,
        events: &mut Vec<TranscriptEvent>,
    ) -> Result<(), EngineError> {
        let position = self.gate.position();
        let Some(mut utterance) = self.utterance.take() else {
            return Ok(());
        };
        if utterance.flushed_to < position {
            let began = Instant::now();
            let unheard = position - utterance.decoded_to;
            self.counters.coalesced += self.interval.coalesced(unheard);
            loop {
                self.counters.updates += 1;
                let Some(result) = self.decode(run, &mut utterance, due, events)? else {
                    break;
                };
                let is_stuck = self.is_stuck(&utterance, &result);
                events.extend(self.commit(&mut utterance, result, due, run));
                if !is_stuck {
                    break;
                }
                // What misled the model is the text: without it, the rest is decoded at once.
                self.counters.restarts += 1;
                utterance.restart(self.watermark);
            }
            self.interval.took(began.elapsed());
            utterance.decoded_to = position;
            if due.why != Update::Regular {
                utterance.flushed_to = position;
            }
            utterance.scroll(position);
        }
        self.utterance = Some(utterance);
        Ok(())
    }

    /// Whether the model takes the text for complete although speech has gone on for long.
    fn is_stuck(&self, utterance: &Utterance, result: &AlignAttResult) -> bool {
        let added_nothing = result.tokens.is_empty() && result.stop == Stop::EndOfText;
        let wordless = self.gate.position() - self.watermark.max(utterance.start);
        added_nothing && wordless > MAX_WORDLESS && !utterance.tokens.is_empty()
    }

    /// Decodes what follows the committed text; `None` until the language can be told, or once the
    /// run was cancelled.
    fn decode(
        &mut self,
        run: &AudioRun,
        utterance: &mut Utterance,
        due: DueUpdate,
        events: &mut Vec<TranscriptEvent>,
    ) -> Result<Option<AlignAttResult>, EngineError> {
        let (end, why) = (self.gate.position(), due.why);
        if self.waits_for_language(utterance, why) {
            return Ok(None);
        }
        let engine = self.engine.clone();
        let Some(turn) = engine.turn(run) else {
            return Ok(None);
        };
        let (mut window, mut turn) = turn.encode(&[utterance.start..end])?;
        if self.must_tell_language(utterance, why) {
            let before = utterance.start;
            if !self.tell_language(utterance, due, (&turn, &window), events)? {
                return Ok(None);
            }
            if utterance.start != before {
                drop(turn);
                let Some(again) = engine.turn(run) else {
                    return Ok(None);
                };
                (window, turn) = again.encode(&[utterance.start..end])?;
            }
        }
        let language = self.language.current();
        let prompt = self.prompt.prompt(language, &utterance.tokens);
        let is_last = why != Update::Regular;
        let request = AlignAttRequest {
            prompt: &prompt,
            committed: utterance.tokens.len(),
            draft: &utterance.draft,
            suppressor: &self.suppressor,
            content: (end - utterance.start).to_encoder(),
            margin: self.policy.margin(why),
            attended: utterance
                .attended
                .filter(|_| !is_last && self.policy == Policy::AlignAtt)
                .map(|frame| frame.saturating_sub(utterance.start).to_encoder()),
            max_tokens: self.max_tokens(utterance),
        };
        turn.align_att(&request, &window).map(Some)
    }

    /// Tokens that can be said in the audio without words.
    fn max_tokens(&self, utterance: &Utterance) -> usize {
        let per_second = if self.prompt.is_unspaced(self.language.current()) {
            TOKENS_UNSPACED
        } else {
            TOKENS
        };
        let wordless = self.gate.position() - self.watermark.max(utterance.start);
        (TOKENS + per_second * wordless.get() / MelFrame::PER_SECOND) as usize
    }

    /// Moves the watermark to where the next word may start at the earliest. `to_end`: nothing of
    /// what is there is still to come.
    fn advance_watermark(&mut self, to_end: bool) -> TranscriptEvent {
        let position = self.gate.position();
        if self.utterance.is_none() {
            let pending = self.gate.speech().map_or(position, |speech| speech.start);
            let until = if to_end {
                position
            } else {
                pending.saturating_sub(PRE_ROLL)
            };
            self.watermark = self.watermark.max(until);
        }
        TranscriptEvent::Watermark(self.watermark.to_duration())
    }
}

impl Transcriber for LiveTranscriber {
    fn next_frame(&self) -> MelFrame {
        self.gate.position() + GATE_INTERVAL
    }

    fn step(&mut self, run: &AudioRun, flush: Flush) -> Result<Vec<TranscriptEvent>, EngineError> {
        let flush = flush == Flush::All;
        let mut events = Vec::new();
        loop {
            // What the gate knows of an utterance is gone once it ended.
            let before = self.gate.speech();
            let (mut why, end) = run.read(|mel| (self.advance_gate(mel), mel.voice_end()));
            let at_end = self.gate.position() >= end;
            if flush && at_end && self.utterance.is_some() {
                why = Some(Update::Last);
            }
            if let Some(why) = why {
                let speech = self.gate.speech().or(before);
                let voiced = speech.map_or(MelFrame::ZERO, |speech| speech.voiced);
                self.update(run, DueUpdate { why, voiced }, &mut events)?;
                if why == Update::Last {
                    self.end_utterance(&mut events);
                }
            }
            events.push(self.advance_watermark(flush && at_end));
            if at_end || !flush {
                break;
            }
        }
        self.forget_previous();
        let window = self.utterance.as_ref().or(self.previous.as_ref());
        let needed = window.map_or(self.watermark, |utterance| utterance.start);
        run.release(needed);
        Ok(events)
    }

    fn take_counters(&mut self) -> StreamCounters {
        std::mem::take(&mut self.counters)
    }
}
