// SPDX-License-Identifier: MPL-2.0
//! What the model is told before it listens: the language, the task, terms to expect, the text before.

use crate::decoder::is_unspaced;
use crate::model::Tokenizer;
use crate::stream::Request;

/// Text carried over, in tokens: small models copy the errors of longer prompts and loop (whisper.cpp #2446).
const CARRIED: usize = 64;

pub struct Context {
    request: Request,
    language: Option<u32>,
    /// Static prompt, always first.
    initial: Vec<u32>,
    /// Text before the window.
    carried: Vec<u32>,
}

impl Context {
    pub fn new(request: Request, tokenizer: &Tokenizer) -> Self {
        let code = request.language.as_deref();
        let mut initial = match request.initial_prompt.as_deref().map(str::trim) {
            Some(text) if !text.is_empty() => tokenizer.encode(&format!(" {text}")),
            _ => Vec::new(),
        };
        initial.truncate(CARRIED);
        Self {
            language: code.and_then(|code| tokenizer.language_token(code)),
            request,
            initial,
            carried: Vec::new(),
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

    /// Everything that is fed before a window's next token, which follows `text`.
    pub fn prompt(&self, text: &[u32], tokenizer: &Tokenizer) -> Vec<u32> {
        let special = tokenizer.special();
        let mut tokens = Vec::new();
        if !self.initial.is_empty() || !self.carried.is_empty() {
            tokens.push(special.sot_prev);
            tokens.extend_from_slice(&self.initial);
            tokens.extend_from_slice(&self.carried);
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
        tokens.extend_from_slice(text);
        tokens
    }

    /// Text that scrolled out of the window; the last of it is carried.
    pub fn remember(&mut self, tokens: &[u32]) {
        self.carried.extend_from_slice(tokens);
        let surplus = self.carried.len().saturating_sub(CARRIED);
        self.carried.drain(..surplus);
    }

    /// What was said before has nothing to do with what is said now, or misled the model.
    pub fn forget(&mut self) {
        self.carried.clear();
    }
}
