// SPDX-License-Identifier: MPL-2.0
//! Windows of up to 30 s over arbitrarily long audio, cut where it is quiet, each recognised by itself: as many as are
//! there are decoded side by side.
//!
//! Whisper's own order (openai/whisper `transcribe.py`: each window starts where the timestamps of the one before end, and
//! is prompted with its text) has one window wait for the other, and made as many errors (docs/performance.md).

mod cut;

use std::time::Duration;

use super::prompt::PromptBuilder;
use super::{TranscribeOptions, Transcriber, TranscriptEvent, Word};
use crate::decoder::{
    Decision, DecodeRequest, Decoder, DecoderError, EncodedWindow, FallbackThresholds, Hypothesis,
    MAX_SEQUENCES, TokenSuppressor, Transcript,
};
use crate::engine::{Engine, EngineError};
use whisper_frontend::mel::{MelRing, WINDOW_FRAMES};
use whisper_frontend::{AudioRun, EncoderFrame, MelFrame};
use whisper_model::{Model, Tokenizer};

const FRAME: Duration = Duration::from_millis(10);
/// Temperatures that a window is tried at, until one is good enough.
const TEMPERATURES: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
/// What a window may decode to, half of the decoder's context.
const MAX_TOKENS: usize = 224;
/// EncodedWindow shorter than this holds no word.
const MIN_FRAMES: u64 = 10;
/// When upstream stalls, words that end this close to the end may go on.
const STALL_MARGIN: Duration = Duration::from_secs(1);

pub struct Offline {
    context: PromptBuilder,
    /// Frame at which the next window starts.
    seek: u64,
    /// End of the run when upstream last stalled.
    stalled_at: Option<u64>,
    limits: FallbackThresholds,
}

/// Frames that are recognised together.
#[derive(Clone, Copy)]
struct Window {
    start: u64,
    frames: u64,
    /// Words at its end may go on in audio that is still to come.
    is_open: bool,
}

impl Offline {
    pub fn new(request: TranscribeOptions, model: &Model) -> Self {
        Self {
            context: PromptBuilder::new(request, &model.tokenizer),
            seek: 0,
            stalled_at: None,
            limits: FallbackThresholds::default(),
        }
    }

