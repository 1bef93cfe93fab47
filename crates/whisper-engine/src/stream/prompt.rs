// SPDX-License-Identifier: MPL-2.0
//! What the model is told before it listens: the language, the task, terms to expect.
//!
//! The text before the window is not among it: small models copy what they got wrong there. Live, with 64 tokens of it, tiny.en
//! and base had 9 and 6 of 596 words more wrong (`evaluate simulate --id stream-ls`). Nor are timestamps asked for: the times
//! of words come from attention.

use super::TranscribeOptions;
use crate::decoder::is_unspaced;
use whisper_model::Tokenizer;

/// Terms to expect, in tokens: small models loop after longer prompts (whisper.cpp #2446).
const LONGEST: usize = 64;

pub struct PromptBuilder {
    request: TranscribeOptions,
    language: Option<u32>,
    /// Terms to expect.
    initial: Vec<u32>,
}

impl PromptBuilder {
    pub fn new(request: TranscribeOptions, tokenizer: &Tokenizer) -> Self {
        let code = request.language.as_deref();
        let mut initial = match request.initial_prompt.as_deref().map(str::trim) {
            Some(text) if !text.is_empty() => tokenizer.encode(&format!(" {text}")),
            _ => Vec::new(),
        };
        initial.truncate(LONGEST);
        Self {
            language: code.and_then(|code| tokenizer.language_token(code)),
            request,
            initial,
        }
    }

    /// Whether the language has to be heard first.
    pub fn must_detect(&self, tokenizer: &Tokenizer) -> bool {
        self.language.is_none() && tokenizer.is_multilingual()
    }

    pub fn set_language(&mut self, token: u32) {
        self.language = Some(token);
    }

    /// Whether the text is written without spaces between words.
    pub fn is_unspaced(&self, tokenizer: &Tokenizer) -> bool {
        self.language
            .and_then(|token| tokenizer.language_code(token))
            .is_some_and(|code| is_unspaced(code) && !self.request.translate)
    }

    /// From the start of transcript to the task.
    pub fn start(&self, tokenizer: &Tokenizer) -> Vec<u32> {
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

    /// Everything that is fed before a window's next token, which follows `text`.
    pub fn prompt(&self, text: &[u32], tokenizer: &Tokenizer) -> Vec<u32> {
        let special = tokenizer.special();
        let mut tokens = Vec::new();
        if !self.initial.is_empty() {
            tokens.push(special.sot_prev);
            tokens.extend_from_slice(&self.initial);
        }
        tokens.extend(self.start(tokenizer));
        tokens.push(special.no_timestamps);
        tokens.extend_from_slice(text);
        tokens
    }
}
