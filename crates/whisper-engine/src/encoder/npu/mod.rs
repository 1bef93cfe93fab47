// SPDX-License-Identifier: MPL-2.0
//! The encoder with its matrix products on an AMD XDNA2 NPU.
//!
//! The crate [`xdna`] multiplies matrices on the device. Everything else of the encoder is on the
//! CPU's kernels ([`whisper_kernels`]).
//!
//! | module | role |
//! |---|---|
//! | `device` | which NPU is opened, and where its files are |
//! | `graph` | the encoder's order of operations |
//! | `lane` | rows of a window and their buffers on the device |
//! | `cpu_stage`, `rows` | the CPU's work between two products |
//! | `weights` | from the model's layers to weights on the device |

mod cpu_stage;
mod device;
mod graph;
mod lane;
mod rows;
mod weights;

pub use device::{default_opener, search_paths};
pub use xdna::{DeviceOpener, NpuDevice, NpuError};

use ndarray::{Array2, ArrayViewMut2};

use super::graph::{AudioEncoder, check};
use super::{AudioFeatures, Encoder, EncoderError};
use whisper_frontend::mel::WINDOW_FRAMES;
use whisper_kernels::{EncoderKernel, ForKernel, Isa};
use whisper_model::{Config, Model};

/// Whisper's encoder, its matrix products on an [`NpuDevice`].
pub struct NpuEncoder {
    description: String,
    config: Config,
    input: Array2<f32>,
    graph: Box<dyn AudioEncoder>,
}

impl NpuEncoder {
    /// Packs the model's weights to buffers of the device, where they stay.
    ///
    /// # Errors
    ///
    /// What the device reports, or why the model does not suit it.
    pub fn new(model: &Model, device: Box<dyn NpuDevice>) -> Result<Self, NpuError> {
        let unsuited = |error: &dyn std::fmt::Display| NpuError::Unsuited(error.to_string());
        let isa = Isa::choose().map_err(|error| unsuited(&error))?;
        let description = format!("npu ({})", device.description());
        let kernel = isa.detect().map_err(|error| unsuited(&error))?;
        Ok(Self {
            description,
            config: model.config.clone(),
            input: Array2::zeros((WINDOW_FRAMES, model.config.n_mels)),
            graph: kernel.dispatch(Load { model, device })?,
        })
    }
}

/// Makes the graph for the kernel it is given.
struct Load<'a> {
    model: &'a Model,
    device: Box<dyn NpuDevice>,
}

impl ForKernel for Load<'_> {
    type Output = Result<Box<dyn AudioEncoder>, NpuError>;

    fn run<K: EncoderKernel>(self, kernel: K) -> Self::Output {
        Ok(Box::new(graph::Graph::new(
            kernel,
            self.model,
            self.device,
        )?))
    }
}

impl Encoder for NpuEncoder {
    fn input(&mut self) -> ArrayViewMut2<'_, f32> {
        self.input.view_mut()
    }

    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError> {
        check(&self.config, context, out)?;
        out.context = context;
        self.graph.encode(&self.input, context, out)
    }

    fn description(&self) -> String {
        self.description.clone()
    }

    fn runs_off_cpu(&self) -> bool {
        true
    }
}
