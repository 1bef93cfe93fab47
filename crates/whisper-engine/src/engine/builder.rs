// SPDX-License-Identifier: MPL-2.0
//! The way to an engine, and the engines that the process has.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use once_cell::sync::Lazy;

use super::device::Choice;
use super::{Core, Device, Engine, EngineError};
use crate::encoder::Encoder;
use crate::encoder::npu::default_opener;
use whisper_model::Model;
use xdna::DeviceOpener;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: PathBuf,
    device: Device,
    threads: usize,
}

/// Engines that are still held somewhere. Loading happens under the lock, so that two elements that
/// start together load a model once.
static ENGINES: Lazy<Mutex<HashMap<Key, Weak<Core>>>> = Lazy::new(Mutex::default);

/// What an engine is made with.
///
/// ```no_run
/// use whisper_engine::{Device, Engine};
///
/// let engine = Engine::builder().device(Device::Cpu).threads(2).open("base")?;
/// # Ok::<(), whisper_engine::EngineError>(())
/// ```
#[derive(Default)]
pub struct EngineBuilder {
    device: Device,
    threads: usize,
    npu: Option<Arc<dyn DeviceOpener>>,
    encoder: Option<Box<dyn Encoder>>,
}

impl EngineBuilder {
    /// What the encoder is to run on; [`Device::Auto`] unless said otherwise.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Number of threads to recognise with; 0, the default, means one for each core.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Opens the NPU by `opener`, the first time and again after failures. The default is AMD's
    /// runtime. An engine with its own opener is not shared with others.
    pub fn npu(mut self, opener: Arc<dyn DeviceOpener>) -> Self {
        self.npu = Some(opener);
        self
    }

    /// Encodes with `encoder`, whatever the device. Such an engine is not shared with others.
    pub fn encoder(mut self, encoder: Box<dyn Encoder>) -> Self {
        self.encoder = Some(encoder);
        self
    }

    /// The engine for the model of this name or path: see [`Engine::open`].
    ///
    /// # Errors
    /// The model cannot be found or used, or the device is not there.
    pub fn open(self, model: &str) -> Result<Engine, EngineError> {
        let path = Model::find(model)?;
        self.shared(path.clone(), || Ok(Arc::new(Model::open(&path)?)))
    }

    /// The engine for a model that is open: nothing is opened again.
    ///
    /// # Errors
    /// The model cannot be used, or the device is not there.
    pub fn build(self, model: Arc<Model>) -> Result<Engine, EngineError> {
        self.shared(model.path.clone(), || Ok(model))
    }

    /// An engine that is still held somewhere, or a new one for the model that `open` gives.
    fn shared(
        self,
        path: PathBuf,
        open: impl FnOnce() -> Result<Arc<Model>, EngineError>,
    ) -> Result<Engine, EngineError> {
        let threads = if self.threads == 0 {
            cores()
        } else {
            self.threads
        };
        if let Some(encoder) = self.encoder {
            return Engine::new(open()?, Choice::injected(encoder), threads);
        }
        if let Some(opener) = self.npu {
            let model = open()?;
            let choice = Choice::make(&model, self.device, opener)?;
            return Engine::new(model, choice, threads);
        }
        let key = Key {
            path: path.canonicalize().unwrap_or(path),
            device: self.device,
            threads,
        };
        let mut engines = ENGINES
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        engines.retain(|_, core| core.strong_count() > 0);
        if let Some(core) = engines.get(&key).and_then(Weak::upgrade) {
            return Ok(Engine { core });
        }
        let model = open()?;
        let choice = Choice::make(&model, self.device, default_opener())?;
        let engine = Engine::new(model, choice, threads)?;
        engines.insert(key, Arc::downgrade(&engine.core));
        Ok(engine)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