    /// Windows that can be recognised now: whole ones, and with `settle` also what is left after them.
    fn windows(&mut self, track: &MelRing, settle: bool, is_finished: bool) -> Vec<Window> {
        let (mut windows, mut start, end) = (Vec::new(), self.seek, track.end().get());
        while windows.len() < MAX_SEQUENCES && end - start >= WINDOW_FRAMES as u64 {
            let frames = cut::window(track, start);
            windows.push(Window {
                start,
                frames,
                is_open: false,
            });
            start += frames;
        }
        let has_rest = settle && windows.len() < MAX_SEQUENCES;
        // A second stall at the same place: whoever waits for text gets all there is.
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

    /// Encodes windows; `None` once nobody next_frame the run any more.
    fn listen(
        windows: &[Window],
        run: &AudioRun,
        engine: &Engine,
    ) -> Result<Option<Vec<EncodedWindow>>, EngineError> {
        let heard = windows
            .iter()
            .map(|window| engine.listen(run, window.start, window.frames as usize));
        heard.collect()
    }

    /// The words of each window; none where nobody speaks.
    fn recognise(
        &mut self,
        windows: &[Window],
        heard: &[EncodedWindow],
        decoder: &Decoder,
        run: &AudioRun,
        tokenizer: &Tokenizer,
        outputs: &mut Vec<TranscriptEvent>,
    ) -> Result<Vec<Vec<Word>>, DecoderError> {
        if let Some(audio) = heard.first()
            && self.context.must_detect(tokenizer)
        {
            let token = decoder.detect_language(audio)?;
            self.context.set_language(token);
            let code = tokenizer.language_code(token);
            outputs.extend(code.map(|code| TranscriptEvent::Language(code.into())));
        }
        let texts = self.decode(windows, heard, decoder, run, tokenizer)?;
        let texts = texts.into_iter().zip(windows).zip(heard);
        texts
            .map(|((text, window), audio)| match text {
                Some(text) => self.time(&text, audio, window.frames, decoder, tokenizer),
                None => Ok(Vec::new()),
            })
            .collect()
    }

    /// Decodes windows at rising temperatures, each until its text is good enough; `None` where nobody speaks.
    fn decode(
        &self,
        windows: &[Window],
        heard: &[EncodedWindow],
        decoder: &Decoder,
        run: &AudioRun,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<Option<Hypothesis>>, DecoderError> {
        let suppressor = TokenSuppressor::new(tokenizer);
        let prompt = self.context.prompt(&[], tokenizer);
        let mut texts = vec![None; windows.len()];
        let mut undecided: Vec<usize> = (0..windows.len()).collect();
        for temperature in TEMPERATURES {
            if undecided.is_empty() || run.is_cancelled() {
                break;
            }
            let tasks = undecided.iter().map(|&window| DecodeRequest {
                window: &heard[window],
                prompt: &prompt,
                suppressor: &suppressor,
                temperature,
                max_tokens: MAX_TOKENS,
                seed: windows[window].start,
            });
            let tasks: Vec<DecodeRequest> = tasks.collect();
            let decoded = decoder.decode(&tasks)?;
            let tried = std::mem::take(&mut undecided);
            for (window, text) in tried.into_iter().zip(decoded) {
                let verdict = self.limits.judge(&text, &tokenizer.decode(&text.tokens));
                texts[window] = (verdict != Decision::Silence).then_some(text);
                if verdict == Decision::Retry {
                    undecided.push(window);
                }
            }
        }
        Ok(texts)
    }

    /// When each word of a window was said.
    fn time(
        &self,
        text: &Hypothesis,
        audio: &EncodedWindow,
        frames: u64,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<Word>, DecoderError> {
        let transcript = Transcript {
            start: &self.context.start(tokenizer),
            text: &text.tokens,
            probabilities: &text.probabilities,
            unspaced: self.context.is_unspaced(tokenizer),
        };
        decoder.time_words(&transcript, audio, EncoderFrame::new(frames / 2))
    }

    /// Adds the words of the next window, or says that there are none.
    fn commit(
        &mut self,
        window: &Window,
        mut words: Vec<Word>,
        outputs: &mut Vec<TranscriptEvent>,
    ) {
        self.seek = window.start + window.frames;
        let is_silent = words.is_empty();
        if window.is_open && !is_silent {
            self.seek = window.start + hold_back(&mut words, window.frames);
        }
        let base = FRAME * window.start as u32;
        for word in &mut words {
            word.start += base;
            word.end += base;
        }
        if !words.is_empty() {
            outputs.push(TranscriptEvent::Words(words));
        } else if is_silent {
            outputs.push(TranscriptEvent::EndOfUtterance);
        }
    }
}

impl Transcriber for Offline {
    fn next_frame(&self) -> u64 {
        self.seek + WINDOW_FRAMES as u64
    }

    fn update(
        &mut self,
        run: &AudioRun,
        engine: &Engine,
        settle: bool,
    ) -> Result<Vec<TranscriptEvent>, EngineError> {
        let is_finished = run.is_finished();
        let (mut windows, end) =
            run.read(|track| (self.windows(track, settle, is_finished), track.end().get()));
        let is_open = windows.last().is_some_and(|window| window.is_open);
        let too_short = windows.pop_if(|window| window.frames < MIN_FRAMES);
        let mut outputs = Vec::new();
        let Some(heard) = Self::listen(&windows, run, engine)? else {
            return Ok(outputs);
        };
        if !is_open && let Some(last) = windows.last() {
            // Room for what comes while they are decoded.
            run.release(MelFrame::new(last.start + last.frames));
        }
        if !windows.is_empty() {
            let tokenizer = &engine.model().tokenizer;
            let words = engine.decode(|decoder| {
                self.recognise(&windows, &heard, decoder, run, tokenizer, &mut outputs)
            })?;
            for (window, words) in windows.iter().zip(words) {
                self.commit(window, words, &mut outputs);
            }
        }
        if too_short.is_some() && !is_open {
            self.seek = end;
        }
        if settle && !is_open && self.seek >= end {
            outputs.push(TranscriptEvent::EndOfUtterance);
        }
        outputs.push(TranscriptEvent::Watermark(FRAME * self.seek as u32));
        run.release(MelFrame::new(self.seek));
        Ok(outputs)
    }
}

/// Keeps only the words that cannot go on in audio that is still to come; returns where the last one of them ends.
fn hold_back(words: &mut Vec<Word>, frames: u64) -> u64 {
    let limit = (FRAME * frames as u32).saturating_sub(STALL_MARGIN);
    let kept = words.iter().take_while(|word| word.end <= limit).count();
    words.truncate(kept);
    words
        .last()
        .map_or(0, |word| (word.end.as_millis() / FRAME.as_millis()) as u64)
}
