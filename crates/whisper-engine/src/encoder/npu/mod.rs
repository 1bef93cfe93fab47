// SPDX-License-Identifier: MPL-2.0
//! The encoder with its matrix products on an AMD XDNA2 NPU.
//!
//! One resident overlay multiplies matrices of any shape that `contract` allows; the host writes its instruction
//! streams. Everything else of the encoder is on the CPU's kernels ([`whisper_kernels`]).
//!
//! | room | what it does |
//! |---|---|
//! | `device` | the trait: buffers, submissions, and why there are none |
//! | `contract`, `arithmetic`, `bfp16` | the overlay in numbers, and its arithmetic to the bit |
//! | `weights` | the order in which the array takes its right operand |
//! | `txn`, `shim`, `streams` | instruction streams, shim registers, the stream of a product |
//! | `emulation`, `model` | what the cores compute; the array behind the trait, in pure Rust |
//! | `xrt` | the device that AMD's runtime drives |
//! | `products`, `rows` | resident weights and cached streams; rows between CPU and device |
//! | `lane`, `host`, `graph` | a part of a window and its buffers; what the CPU does with it; the encoder's order of operations |
//!
//! [`open`] is the way in. It takes the model of the array where [`VARIABLE`] asks for it.

mod cpu_stage;
mod graph;
mod products;
mod row_half;
mod rows;

use ndarray::{Array2, ArrayViewMut2};

use super::graph::{AudioEncoder, check};
use super::{AudioFeatures, Encoder, EncoderError};
use whisper_frontend::mel::WINDOW_FRAMES;
use whisper_kernels::{EncoderKernel, ForKernel, Isa};
use whisper_model::{Config, Model};
use xdna::device::{NpuDevice, NpuError};

/// Whisper's encoder, its matrix products on an [`NpuDevice`].
pub struct NpuEncoder {
    description: String,
    config: Config,
    input: Array2<f32>,
    graph: Box<dyn AudioEncoder>,
}

impl NpuEncoder {
    /// Packs the weights to buffers of the device, where they stay.
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
