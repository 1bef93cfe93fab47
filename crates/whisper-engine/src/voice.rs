// SPDX-License-Identifier: MPL-2.0
//! The voice detector that the models directory offers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use once_cell::sync::Lazy;
use whisper_frontend::VoiceDetector;
use whisper_frontend::vad::{SileroError, SileroWeights};
use whisper_model::{FETCH_MODEL, Model};

/// The name under which Silero's weights are found among the models.
const SILERO: &str = "silero-vad";

/// Silero's weights, as long as they are in use.
static WEIGHTS: Lazy<Mutex<Weak<SileroWeights>>> = Lazy::new(Mutex::default);

/// The file of the voice detector is there and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; fetch it again with: {fetch} silero-vad", .path.display(), fetch = FETCH_MODEL)]
pub struct VoiceError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub source: SileroError,
}

/// What tells voice from other sound. Cheap to clone; each stream makes a detector of it.
#[derive(Clone, Default)]
pub struct VoiceModel {
    silero: Option<Arc<SileroWeights>>,
}

impl VoiceModel {
    /// Silero's network where its weights are among the models (`scripts/fetch-model silero-vad`),
    /// else [`earshot`](Self::earshot).
    ///
    /// Reads a file of 1 MB, unless its weights are in use somewhere in the process: not for
    /// streaming threads.
    ///
    /// # Errors
    /// The weights are there and cannot be used.
    pub fn installed() -> Result<Self, VoiceError> {
        let mut shared = WEIGHTS
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(weights) = shared.upgrade() {
            return Ok(Self {
                silero: Some(weights),
            });
        }
        let Ok(directory) = Model::find(SILERO) else {
            return Ok(Self::earshot());
        };
        let path = directory.join("model.safetensors");
        match SileroWeights::open(&path) {
            Ok(weights) => {
                let weights = Arc::new(weights);
                *shared = Arc::downgrade(&weights);
                Ok(Self {
                    silero: Some(weights),
                })
            }
            Err(source) => Err(VoiceError { path, source }),
        }
    }

    /// The network that needs no file. It takes most music for voice.
    pub fn earshot() -> Self {
        Self::default()
    }

    /// A detector for one stream.
    pub fn detector(&self) -> VoiceDetector {
        match &self.silero {
            Some(weights) => VoiceDetector::silero(weights.clone()),
            None => VoiceDetector::earshot(),
        }
    }

    /// Whether this is Silero's network, which tells music from voice.
    pub fn is_silero(&self) -> bool {
        self.silero.is_some()
    }

    /// What listens, for users: `silero` or `earshot`.
    pub fn description(&self) -> &'static str {
        if self.is_silero() {
            "silero"
        } else {
            "earshot"
        }
    }
}

impl std::fmt::Debug for VoiceModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("VoiceModel")
            .field(&self.description())
            .finish()
    }
}
