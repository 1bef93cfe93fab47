// SPDX-License-Identifier: MPL-2.0
//! The model that an element speaks through, and the engine that runs it once it is loaded.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::element::{CAT, Device};
use crate::settings::Settings;
use whisper_engine::engine::{NpuError, find_npu};
use whisper_engine::model::{FETCH_MODEL, Model, ModelError};
use whisper_engine::{
    AudioFeed, Engine, EngineError, OptionsError, TranscribeOptions, VoiceError, VoiceModel,
};

/// What an engine is made from: as long as that stays the same, it is kept through all changes of
/// state.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    /// The model as the user calls it.
    name: String,
    path: PathBuf,
    device: whisper_engine::Device,
    threads: usize,
}

/// Why the simple voice detector listens, which takes music for speech: a warning for the bus.
#[derive(Debug, thiserror::Error)]
pub enum NoVoiceDetector {
    #[error(
        "No voice detector is installed, text may come from music and noise. \
         Install it with: {fetch} silero-vad",
        fetch = FETCH_MODEL
    )]
    NotInstalled,
    #[error("Cannot use the voice detector, text may come from music and noise: {0}")]
    Unusable(#[from] VoiceError),
}

impl NoVoiceDetector {
    pub fn code(&self) -> gst::ResourceError {
        match self {
            Self::NotInstalled => gst::ResourceError::NotFound,
            Self::Unusable(_) => gst::ResourceError::OpenRead,
        }
    }
}

pub struct Recogniser {
    plan: Plan,
    model: Arc<Model>,
    engine: OnceLock<Engine>,
    voice: OnceLock<VoiceModel>,
}

