// SPDX-License-Identifier: MPL-2.0
//! Text while it is being said: AlignAtt over an utterance that grows (see [`crate::decoder::AlignAttRequest`]).
//!
//! Each update encodes the utterance anew, feeds the committed text as a prompt, and commits the words that no
//! longer look at the end of the audio. Committed text never changes. Nobody speaks: nothing is encoded.

mod commit;
mod gate;
mod guards;
mod interval;
mod policy;
mod utterance;
mod word_timer;

use std::time::{Duration, Instant};

use super::prompt::PromptBuilder;
use super::{LiveCounters, TranscribeOptions, Transcriber, TranscriptEvent, Word};
use crate::decoder::{
    AlignAttRequest, AlignAttResult, Decoder, DecoderError, EncodedWindow, Stop, TokenSuppressor,
};
use crate::engine::{Engine, EngineError};
use gate::{Change, SpeechGate};
use interval::UpdateInterval;
pub use policy::Policy;
use policy::Update;
use utterance::Utterance;
use whisper_frontend::mel::MelRing;
use whisper_frontend::{AudioRun, EncoderFrame, MelFrame};
use whisper_model::{Model, Tokenizer};
use word_timer::time;

const FRAME: Duration = Duration::from_millis(10);
/// How often to look whether somebody speaks, in frames of 10 ms.
const LOOK: u64 = 10;
/// EncodedWindow before the first voice that belongs to the utterance.
const PRE_ROLL: u64 = 30;
/// Without voice for so long, what was said is committed, although the utterance may go on.
const PAUSE: u64 = 25;
/// After no more silence than this an utterance goes on in the window of the one before.
const RESUME: u64 = 300;
/// What the encoder takes at once, less some room.
const MOST: u64 = 2900;
/// Speech that is needed to tell its language.
const LANGUAGE: u64 = 200;
/// Tokens that an update may add at first and with each second, more in scripts with many tokens a word.
const TOKENS: u64 = 8;
const TOKENS_UNSPACED: u64 = 16;
/// After so much audio without a word, in frames of 10 ms, the text before is not trusted.
const DEAF: u64 = 200;

/// How to be live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveOptions {
    /// From one update to the next while somebody speaks: half as long costs twice the work and brings words 0.2 s earlier.
    pub interval: Duration,
    /// Probability from which on a frame is voice; 0 takes everything for speech.
    pub vad_threshold: f32,
    /// Whether audio comes in real time: updates become rarer when they take long, and what came meanwhile is heard at
    /// once. Otherwise each update hears what it would have heard if it had taken no time.
    pub real_time: bool,
    /// How words become final; `None` for what suits the model.
    pub policy: Option<Policy>,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(900),
            vad_threshold: 0.5,
            real_time: true,
            policy: None,
        }
    }
}

pub struct Live {
    context: PromptBuilder,
    policy: Policy,
    /// Frames of 20 ms that an unsure word waits for.
    commit_delay: EncoderFrame,
    real_time: bool,
    gate: SpeechGate,
    pace: UpdateInterval,
    utterance: Option<Utterance>,
    /// The one before, while it is context for what may come.
    ended: Option<Utterance>,
    /// Frame before which no word starts any more.
    settled: u64,
    /// Where the last utterance ended.
    last_end: u64,
    tally: LiveCounters,
}

impl Live {
    pub fn new(request: TranscribeOptions, model: &Model, options: LiveOptions) -> Self {
        Self {
            context: PromptBuilder::new(request, &model.tokenizer),
            policy: options.policy.unwrap_or(Policy::of(&model.config)),
            commit_delay: Policy::commit_delay(&model.config),
            real_time: options.real_time,
            gate: SpeechGate::new(options.vad_threshold),
            pace: UpdateInterval::new(options.interval, options.real_time),
            utterance: None,
            ended: None,
            settled: 0,
            last_end: 0,
            tally: LiveCounters::default(),
        }
    }

