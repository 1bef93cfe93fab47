// SPDX-License-Identifier: MPL-2.0
//! The prompt: language, task, terms to expect, committed text.
//!
//! The text before the window is left out: small models copy what they got wrong there. Live, with
//! 64 tokens of it, tiny.en and base had 9 and 6 of 596 words more wrong (`evaluate simulate --id
//! stream-ls`). Nor are timestamps asked for: the times of words come from attention.

use std::sync::Arc;

use super::{Task, TranscribeOptions, TranscriptEvent};
use crate::decoder::{EncodedWindow, is_unspaced};
use crate::engine::{DecoderTurn, EngineError};
use whisper_model::Model;

/// Tokens of terms to expect: small models loop after longer prompts (whisper.cpp #2446).
const MAX_INITIAL: usize = 64;

/// Makes the prompt of each window.
pub struct PromptBuilder {
    model: Arc<Model>,
    task: Task,
    language: Option<u32>,
    /// Terms to expect.
    initial: Vec<u32>,
}

impl PromptBuilder {
    pub fn new(options: TranscribeOptions, model: Arc<Model>) -> Self {
        let tokenizer = &model.tokenizer;
        let code = options.language.as_deref();
        let mut initial = match options.initial_prompt.as_deref().map(str::trim) {
            Some(text) if !text.is_empty() => tokenizer.encode(&format!(" {text}")),
            _ => Vec::new(),
        };
        initial.truncate(MAX_INITIAL);
        Self {
            language: code.and_then(|code| tokenizer.language_token(code)),
            task: options.task,
            initial,
            model,
        }
    }

    /// Whether the language is still to be detected.
    pub fn must_detect_language(&self) -> bool {
        self.language.is_none() && self.model.tokenizer.is_multilingual()
    }

    /// Takes the language that the window's audio suggests, unless it is known.
    pub fn detect_language(
        &mut self,
        turn: &DecoderTurn,
        window: &EncodedWindow,
    ) -> Result<Option<TranscriptEvent>, EngineError> {
        if !self.must_detect_language() {
            return Ok(None);
        }
        let token = turn.detect_language(window)?;
        self.language = Some(token);
        let code = self.model.tokenizer.language_code(token);
        Ok(code.map(|code| TranscriptEvent::Language(code.into())))
    }

    /// Whether the text is written without spaces between words.
    pub fn is_unspaced(&self) -> bool {
        self.language
            .and_then(|token| self.model.tokenizer.language_code(token))
            .is_some_and(|code| is_unspaced(code) && self.task != Task::Translate)
    }

    /// From the start of transcript to the task.
    pub fn start(&self) -> Vec<u32> {
        let tokenizer = &self.model.tokenizer;
        let special = tokenizer.special();
        let mut tokens = vec![special.sot];
        if tokenizer.is_multilingual() {
            tokens.push(self.language.unwrap_or(special.languages.start));
            tokens.push(match self.task {
                Task::Translate => special.translate,
                Task::Transcribe => special.transcribe,
            });
        }
        tokens
    }

    /// Everything that is fed before a window's next token, which follows `text`.
    pub fn prompt(&self, text: &[u32]) -> Vec<u32> {
        let special = self.model.tokenizer.special();
        let mut tokens = Vec::new();
        if !self.initial.is_empty() {
            tokens.push(special.sot_prev);
            tokens.extend_from_slice(&self.initial);
        }
        tokens.extend(self.start());
        tokens.push(special.no_timestamps);
        tokens.extend_from_slice(text);
        tokens
    }
}