impl Recogniser {
    /// Opens the model that `settings` name, which takes milliseconds, or goes on with the one that
    /// is open.
    pub fn open(
        settings: &Settings,
        current: Option<Arc<Self>>,
    ) -> Result<Arc<Self>, gst::ErrorMessage> {
        // Everything else that an NPU needs is looked for when the model is loaded, which takes
        // longer.
        if settings.device == Device::Npu {
            find_npu().map_err(|error| no_npu(&error))?;
        }
        let path = Model::find(&settings.model).map_err(|error| model_error(&error))?;
        let plan = Plan {
            name: settings.model.clone(),
            path,
            device: settings.device.into(),
            threads: usable_threads(settings),
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

    /// Whether [`open`](Self::open) with these settings would give the same.
    pub fn is_for(&self, settings: &Settings) -> bool {
        self.plan.name == settings.model
            && self.plan.device == whisper_engine::Device::from(settings.device)
            && self.plan.threads == usable_threads(settings)
    }

    /// What is odd about the model, for the user.
    pub fn model_warning(&self) -> Option<&str> {
        self.model.warning.as_deref()
    }

    /// What is odd about the threads that `settings` ask for.
    pub fn threads_warning(&self, settings: &Settings) -> Option<String> {
        let (asked, used) = (settings.threads as usize, self.plan.threads);
        (used < asked).then(|| {
            format!("threads={asked} is more than the cores of this process, so {used} are used")
        })
    }

    fn new(plan: Plan) -> Result<Self, gst::ErrorMessage> {
        let model = Model::open(&plan.path).map_err(|error| model_error(&error))?;
        Ok(Self {
            plan,
            model: Arc::new(model),
            engine: OnceLock::new(),
            voice: OnceLock::new(),
        })
    }

    /// Reads the voice detector's file, unless `vad-threshold` switches the detector off. Without
    /// one the built-in detector listens, and the next change of state looks again.
    pub fn load_voice(&self, settings: &Settings) -> Result<(), NoVoiceDetector> {
        if settings.vad_threshold <= 0.0 || self.voice.get().is_some() {
            return Ok(());
        }
        let voice = VoiceModel::installed()?;
        if !voice.is_silero() {
            return Err(NoVoiceDetector::NotInstalled);
        }
        self.voice.get_or_init(|| voice);
        Ok(())
    }

    /// The producer half of one stream, with a voice detector unless `vad-threshold` switches it off.
    /// Reads nothing.
    pub fn feed(&self, settings: &Settings) -> AudioFeed {
        let feed = AudioFeed::new(self.n_mels());
        if settings.vad_threshold <= 0.0 {
            return feed;
        }
        let voice = self.voice.get().cloned();
        let detector = voice.unwrap_or_else(VoiceModel::earshot).detector();
        gst::info!(CAT, "listening for voice with {}", detector.description());
        feed.with_voice(detector)
    }

    /// Bands of the mel spectrogram of the model.
    pub fn n_mels(&self) -> usize {
        self.model.config.n_mels
    }

    /// The engine, if it is loaded.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// The engine, loading it if need be, which may take seconds.
    pub fn load(&self) -> Result<Engine, EngineError> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine.clone());
        }
        let engine = Engine::builder()
            .device(self.plan.device)
            .threads(self.plan.threads)
            .build(self.model.clone())?;
        Ok(self.engine.get_or_init(|| engine).clone())
    }

    /// What `settings` ask for, in the model's terms: `en-US` is `en`. A language that the model does not
    /// know is left to be detected.
    pub fn request(&self, settings: &Settings) -> TranscribeOptions {
        let asked = asked(settings);
        let language = asked.known_language(&self.model).map(str::to_owned);
        TranscribeOptions { language, ..asked }
    }

    /// For the user, if the model does not take all of the prompt.
    pub fn check_prompt(&self, settings: &Settings) -> Result<(), String> {
        if !asked(settings).is_prompt_cut(&self.model) {
            return Ok(());
        }
        let most = self.model.config.text_ctx / 2 - 1;
        Err(format!(
            "initial-prompt is longer than the model takes: only its last {most} tokens count. Put names and words to expect into terms."
        ))
    }

    /// What is wrong with the language or the task for this model, in words for the user.
    pub fn check_language(&self, settings: &Settings) -> Result<(), String> {
        let name = &self.plan.name;
        asked(settings).check(&self.model).map_err(|error| match error {
            OptionsError::UnknownLanguage(code) => format!(
                "The model {name} does not know the language \"{code}\". Set language-code to a code such as \
                 \"en\" or \"de\", or unset it to detect the language."
            ),
            OptionsError::EnglishOnly(code) => format!(
                "The model {name} knows only English, not \"{code}\". Set language-code to \"en\" or unset it, or \
                 use a multilingual model, such as base, which also detects the language."
            ),
            OptionsError::CannotTranslate => {
                format!("The model {name} cannot translate. Use a multilingual one, such as base.")
            }
        })
    }

    /// ISO 639 code of the text's language, where it is known without any audio.
    pub fn text_language(&self, request: &TranscribeOptions) -> Option<String> {
        request.text_language(&self.model).map(iso_639)
    }
}

/// Threads to recognise with, 0 for one per core. More than there are cores wait for each other at
/// each step.
fn usable_threads(settings: &Settings) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(settings.threads as usize)
}

/// What `settings` ask for, whether the model can do it or not.
fn asked(settings: &Settings) -> TranscribeOptions {
    TranscribeOptions {
        language: settings.language_code.clone(),
        task: settings.task.into(),
        languages: entries(settings.languages.as_deref()),
        initial_prompt: settings.initial_prompt.clone(),
        terms: entries(settings.terms.as_deref()),
        vad_threshold: settings.vad_threshold,
    }
}

/// What a property lists, one a line or parted by commas.
fn entries(list: Option<&str>) -> Vec<String> {
    let entries = list.unwrap_or_default().split([',', '\n']).map(str::trim);
    let entries = entries.filter(|entry| !entry.is_empty());
    entries.map(str::to_owned).collect()
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
        ModelError::NotFound { .. } | ModelError::NoSuchFile { .. } => {
            gst::error_msg!(gst::ResourceError::NotFound, ("{error}"))
        }
        ModelError::Io { .. } => gst::error_msg!(gst::ResourceError::OpenRead, ("{error}")),
        _ => gst::error_msg!(gst::StreamError::Format, ("{error}")),
    }
}