    /// Looks at the voice of frames that are new, up to where an update is due.
    fn look(&mut self, track: &MelRing) -> Option<Update> {
        let mut heard = track.voice_end().get();
        if !self.real_time {
            heard = heard.min(self.gate.position() + LOOK);
        }
        loop {
            let until = match &self.utterance {
                Some(utterance) => heard.min(utterance.start + MOST),
                None => heard,
            };
            match self
                .gate
                .advance(until, |frame| track.voice(MelFrame::new(frame)))
            {
                Some(Change::Began) => self.begin(),
                Some(Change::Ended) => return Some(Update::Last),
                None => break,
            }
        }
        self.tally.ignored_noises += self.gate.take_ignored();
        let (utterance, speech) = (self.utterance.as_ref()?, self.gate.speech()?);
        let position = self.gate.position();
        if position >= speech.last_voice + PAUSE && utterance.settled <= speech.last_voice {
            return Some(Update::Pause);
        }
        let due = position >= utterance.heard + self.pace.interval();
        let full = position >= utterance.start + MOST;
        // In a pause nothing can be added, but a window that is full has to be cut.
        let is_open = utterance.settled <= speech.last_voice;
        (full || (due && is_open)).then_some(Update::Regular)
    }

    fn begin(&mut self) {
        let Some(speech) = self.gate.speech() else {
            return;
        };
        let start = speech.start.saturating_sub(PRE_ROLL).max(self.settled);
        self.let_go();
        // The voice and the words just before make the first words of what follows much surer.
        let ended = self.ended.take();
        self.utterance =
            Some(ended.map_or_else(|| Utterance::new(start), |ended| ended.resume(start)));
    }

    /// Gives up the window of the utterance that ended, once it is too long ago.
    fn let_go(&mut self) {
        let position = self.gate.position();
        let next = self.gate.speech().map_or(position, |speech| speech.start);
        if next > self.last_end + RESUME {
            self.ended = None;
        }
    }

    /// Hears the utterance as far as it goes, and commits what is sure.
    fn hear(
        &mut self,
        run: &AudioRun,
        engine: &Engine,
        update: Update,
        voiced: u64,
        outputs: &mut Vec<TranscriptEvent>,
    ) -> Result<(), EngineError> {
        let position = self.gate.position();
        let Some(mut utterance) = self.utterance.take() else {
            return Ok(());
        };
        if utterance.settled < position {
            let began = Instant::now();
            self.tally.coalesced += self.pace.coalesced(position - utterance.heard);
            loop {
                self.tally.updates += 1;
                let Some(followed) = self.follow(run, engine, &utterance, update, outputs)? else {
                    break;
                };
                let is_deaf = self.is_deaf(&utterance, &followed);
                let tokenizer = &engine.model().tokenizer;
                let judged = self.judge(&mut utterance, followed, update, voiced, run, tokenizer);
                outputs.extend(judged);
                if !is_deaf {
                    break;
                }
                // What misled the model is the text: without it, the rest is heard at once.
                self.tally.restarts += 1;
                utterance.restart(self.settled);
            }
            self.pace.took(began.elapsed());
            utterance.heard = position;
            if update != Update::Regular {
                utterance.settled = position;
            }
            utterance.scroll(position);
        }
        self.utterance = Some(utterance);
        Ok(())
    }

    /// Whether the model takes the text for complete although somebody has gone on speaking for long.
    fn is_deaf(&self, utterance: &Utterance, followed: &AlignAttResult) -> bool {
        let heard_nothing = followed.tokens.is_empty() && followed.stop == Stop::EndOfText;
        let unheard = self.gate.position() - self.settled.max(utterance.start);
        heard_nothing && unheard > DEAF && !utterance.tokens.is_empty()
    }

    /// Hears what follows the committed text; `None` until the language can be told.
    fn follow(
        &mut self,
        run: &AudioRun,
        engine: &Engine,
        utterance: &Utterance,
        update: Update,
        outputs: &mut Vec<TranscriptEvent>,
    ) -> Result<Option<AlignAttResult>, EngineError> {
        let tokenizer = &engine.model().tokenizer;
        let frames = self.gate.position() - utterance.start;
        let must_detect = self.context.must_detect(tokenizer);
        if must_detect && frames < LANGUAGE && update == Update::Regular {
            return Ok(None);
        }
        engine.hear(run, utterance.start, frames as usize, |decoder, audio| {
            self.decode(decoder, &audio, tokenizer, utterance, update, outputs)
        })
    }

