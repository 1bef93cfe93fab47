// SPDX-License-Identifier: MPL-2.0
//! Whole windows of 30 s over arbitrarily long audio (openai/whisper `transcribe.py`).
//!
//! Each window starts where the last whole segment of the one before ended, so no word is cut at an edge, and is
//! prompted with the text before it.

use std::time::Duration;

use super::segments::{self, Segment, Window};
use super::{Output, Request, Run, Schedule, Word};
use crate::decoder::{
    Audio, Decoder, DecoderError, Hypothesis, Limits, Rules, Task, TimedWord, Transcript, Verdict,
    is_unspaced,
};
use crate::engine::{Engine, EngineError};
use crate::mel::WINDOW_FRAMES;
use crate::model::{Model, Tokenizer};

const FRAME: Duration = Duration::from_millis(10);
/// Temperatures that a window is tried at, until one is good enough.
const TEMPERATURES: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
/// Warmer results than this prompt nothing.
const PROMPTS_BELOW: f32 = 0.5;
/// Text carried over, in tokens: small models copy the errors of longer prompts and loop (whisper.cpp #2446).
/// Its timestamps are carried too; without them the model stops marking segments, and whole sentences get lost.
const CONTEXT_TOKENS: usize = 64;
/// What a window may decode to, half of the decoder's context.
const MAX_TOKENS: usize = 224;
/// Audio shorter than this holds no word.
const MIN_FRAMES: u64 = 10;
/// When upstream stalls, words that end this close to the end may go on.
const STALL_MARGIN: Duration = Duration::from_secs(1);

pub struct Offline {
    request: Request,
    language: Option<u32>,
    /// Static prompt, always first.
    initial_prompt: Vec<u32>,
    /// Tokens before the window, with timestamps.
    context: Vec<u32>,
    /// Frame at which the next window starts.
    seek: u64,
    /// End of the run when upstream last stalled.
    stalled_at: Option<u64>,
    limits: Limits,
}

/// A window that was decoded to words.
struct Heard {
    words: Vec<TimedWord>,
    /// Text and timestamps, as they prompt the next window.
    tokens: Vec<u32>,
    advance: u64,
    temperature: f32,
}

impl Offline {
    pub fn new(request: Request, model: &Model) -> Self {
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
            seek: 0,
            stalled_at: None,
            limits: Limits::default(),
        }
    }

    /// Tokens from the start of transcript up to the task.
    fn start_of_transcript(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let special = tokenizer.special();
        let mut tokens = vec![special.sot];
        if tokenizer.is_multilingual() {
            tokens.push(self.language.unwrap_or(special.languages.start));
            tokens.push(if self.request.translate {
                special.translate
            } else {
                special.transcribe
            });
        }
        tokens
    }

    fn prompt(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let carried = &self.context[self.context.len().saturating_sub(CONTEXT_TOKENS)..];
        let room = MAX_TOKENS - 8 - carried.len();
        let fixed = &self.initial_prompt[..self.initial_prompt.len().min(room)];
        let mut tokens = Vec::new();
        if !fixed.is_empty() || !carried.is_empty() {
            tokens.push(tokenizer.special().sot_prev);
            tokens.extend_from_slice(fixed);
            tokens.extend_from_slice(carried);
        }
        tokens.extend(self.start_of_transcript(tokenizer));
        tokens
    }

    /// Decodes a window at rising temperatures; `None` where nobody speaks, or nobody listens any more.
    fn decode(
        &self,
        run: &Run,
        decoder: &Decoder,
        audio: &Audio,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Hypothesis>, DecoderError> {
        let rules = Rules::new(tokenizer, decoder.vocab(), true);
        let prompt = self.prompt(tokenizer);
        let mut result = None;
        for temperature in TEMPERATURES {
            if run.is_cancelled() {
                return Ok(None);
            }
            let task = Task {
                prompt: &prompt,
                rules: &rules,
                temperature,
                max_tokens: MAX_TOKENS,
                seed: self.seek,
            };
            let hypothesis = decoder.decode(&task, audio, tokenizer)?;
            match self
                .limits
                .judge(&hypothesis, &tokenizer.decode(&hypothesis.tokens))
            {
                Verdict::Silence => return Ok(None),
                Verdict::Accept => return Ok(Some(hypothesis)),
                Verdict::Retry => result = Some(hypothesis),
            }
        }
        Ok(result)
    }

    /// Decodes the window of `frames` frames at `seek`; `None` where nobody speaks.
    fn hear(
        &mut self,
        decoder: &Decoder,
        audio: &Audio,
        run: &Run,
        model: &Model,
        frames: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<Option<Heard>, DecoderError> {
        let tokenizer = &model.tokenizer;
        if self.language.is_none() && tokenizer.is_multilingual() {
            let token = decoder.detect_language(audio, tokenizer)?;
            self.language = Some(token);
            outputs.extend(
                tokenizer
                    .language_code(token)
                    .map(|code| Output::Language(code.into())),
            );
        }
        let Some(hypothesis) = self.decode(run, decoder, audio, tokenizer)? else {
            return Ok(None);
        };
        let window = segments::split(
            &hypothesis.tokens,
            tokenizer.special().timestamp_begin,
            frames,
        );
        self.time(decoder, audio, tokenizer, &hypothesis, window, frames)
            .map(Some)
    }

    fn time(
        &self,
        decoder: &Decoder,
        audio: &Audio,
        tokenizer: &Tokenizer,
        hypothesis: &Hypothesis,
        window: Window,
        frames: u64,
    ) -> Result<Heard, DecoderError> {
        let indices = || {
            window
                .segments
                .iter()
                .flat_map(|segment| segment.tokens.clone())
        };
        let tokens: Vec<u32> = indices().map(|i| hypothesis.tokens[i]).collect();
        let probabilities: Vec<f32> = indices().map(|i| hypothesis.probabilities[i]).collect();
        let unspaced = self
            .language
            .and_then(|token| tokenizer.language_code(token))
            .is_some_and(|code| is_unspaced(code) && !self.request.translate);
        let start = self.start_of_transcript(tokenizer);
        let transcript = Transcript {
            start: &start,
            text: &tokens,
            probabilities: &probabilities,
            unspaced,
        };
        let mut words = decoder.time_words(&transcript, audio, tokenizer, frames as usize / 2)?;
        fit_to_segments(&mut words, &window.segments);
        let heard_until = window.advance as f32 / 100.0;
        for word in &mut words {
            word.end = word.end.min(heard_until);
            word.start = word.start.min(word.end);
        }
        let said = window
            .segments
            .last()
            .map_or(0, |segment| segment.tokens.end + 1)
            .min(hypothesis.tokens.len());
        Ok(Heard {
            words,
            tokens: hypothesis.tokens[..said].to_vec(),
            advance: window.advance,
            temperature: hypothesis.temperature,
        })
    }

    /// Keeps only the words that cannot go on in audio that is still to come. Timestamps are the tokens from
    /// `timestamps` on.
    fn hold_back(heard: &mut Heard, frames: u64, timestamps: u32) {
        let limit = (FRAME * frames as u32)
            .saturating_sub(STALL_MARGIN)
            .as_secs_f32();
        let keep = heard
            .words
            .iter()
            .take_while(|word| word.end <= limit)
            .count();
        heard.words.truncate(keep);
        let last = heard.words.last();
        heard.advance = last.map_or(0, |word| (word.end * 100.0).round() as u64);
        let texts = heard
            .tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| **token < timestamps);
        let kept = last
            .and_then(|word| texts.map(|(i, _)| i + 1).nth(word.tokens.end - 1))
            .unwrap_or(0);
        heard.tokens.truncate(kept);
    }

    fn commit(&mut self, heard: Heard, outputs: &mut Vec<Output>) {
        if heard.temperature > PROMPTS_BELOW {
            self.context.clear();
        } else {
            self.context.extend(heard.tokens);
            let surplus = self.context.len().saturating_sub(MAX_TOKENS);
            self.context.drain(..surplus);
        }
        let base = FRAME * self.seek as u32;
        let at = |seconds: f32| base + Duration::from_secs_f32(seconds.max(0.0));
        let words: Vec<Word> = heard
            .words
            .into_iter()
            .map(|word| Word {
                start: at(word.start),
                end: at(word.end),
                text: word.text,
                spaced: word.spaced,
                probability: word.probability,
            })
            .collect();
        if !words.is_empty() {
            outputs.push(Output::Words(words));
        }
        self.seek += heard.advance;
    }
}

