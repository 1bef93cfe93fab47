// SPDX-License-Identifier: MPL-2.0
//! The model that an element speaks through, and the engine that runs it once it is loaded.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::element::{Device, Task};
use crate::settings::Settings;
use whisper_engine::encoder::npu::{NpuError, default_opener};
use whisper_engine::engine::{self, Engine, EngineError};
use whisper_engine::stream::TranscribeOptions;
use whisper_model::{Model, ModelError};

/// What an engine is made from: as long as that stays the same, it is kept through all changes of state.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    path: PathBuf,
    device: engine::Device,
    threads: usize,
}

pub struct Recogniser {
    plan: Plan,
    model: Model,
    engine: OnceLock<Arc<Engine>>,
}

impl Recogniser {
    /// Opens the model that `settings` name, which takes milliseconds, or goes on with the one that is open.
    pub fn open(
        settings: &Settings,
        current: Option<Arc<Self>>,
    ) -> Result<Arc<Self>, gst::ErrorMessage> {
        // Everything else that an NPU needs is looked for when the model is loaded, which takes longer.
        if settings.device == Device::Npu {
            default_opener().probe().map_err(|reason| no_npu(&reason))?;
        }
        let path = Model::find(&settings.model).map_err(|error| model_error(&error))?;
        let plan = Plan {
            path,
            device: settings.device.into(),
            threads: settings.threads as usize,
        };
        let recogniser = match current.filter(|current| current.plan == plan) {
            Some(current) => current,
            None => Arc::new(Self::new(plan)?),
        };
        match recogniser.check_language(settings) {
            Ok(()) => Ok(recogniser),
            Err(problem) => Err(gst::error_msg!(gst::LibraryError::Settings, ("{problem}"))),
        }
    }

    fn new(plan: Plan) -> Result<Self, gst::ErrorMessage> {
        let model = Model::open(&plan.path).map_err(|error| model_error(&error))?;
        Ok(Self {
            plan,
            model,
            engine: OnceLock::new(),
        })
    }

    /// Bands of the mel spectrogram that the model hears.
    pub fn n_mels(&self) -> usize {
        self.model.config.n_mels
    }

    /// The engine, if it is loaded.
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.get()
    }

    /// The engine, loading it if need be, which may take seconds.
    pub fn load(&self) -> Result<Arc<Engine>, EngineError> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine.clone());
        }
        let engine = Engine::shared(&self.plan.path, self.plan.device, self.plan.threads)?;
        Ok(self.engine.get_or_init(|| engine).clone())
    }

    /// What `settings` ask for, in the model's terms. A language that the model does not know is left to be detected.
    pub fn request(&self, settings: &Settings) -> TranscribeOptions {
        TranscribeOptions {
            language: settings
                .language_code
                .as_deref()
                .and_then(|code| self.language(code)),
            translate: settings.task == Task::Translate,
            initial_prompt: settings.initial_prompt.clone(),
        }
    }

    /// Whisper's name of a language.
    fn language(&self, code: &str) -> Option<String> {
        let tokenizer = &self.model.tokenizer;
        let token = tokenizer.language_token(code)?;
        let name = tokenizer.language_code(token)?;
        (tokenizer.is_multilingual() || name == "en").then(|| name.to_owned())
    }

    /// What is wrong with the language or the task for this model, in words for the user.
    pub fn check_language(&self, settings: &Settings) -> Result<(), String> {
        let multilingual = self.model.tokenizer.is_multilingual();
        if let Some(code) = settings.language_code.as_deref()
            && self.language(code).is_none()
        {
            return Err(if multilingual {
                format!(
                    "The model {} does not know the language \"{code}\".",
                    settings.model
                )
            } else {
                format!(
                    "The model {} knows only English, not \"{code}\". Use a multilingual one, such as base.",
                    settings.model
                )
            });
        }
        if settings.task == Task::Translate && !multilingual {
            return Err(format!(
                "The model {} cannot translate. Use a multilingual one, such as base.",
                settings.model
            ));
        }
        Ok(())
    }

    /// ISO 639 code of the text's language, where it is known before anything was heard.
    pub fn text_language(&self, request: &TranscribeOptions) -> Option<String> {
        if request.translate || !self.model.tokenizer.is_multilingual() {
            return Some("en".into());
        }
        request.language.as_deref().map(iso_639)
    }
}

/// ISO 639 code of a language in Whisper's naming, which has one of its own.
pub fn iso_639(whisper: &str) -> String {
    match whisper {
        "jw" => "jv",
        other => other,
    }
    .into()
}

/// For the bus: `device=npu` cannot be had.
pub fn no_npu(reason: &NpuError) -> gst::ErrorMessage {
    gst::error_msg!(
        gst::ResourceError::NotFound,
        ("device=npu: {reason}. Set device=auto or device=cpu to recognise on the CPU.")
    )
}

/// For the bus. The text says what to do.
pub fn model_error(error: &ModelError) -> gst::ErrorMessage {
    match error {
        ModelError::NotFound { .. } => gst::error_msg!(gst::ResourceError::NotFound, ("{error}")),
        ModelError::Io { .. } => gst::error_msg!(gst::ResourceError::OpenRead, ("{error}")),
        _ => gst::error_msg!(gst::StreamError::Format, ("{error}")),
    }
}
