// SPDX-License-Identifier: MPL-2.0
//! Windows to texts: encoded, decoded side by side, judged, and tried again.

use super::attempt::{Attempt, Verdict};
use super::window::{Encoded, Window};
use crate::decoder::{DecodeRequest, Hypothesis, TokenSuppressor, Transcript};
use crate::engine::{DecoderTurn, Engine, EngineError};
use crate::stream::TranscribeOptions;
use crate::stream::guards;
use crate::stream::prompt::PromptBuilder;
use whisper_frontend::AudioRun;

/// Temperatures that a passage is tried at, until a text is good enough.
const TEMPERATURES: [f32; 5] = [0.2, 0.4, 0.6, 0.8, 1.0];
/// Texts that are drawn at each of them.
const DRAWS: usize = 3;
/// What a window may decode to, half of the decoder's context.
const MAX_TOKENS: usize = 224;

/// Makes texts of windows.
pub struct WindowReader {
    engine: Engine,
    prompt: PromptBuilder,
    suppressor: TokenSuppressor,
}

/// How windows are decoded.
#[derive(Clone, Copy)]
struct Manner {
    temperature: f32,
    /// Whether the model is told what might have been said before.
    prompted: bool,
}

impl Manner {
    /// Models repeat the prompt where they understand nothing: it is left out where the voice is not
    /// clear.
    fn is_prompted(self, window: &Window) -> bool {
        self.prompted && window.clarity() >= guards::CLEAR
    }
}

impl WindowReader {
    pub fn new(engine: &Engine, options: &TranscribeOptions) -> Self {
        Self {
            prompt: PromptBuilder::new(options, engine.model().clone()),
            suppressor: TokenSuppressor::new(&engine.model().tokenizer)
                .with_terms(&options.terms, &engine.model().tokenizer),
            engine: engine.clone(),
        }
    }

    /// Encodes windows, one turn each; `None` once the run was cancelled.
    pub fn encode(
        &self,
        windows: Vec<Window>,
        run: &AudioRun,
    ) -> Result<Option<Vec<Encoded>>, EngineError> {
        let encode = |window: Window| {
            let Some(turn) = self.engine.turn(run) else {
                return Ok(None);
            };
            let (encoded, _) = turn.encode(&window.pieces())?;
            Ok(Some((window, encoded)))
        };
        windows.into_iter().map(encode).collect()
    }

    /// The likeliest text of each window.
    pub fn read(&self, windows: &[Encoded]) -> Result<Vec<Attempt>, EngineError> {
        let windows: Vec<&Encoded> = windows.iter().collect();
        let manner = Manner {
            temperature: 0.0,
            prompted: true,
        };
        self.decode(&windows, manner, &self.engine.decoder_turn())
    }

    /// The best text of each window, where the likeliest one is not good enough without the prompt,
    /// and then with some randomness.
    pub fn read_carefully(
        &self,
        windows: &[Encoded],
        run: &AudioRun,
    ) -> Result<Vec<Attempt>, EngineError> {
        let attempts = self.read(windows)?.into_iter().zip(windows);
        let careful = attempts.map(|(attempt, window)| self.try_again(attempt, window, run));
        careful.collect()
    }

    fn try_again(
        &self,
        mut best: Attempt,
        window: &Encoded,
        run: &AudioRun,
    ) -> Result<Attempt, EngineError> {
        let turn = self.engine.decoder_turn();
        let bare = self.prompt.has_initial().then_some(0.0).into_iter();
        for temperature in bare.chain(TEMPERATURES) {
            let is_final = matches!(best.verdict, Verdict::Sound | Verdict::Silent);
            if is_final || run.is_cancelled() {
                break;
            }
            let draws = if temperature == 0.0 { 1 } else { DRAWS };
            let manner = Manner {
                temperature,
                prompted: false,
            };
            let mut attempts = self.decode(&[window; DRAWS][..draws], manner, &turn)?;
            // A prompt makes the model sure of speech where there is none.
            let is_silent = attempts
                .first()
                .is_some_and(|a| a.verdict == Verdict::Silent);
            if temperature == 0.0 && is_silent {
                return Ok(attempts.swap_remove(0));
            }
            best = attempts.into_iter().fold(best, Attempt::better);
        }
        Ok(best)
    }

    /// Decodes windows side by side, and judges what comes.
    fn decode(
        &self,
        windows: &[&Encoded],
        manner: Manner,
        turn: &DecoderTurn,
    ) -> Result<Vec<Attempt>, EngineError> {
        let prompt = |(window, _): &&Encoded| match manner.is_prompted(window) {
            true => self.prompt.prompt(window.language, &[]),
            false => self.prompt.bare_prompt(window.language, &[]),
        };
        let prompts: Vec<Vec<u32>> = windows.iter().map(prompt).collect();
        let mut requests = Vec::with_capacity(windows.len());
        for (number, ((window, encoded), prompt)) in windows.iter().zip(&prompts).enumerate() {
            requests.push(DecodeRequest {
                window: encoded,
                prompt,
                suppressor: &self.suppressor,
                temperature: manner.temperature,
                max_tokens: MAX_TOKENS,
                seed: window.start().get() + number as u64,
            });
        }
        let hypotheses = turn.decode(&requests)?;
        let judged = windows.iter().zip(hypotheses);
        judged
            .map(|(window, hypothesis)| self.judge(window, hypothesis, manner, turn))
            .collect()
    }

    fn judge(
        &self,
        (window, encoded): &Encoded,
        hypothesis: Hypothesis,
        manner: Manner,
        turn: &DecoderTurn,
    ) -> Result<Attempt, EngineError> {
        let transcript = Transcript {
            start: &self.prompt.start(window.language),
            text: &hypothesis.tokens,
            probabilities: &hypothesis.probabilities,
            unspaced: self.prompt.is_unspaced(window.language),
        };
        let timed = turn.time_words(&transcript, encoded, window.frames().to_encoder())?;
        let text = self.engine.model().tokenizer.decode(&hypothesis.tokens);
        let prompt = match manner.is_prompted(window) {
            true => self.prompt.initial_text(),
            false => String::new(),
        };
        Ok(Attempt::new(window, hypothesis, timed, text, &prompt))
    }
}
