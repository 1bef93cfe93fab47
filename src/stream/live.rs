// SPDX-License-Identifier: MPL-2.0
//! Text while it is being said: AlignAtt over an utterance that grows (see [`crate::decoder::Follow`]).
//!
//! Each update encodes the utterance anew, feeds the committed text as a prompt, and commits the words that no
//! longer look at the end of the audio. Committed text never changes. Nobody speaks: nothing is encoded.

mod gate;
mod guards;
mod pace;
mod utterance;

use std::time::{Duration, Instant};

use super::{Output, Request, Run, Schedule, Tally, Word};
use crate::decoder::{Follow, Followed, Rules, TimedWord, is_unspaced, split_words};
use crate::engine::{Engine, EngineError, Turn};
use crate::mel::Track;
use crate::model::{Model, Tokenizer};
use gate::{Change, Gate};
use guards::Refusal;
use pace::Pace;
use utterance::{Placed, Utterance};

const FRAME: Duration = Duration::from_millis(10);
/// How often to look whether somebody speaks, in frames of 10 ms.
const LOOK: u64 = 10;
/// Audio before the first voice that belongs to the utterance.
const PRE_ROLL: u64 = 30;
/// Without voice for so long, all that was said is committed, although the utterance may go on.
const PAUSE: u64 = 25;
/// After so much silence what was said before is no context.
const FORGET: u64 = 500;
/// What the encoder takes at once, less some room.
const MOST: u64 = 2900;
/// Speech that is needed to tell its language.
const LANGUAGE: u64 = 200;
/// Words are left for later if they look at the last frames (20 ms) of the audio; of all audio that there will be, less.
const MARGIN: usize = 35;
const LAST_MARGIN: usize = 4;
/// Tokens that an update may add at first and with each second, more in scripts with many tokens a word.
const TOKENS: u64 = 8;
const TOKENS_UNSPACED: u64 = 16;
/// Text carried over, in tokens: small models copy the errors of longer prompts and loop (whisper.cpp #2446).
const CONTEXT: usize = 64;
/// After so many refused updates the window begins anew.
const PATIENCE: u32 = 4;
/// Silence that is encoded after the audio, in rows of 20 ms. With 256 base begins to loop (31.8 % of words wrong instead
/// of 11.1 %, whisper.cpp); with 512 no accuracy is lost.
const SLACK: usize = 512;
/// Frames around a word in which voice is looked for: attention is that inexact.
const VOICE_REACH: u64 = 20;

/// How to be live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveOptions {
    /// From one update to the next while somebody speaks.
    pub interval: Duration,
    /// Probability from which on a frame is voice; 0 takes everything for speech.
    pub vad_threshold: f32,
    /// Whether updates become rarer when they take long.
    pub adapts: bool,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            vad_threshold: 0.5,
            adapts: true,
        }
    }
}

pub struct Live {
    request: Request,
    language: Option<u32>,
    initial_prompt: Vec<u32>,
    /// Text before the window.
    context: Vec<u32>,
    gate: Gate,
    pace: Pace,
    utterance: Option<Utterance>,
    /// Frame before which no word starts any more.
    settled: u64,
    /// Where the last utterance ended.
    last_end: u64,
    tally: Tally,
}

/// Why there is an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Update {
    /// Time has passed.
    Regular,
    /// The speaker pauses.
    Pause,
    /// The utterance ended.
    Last,
}

impl Live {
    /// Whether attention of this model's heads tells where it is in the audio. Those of large-v3-turbo, with four
    /// layers on a large encoder, do not well enough (WhisperLiveKit's benchmarks: 18 against 5 % WER).
    pub fn suits(model: &Model) -> bool {
        let config = &model.config;
        !config.alignment_heads.is_empty() && config.text_layers == config.audio_layers
    }