impl Schedule for Offline {
    fn wants(&self) -> u64 {
        self.seek + WINDOW_FRAMES as u64
    }

    fn update(
        &mut self,
        run: &Run,
        engine: &Engine,
        settle: bool,
    ) -> Result<Vec<Output>, EngineError> {
        let end = run.read(|track| track.end());
        let frames = end.saturating_sub(self.seek).min(WINDOW_FRAMES as u64);
        let full = frames == WINDOW_FRAMES as u64;
        let mut outputs = Vec::new();
        if !full && !settle {
            return Ok(outputs);
        }
        // A second stall at the same place: whoever waits for text gets all there is.
        let everything = run.is_finished() || self.stalled_at == Some(end);
        self.stalled_at = (!full).then_some(end);

        if frames < MIN_FRAMES {
            self.seek += frames;
        } else {
            let (seek, model) = (self.seek, engine.model());
            let heard = engine.hear(run, seek, frames as usize, |decoder, audio| {
                self.hear(decoder, audio, run, model, frames, &mut outputs)
            });
            match heard?.flatten() {
                Some(mut heard) => {
                    if !full && !everything {
                        Self::hold_back(
                            &mut heard,
                            frames,
                            engine.model().tokenizer.special().timestamp_begin,
                        );
                    }
                    self.commit(heard, &mut outputs);
                }
                None => {
                    self.seek += frames;
                    self.context.clear();
                    outputs.push(Output::Pause);
                }
            }
        }
        if !full && everything && self.seek >= end {
            outputs.push(Output::Pause);
        }
        outputs.push(Output::Settled(FRAME * self.seek as u32));
        run.read(|track| track.release(self.seek));
        Ok(outputs)
    }
}

/// Attention places the first and last word of a segment worst; the segment's own times mend the gross cases.
fn fit_to_segments(words: &mut [TimedWord], segments: &[Segment]) {
    const TOLERANCE: f32 = 0.5;
    const STEP: f32 = 0.02;
    let mut offset = 0;
    for segment in segments {
        let tokens = offset..offset + segment.tokens.len();
        offset = tokens.end;
        let (start, end) = (segment.start as f32 * STEP, segment.end as f32 * STEP);
        let first = words
            .iter_mut()
            .find(|word| word.tokens.start >= tokens.start && word.tokens.end <= tokens.end);
        if let Some(word) = first
            && start - TOLERANCE > word.start
            && start < word.end
        {
            word.start = start;
        }
        let last = words
            .iter_mut()
            .rfind(|word| word.tokens.start >= tokens.start && word.tokens.end <= tokens.end);
        if let Some(word) = last
            && end + TOLERANCE < word.end
            && end > word.start
        {
            word.end = end;
        }
    }
}