    /// Decodes what follows the committed text.
    fn decode(
        &mut self,
        decoder: &Decoder,
        audio: &EncodedWindow,
        tokenizer: &Tokenizer,
        utterance: &Utterance,
        update: Update,
        outputs: &mut Vec<TranscriptEvent>,
    ) -> Result<AlignAttResult, DecoderError> {
        if self.context.must_detect(tokenizer) {
            let token = decoder.detect_language(audio)?;
            self.context.set_language(token);
            let code = tokenizer.language_code(token);
            outputs.extend(code.map(|code| TranscriptEvent::Language(code.into())));
        }
        let per_second = if self.context.is_unspaced(tokenizer) {
            TOKENS_UNSPACED
        } else {
            TOKENS
        };
        let position = self.gate.position();
        let unheard = position - self.settled.max(utterance.start);
        let is_last = update != Update::Regular;
        let task = AlignAttRequest {
            prompt: &self.context.prompt(&utterance.tokens, tokenizer),
            committed: utterance.tokens.len(),
            draft: &utterance.draft,
            suppressor: &TokenSuppressor::new(tokenizer),
            content: EncoderFrame::new((position - utterance.start) / 2),
            margin: self.policy.margin(update),
            attended: utterance
                .attended
                .filter(|_| !is_last && self.policy == Policy::AlignAtt)
                .map(|frame| EncoderFrame::new(frame.saturating_sub(utterance.start) / 2)),
            max_tokens: (TOKENS + per_second * unheard / 100) as usize,
        };
        decoder.align_att(&task, audio)
    }

    fn finish_utterance(&mut self, outputs: &mut Vec<TranscriptEvent>) {
        if let Some(utterance) = self.utterance.take() {
            self.tally.utterances += u64::from(utterance.has_text);
            self.ended = Some(utterance);
            outputs.push(TranscriptEvent::EndOfUtterance);
        }
        self.gate.close();
        self.last_end = self.gate.position();
    }

    /// Where the next word may start at the earliest.
    fn settle(&mut self, everything: bool) -> TranscriptEvent {
        let position = self.gate.position();
        if self.utterance.is_none() {
            let pending = self.gate.speech().map_or(position, |speech| speech.start);
            let until = if everything {
                position
            } else {
                pending.saturating_sub(PRE_ROLL)
            };
            self.settled = self.settled.max(until);
        }
        TranscriptEvent::Watermark(time(self.settled))
    }
}

impl Transcriber for Live {
    fn next_frame(&self) -> u64 {
        self.gate.position() + LOOK
    }

    fn update(
        &mut self,
        run: &AudioRun,
        engine: &Engine,
        settle: bool,
    ) -> Result<Vec<TranscriptEvent>, EngineError> {
        let mut outputs = Vec::new();
        loop {
            // What the gate knows of an utterance is gone once it ended.
            let before = self.gate.speech();
            let (mut due, end) = run.read(|track| (self.look(track), track.voice_end().get()));
            let at_end = self.gate.position() >= end;
            if settle && at_end && self.utterance.is_some() {
                due = Some(Update::Last);
            }
            if let Some(update) = due {
                let voiced = self
                    .gate
                    .speech()
                    .or(before)
                    .map_or(0, |speech| speech.voiced);
                self.hear(run, engine, update, voiced, &mut outputs)?;
                if update == Update::Last {
                    self.finish_utterance(&mut outputs);
                }
            }
            outputs.push(self.settle(settle && at_end));
            if at_end || !settle {
                break;
            }
        }
        self.let_go();
        let window = self.utterance.as_ref().or(self.ended.as_ref());
        let needed = window.map_or(self.settled, |utterance| utterance.start);
        run.release(MelFrame::new(needed));
        Ok(outputs)
    }

    fn take_counters(&mut self) -> LiveCounters {
        std::mem::take(&mut self.tally)
    }
}
