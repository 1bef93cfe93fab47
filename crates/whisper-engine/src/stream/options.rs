// SPDX-License-Identifier: MPL-2.0
//! What to make of the speech, and how soon.

use std::time::Duration;

use whisper_model::Model;

use super::Policy;

/// What to make of the speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Task {
    /// Text in the language that is spoken.
    #[default]
    Transcribe,
    /// Text in English. Multilingual models only.
    Translate,
}

/// What a transcript is to be like.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscribeOptions {
    /// Code of the language that is spoken, such as `en`, `en-US` or `yue`; `None` detects it.
    pub language: Option<String>,
    /// The languages that may be detected, as such codes; empty for all that the model knows.
    pub languages: Vec<String>,
    /// Whether to transcribe or to translate.
    pub task: Task,
    /// What might have been said before, in the language of the transcript: it tells the model the
    /// names, the topic and the style. Its last tokens count, half as many as the model's context.
    pub initial_prompt: Option<String>,
    /// Names and words to expect, each as it is to be written.
    pub terms: Vec<String>,
    /// Probability from which on a frame is voice, 0 to 1; 0 takes everything for speech.
    pub vad_threshold: f32,
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            language: None,
            languages: Vec::new(),
            task: Task::default(),
            initial_prompt: None,
            terms: Vec::new(),
            vad_threshold: 0.5,
        }
    }
}

/// What a model cannot do of what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The model was not trained on the language.
    #[error("the model does not know the language \"{0}\"")]
    UnknownLanguage(String),
    /// The model knows English alone, and another language was asked for.
    #[error("the model knows only English, not \"{0}\"; use a multilingual one, such as base")]
    EnglishOnly(String),
    /// The model knows English alone, and cannot translate into it.
    #[error("the model cannot translate; use a multilingual one, such as base")]
    CannotTranslate,
}

impl TranscribeOptions {
    /// Whether `model` can do what is asked.
    ///
    /// # Errors
    /// It cannot; says what.
    pub fn check(&self, model: &Model) -> Result<(), OptionsError> {
        let multilingual = model.tokenizer.is_multilingual();
        let unknown = |code: &&String| match model.tokenizer.language_token(code) {
            Some(token) => !multilingual && model.tokenizer.language_code(token) != Some("en"),
            None => true,
        };
        if let Some(code) = self.languages.iter().find(unknown) {
            return Err(if multilingual {
                OptionsError::UnknownLanguage(code.clone())
            } else {
                OptionsError::EnglishOnly(code.clone())
            });
        }
        match self.language.as_deref() {
            Some(code) if self.known_language(model).is_none() => Err(if multilingual {
                OptionsError::UnknownLanguage(code.to_owned())
            } else {
                OptionsError::EnglishOnly(code.to_owned())
            }),
            _ if self.task == Task::Translate && !multilingual => {
                Err(OptionsError::CannotTranslate)
            }
            _ => Ok(()),
        }
    }

    /// Whisper's code of the language that is asked for, if the model knows it.
    pub fn known_language<'a>(&self, model: &'a Model) -> Option<&'a str> {
        let tokenizer = &model.tokenizer;
        let token = tokenizer.language_token(self.language.as_deref()?)?;
        let name = tokenizer.language_code(token)?;
        (tokenizer.is_multilingual() || name == "en").then_some(name)
    }

    /// Whisper's code of the text's language, where it is known without any audio.
    pub fn text_language<'a>(&self, model: &'a Model) -> Option<&'a str> {
        if self.task == Task::Translate || !model.tokenizer.is_multilingual() {
            return Some("en");
        }
        self.known_language(model)
    }
}

/// How to be live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveOptions {
    /// From one update to the next during speech. Half as long costs twice the work and brings
    /// words 0.2 s earlier.
    pub interval: Duration,
    /// Whether audio comes in real time: updates become rarer when they take long, and one update
    /// takes all audio that came meanwhile. Otherwise each update takes the audio that it would
    /// have had if it had taken no time.
    pub real_time: bool,
    /// How words become final; `None` for what suits the model.
    pub policy: Option<Policy>,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(900),
            real_time: true,
            policy: None,
        }
    }
}
