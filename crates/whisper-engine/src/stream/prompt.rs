// SPDX-License-Identifier: MPL-2.0
//! The prompt: language, task, terms to expect, committed text.
//!
//! The text before the window is left out: small models copy what they got wrong there. Live, with
//! 64 tokens of it, tiny.en and base had 9 and 6 of 596 words more wrong (`evaluate simulate --id
//! stream-ls`). Nor are timestamps asked for: the times of words come from attention.

use std::sync::Arc;

use super::{Task, TranscribeOptions};
use crate::decoder::is_unspaced;
use whisper_model::Model;

/// Makes the prompt of each window.
pub struct PromptBuilder {
    model: Arc<Model>,
    task: Task,
    /// What might have been said before.
    initial: Vec<u32>,
}

impl PromptBuilder {
    pub fn new(options: &TranscribeOptions, model: Arc<Model>) -> Self {
        Self {
            task: options.task,
            initial: initial_tokens(options, &model).0,
            model,
        }
    }

    /// The text that might have been said before, as far as it counts.
    pub fn initial_text(&self) -> String {
        self.model.tokenizer.decode(&self.initial)
    }

    /// Whether text in this language is written without spaces between words.
    pub fn is_unspaced(&self, language: Option<u32>) -> bool {
        language
            .and_then(|token| self.model.tokenizer.language_code(token))
            .is_some_and(|code| is_unspaced(code) && self.task != Task::Translate)
    }

    /// From the start of transcript to the task.
    pub fn start(&self, language: Option<u32>) -> Vec<u32> {
        let tokenizer = &self.model.tokenizer;
        let special = tokenizer.special();
        let mut tokens = vec![special.sot];
        if tokenizer.is_multilingual() {
            tokens.push(language.unwrap_or(special.languages.start));
            tokens.push(match self.task {
                Task::Translate => special.translate,
                Task::Transcribe => special.transcribe,
            });
        }
        tokens
    }

    /// Everything that is fed before a window's next token, which follows `text`.
    pub fn prompt(&self, language: Option<u32>, text: &[u32]) -> Vec<u32> {
        let mut tokens = Vec::new();
        if !self.initial.is_empty() {
            tokens.push(self.model.tokenizer.special().sot_prev);
            tokens.extend_from_slice(&self.initial);
        }
        tokens.extend(self.bare_prompt(language, text));
        tokens
    }

    /// The same without what might have been said before.
    pub fn bare_prompt(&self, language: Option<u32>, text: &[u32]) -> Vec<u32> {
        let mut tokens = self.start(language);
        tokens.push(self.model.tokenizer.special().no_timestamps);
        tokens.extend_from_slice(text);
        tokens
    }

    /// Whether there is a text that might have been said before.
    pub fn has_initial(&self) -> bool {
        !self.initial.is_empty()
    }
}

impl TranscribeOptions {
    /// Whether the initial prompt is longer than the model takes: its beginning will not count.
    pub fn is_prompt_cut(&self, model: &Model) -> bool {
        initial_tokens(self, model).1
    }
}

/// The tokens of the initial prompt, as many as the model takes, the last ones; and whether that is
/// not all of it.
fn initial_tokens(options: &TranscribeOptions, model: &Model) -> (Vec<u32>, bool) {
    // As many as openai/whisper takes: half of the context, less the token that they follow.
    let most = model.config.text_ctx / 2 - 1;
    let text = options.initial_prompt.as_deref().map_or("", str::trim);
    let kept = tail(text, most);
    let mut tokens = match kept {
        "" => Vec::new(),
        kept => model.tokenizer.encode(&format!(" {kept}")),
    };
    let surplus = tokens.len().saturating_sub(most);
    tokens.drain(..surplus);
    (tokens, surplus > 0 || kept.len() < text.len())
}

/// The end of a text that can hold `tokens` tokens: to merge byte pairs of a long text without a
/// space takes time with its square. No token has more than some letters on average.
fn tail(text: &str, tokens: usize) -> &str {
    const LETTERS_PER_TOKEN: usize = 16;
    let letters = tokens * LETTERS_PER_TOKEN;
    let skipped = text.chars().count().saturating_sub(letters);
    let at = text
        .char_indices()
        .nth(skipped)
        .map_or(text.len(), |(at, _)| at);
    &text[at..]
}
