// SPDX-License-Identifier: MPL-2.0
//! What the encoder runs on.

use std::sync::Arc;

use super::EngineError;
use crate::encoder::cpu::CpuEncoder;
use crate::encoder::fallback::{FallbackEncoder, HealthMonitor, OpenEncoder};
use crate::encoder::npu::{NpuEncoder, default_opener};
use crate::encoder::{Encoder, EncoderError};
use whisper_model::Model;
use xdna::{DeviceOpener, NpuError};

/// What the encoder is to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The NPU where there is one that works, else the CPU.
    #[default]
    Auto,
    /// The NPU, or an error.
    Npu,
    /// The CPU.
    Cpu,
}

/// What an engine encodes with.
pub(super) struct Choice {
    pub encoder: Box<dyn Encoder>,
    pub monitor: Option<HealthMonitor>,
    /// Why it is not the NPU, if that was left to us.
    pub without_npu: Option<NpuError>,
}

impl Choice {
    /// An encoder that the caller brings.
    pub fn injected(encoder: Box<dyn Encoder>) -> Self {
        Self {
            encoder,
            monitor: None,
            without_npu: None,
        }
    }

    /// The encoder on `device`. An NPU is opened by `opener`.
    pub fn make(
        model: &Arc<Model>,
        device: Device,
        opener: Arc<dyn DeviceOpener>,
    ) -> Result<Self, EngineError> {
        if device == Device::Cpu {
            return Ok(Self::injected(on_cpu(model)?));
        }
        let open = open_encoder(model, opener);
        match open() {
            Ok(encoder) => {
                let encoder = FallbackEncoder::new(encoder, on_cpu(model)?, open);
                Ok(Self {
                    monitor: Some(encoder.monitor()),
                    encoder: Box::new(encoder),
                    without_npu: None,
                })
            }
            Err(reason) if device == Device::Npu => Err(EngineError::Npu(reason)),
            Err(reason) => Ok(Self {
                without_npu: Some(reason),
                ..Self::injected(on_cpu(model)?)
            }),
        }
    }
}

/// Whether there is an NPU that can be tried, which takes no time to see.
///
/// # Errors
/// There is none; says why, for users.
pub fn find_npu() -> Result<(), NpuError> {
    default_opener().probe()
}

/// Opens a device with the model on it.
fn open_encoder(model: &Arc<Model>, opener: Arc<dyn DeviceOpener>) -> OpenEncoder {
    let model = model.clone();
    Arc::new(move || Ok(Box::new(NpuEncoder::new(&model, opener.open()?)?)))
}

fn on_cpu(model: &Model) -> Result<Box<dyn Encoder>, EncoderError> {
    Ok(Box::new(CpuEncoder::new(model)?))
}