    pub fn new(request: Request, model: &Model, options: LiveOptions) -> Self {
        let tokenizer = &model.tokenizer;
        let language = request
            .language
            .as_deref()
            .and_then(|code| tokenizer.language_token(code));
        let initial_prompt = match request.initial_prompt.as_deref().map(str::trim) {
            Some(text) if !text.is_empty() => tokenizer.encode(&format!(" {text}")),
            _ => Vec::new(),
        };
        Self {
            request,
            language,
            initial_prompt,
            context: Vec::new(),
            gate: Gate::new(options.vad_threshold),
            pace: Pace::new(options.interval, options.adapts),
            utterance: None,
            settled: 0,
            last_end: 0,
            tally: Tally::default(),
        }
    }

    /// Looks at the voice of frames that are new, up to where an update is due.
    fn look(&mut self, track: &Track) -> Option<Update> {
        let heard = track.heard();
        loop {
            let until = match &self.utterance {
                Some(utterance) => heard.min(utterance.start + MOST),
                None => heard,
            };
            match self.gate.advance(until, |frame| track.voice(frame)) {
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
        if speech.start > self.last_end + FORGET {
            self.context.clear();
        }
        self.utterance = Some(Utterance::new(start));
    }

    /// Hears the utterance as far as it goes, and commits what is sure.
    fn hear(
        &mut self,
        run: &Run,
        engine: &Engine,
        update: Update,
        voiced: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), EngineError> {
        let position = self.gate.position();
        let Some(mut utterance) = self.utterance.take() else {
            return Ok(());
        };
        if utterance.settled < position {
            let began = Instant::now();
            self.tally.updates += 1;
            self.tally.coalesced += self.pace.coalesced(position - utterance.heard);
            let followed = engine
                .turn(|turn| self.follow(turn, run, engine.model(), &utterance, update, outputs))?;
            self.pace.took(began.elapsed());
            utterance.heard = position;
            if let Some(followed) = followed {
                let judged = self.judge(
                    &mut utterance,
                    followed,
                    update,
                    voiced,
                    run,
                    &engine.model().tokenizer,
                );
                outputs.extend(judged);
            }
            if update != Update::Regular {
                utterance.settled = position;
            }
            let scrolled = utterance.scroll(position);
            self.remember(&scrolled);
        }
        self.utterance = Some(utterance);
        Ok(())
    }

    /// Decodes what follows the committed text; `None` until the language can be told.
    fn follow(
        &mut self,
        turn: &mut Turn,
        run: &Run,
        model: &Model,
        utterance: &Utterance,
        update: Update,
        outputs: &mut Vec<Output>,
    ) -> Result<Option<Followed>, EngineError> {
        let tokenizer = &model.tokenizer;
        let frames = self.gate.position() - utterance.start;
        let must_detect = self.language.is_none() && tokenizer.is_multilingual();
        if must_detect && frames < LANGUAGE && update == Update::Regular {
            return Ok(None);
        }
        let audio = turn.listen(run, utterance.start, frames as usize, Some(SLACK))?;
        if must_detect {
            let token = turn.decoder().detect_language(&audio, tokenizer)?;
            self.language = Some(token);
            let code = tokenizer.language_code(token);
            outputs.extend(code.map(|code| Output::Language(code.into())));
        }
        let per_second = if self.is_unspaced(tokenizer) {
            TOKENS_UNSPACED
        } else {
            TOKENS
        };
        let unheard = self.gate.position() - self.settled.max(utterance.start);
        let is_last = update != Update::Regular;
        let task = Follow {
            prompt: &self.prompt(utterance, tokenizer),
            committed: utterance.tokens.len(),
            rules: &Rules::new(tokenizer, turn.decoder().vocab(), false),
            content: frames as usize / 2,
            margin: if is_last { LAST_MARGIN } else { MARGIN },
            attended: utterance
                .attended
                .filter(|_| !is_last)
                .map(|frame| frame.saturating_sub(utterance.start) as usize / 2),
            max_tokens: (TOKENS + per_second * unheard / 100) as usize,
        };
        Ok(Some(turn.decoder().follow(&task, &audio, tokenizer)?))
    }

    fn prompt(&self, utterance: &Utterance, tokenizer: &Tokenizer) -> Vec<u32> {
        let special = tokenizer.special();
        let mut tokens = Vec::new();
        let fixed = &self.initial_prompt[..self.initial_prompt.len().min(CONTEXT)];
        if !fixed.is_empty() || !self.context.is_empty() {
            tokens.push(special.sot_prev);
            tokens.extend_from_slice(fixed);
            tokens.extend_from_slice(&self.context);
        }
        tokens.push(special.sot);
        if tokenizer.is_multilingual() {
            tokens.push(self.language.unwrap_or(special.languages.start));
            tokens.push(if self.request.translate {
                special.translate
            } else {
                special.transcribe
            });
        }
        tokens.push(special.no_timestamps);
        tokens.extend_from_slice(&utterance.tokens);
        tokens
    }

    fn is_unspaced(&self, tokenizer: &Tokenizer) -> bool {
        self.language
            .and_then(|token| tokenizer.language_code(token))
            .is_some_and(|code| is_unspaced(code) && !self.request.translate)
    }

    /// Commits what was heard, unless a guard refuses it.
    fn judge(
        &mut self,
        utterance: &mut Utterance,
        followed: Followed,
        update: Update,
        voiced: u64,
        run: &Run,
        tokenizer: &Tokenizer,
    ) -> Vec<Output> {
        let words = self.sure_words(&followed, update, tokenizer);
        let count = words.last().map_or(0, |word| word.tokens.end);
        let text = tokenizer.decode(&followed.tokens[..count]);
        let mut refusal = guards::judge(&followed, voiced, update == Update::Last);
        if refusal.is_none() && !utterance.has_text && guards::is_boilerplate(&text) {
            if update == Update::Regular {
                // It may be the beginning of something.
                return Vec::new();
            }
            if guards::is_invented(&text, &followed, voiced) {
                refusal = Some(Refusal::Boilerplate);
            }
        }
        if let Some(refusal) = refusal {
            self.refuse(utterance, refusal);
            return Vec::new();
        }
        utterance.refused = 0;
        utterance.attended = followed
            .attended
            .map(|frame| utterance.start + 2 * frame as u64);
        let words = run.read(|track| self.place(utterance, &followed, words, track));
        let placed = words.iter().map(|(word, tokens_end)| Placed {
            start: (word.start.as_millis() / FRAME.as_millis()) as u64,
            tokens_end: *tokens_end,
        });
        utterance.commit(&followed.tokens[..count], placed);
        let words: Vec<Word> = words.into_iter().map(|(word, _)| word).collect();
        let mut outputs = Vec::new();
        if !words.is_empty() {
            outputs.push(Output::Words(words));
        }
        let rest = [&followed.tokens[count..], &followed.tail].concat();
        outputs.push(Output::Partial {
            stable: tokenizer.decode(&utterance.tokens).trim().to_owned(),
            text: tokenizer.decode(&rest).trim().to_owned(),
            start: FRAME * self.settled as u32,
        });
        outputs
    }

    fn refuse(&mut self, utterance: &mut Utterance, refusal: Refusal) {
        match refusal {
            Refusal::Silence => self.tally.refused_silence += 1,
            Refusal::TooMuch => self.tally.refused_too_much += 1,
            Refusal::Loop => self.tally.refused_loops += 1,
            Refusal::Unsteady => self.tally.refused_unsteady += 1,
            Refusal::Boilerplate => self.tally.refused_boilerplate += 1,
        }
        utterance.attended = None;
        utterance.refused += 1;
        if refusal == Refusal::Loop || utterance.refused >= PATIENCE {
            // What misled the model is in the text; the audio that is not committed is heard again.
            utterance.restart(self.settled);
            self.context.clear();
        }
    }

    /// The words of what was heard that no more audio can change.
    fn sure_words(
        &self,
        followed: &Followed,
        update: Update,
        tokenizer: &Tokenizer,
    ) -> Vec<TimedWord> {
        let unspaced = self.is_unspaced(tokenizer);
        let mut words = split_words(&followed.tokens, tokenizer, unspaced);
        let starts_word = |token: u32| unspaced || tokenizer.bytes(token).starts_with(b" ");
        let is_whole = update != Update::Regular
            || followed
                .tail
                .first()
                .is_some_and(|&token| starts_word(token));
        let is_broken = |word: &TimedWord| {
            let bytes: Vec<u8> = followed.tokens[word.tokens.clone()]
                .iter()
                .flat_map(|&token| tokenizer.bytes(token))
                .copied()
                .collect();
            std::str::from_utf8(&bytes).is_err()
        };
        if words
            .last()
            .is_some_and(|last| !is_whole || is_broken(last))
        {
            words.pop();
        }
        words
    }

    /// Times of words, and where their tokens end. Words without any voice are left out.
    fn place(
        &mut self,
        utterance: &Utterance,
        followed: &Followed,
        words: Vec<TimedWord>,
        track: &Track,
    ) -> Vec<(Word, usize)> {
        let mut placed: Vec<(Word, usize)> = Vec::new();
        for word in words {
            let tokens_end = word.tokens.end;
            let is_mark = word.text.chars().all(|c| !c.is_alphanumeric());
            if is_mark && placed.is_empty() {
                // It belongs to a word that is out.
                continue;
            }
            let at = |token: usize| utterance.start + 2 * followed.begins[token] as u64;
            let Some((start, end)) = self.voiced_part(at(word.tokens.start), at(tokens_end), track)
            else {
                self.tally.refused_words += 1;
                continue;
            };
            let start = start.max(self.settled);
            let end = end.max(start);
            self.settled = end;
            let own = &followed.probabilities[word.tokens];
            let word = Word {
                text: word.text,
                spaced: word.spaced,
                start: FRAME * start as u32,
                end: FRAME * end as u32,
                probability: own.iter().sum::<f32>() / own.len().max(1) as f32,
            };
            placed.push((word, tokens_end));
        }
        placed
    }

    /// A word's time without silence at its ends; `None` if all of it is silence.
    fn voiced_part(&self, start: u64, end: u64, track: &Track) -> Option<(u64, u64)> {
        let is_voice = |frame: &u64| self.gate.is_voice(track.voice(*frame));
        let end = end.max(start + 1);
        let voiced = (start..end)
            .find(is_voice)
            .zip((start..end).rfind(is_voice));
        match voiced {
            Some((first, last)) => Some((first, last + 1)),
            None => {
                let mut around = start.saturating_sub(VOICE_REACH)..end + VOICE_REACH;
                around.any(|frame| is_voice(&frame)).then_some((start, end))
            }
        }
    }

    /// Keeps text as context: the last tokens, from the start of a word on.
    fn remember(&mut self, tokens: &[u32]) {
        self.context.extend_from_slice(tokens);
        let surplus = self.context.len().saturating_sub(CONTEXT);
        self.context.drain(..surplus);
    }

    fn finish_utterance(&mut self, outputs: &mut Vec<Output>) {
        if let Some(utterance) = self.utterance.take() {
            self.tally.utterances += u64::from(utterance.has_text);
            self.remember(&utterance.tokens);
            outputs.push(Output::Pause);
        }
        self.gate.close();
        self.last_end = self.gate.position();
    }

    /// Where the next word may start at the earliest.
    fn settle(&mut self, everything: bool) -> Output {
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
        Output::Settled(FRAME * self.settled as u32)
    }
}

impl Schedule for Live {
    fn wants(&self) -> u64 {
        self.gate.position() + LOOK
    }

    fn update(
        &mut self,
        run: &Run,
        engine: &Engine,
        settle: bool,
    ) -> Result<Vec<Output>, EngineError> {
        let mut outputs = Vec::new();
        loop {
            // What the gate knows of an utterance is gone once it ended.
            let before = self.gate.speech();
            let (mut due, end) = run.read(|track| (self.look(track), track.heard()));
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
        let needed = self
            .utterance
            .as_ref()
            .map_or(self.settled, |utterance| utterance.start);
        run.read(|track| track.release(needed));
        Ok(outputs)
    }

    fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }
}
