// SPDX-License-Identifier: MPL-2.0
//! The encoder on the CPU, with kernels chosen at run time.
//!
//! `weights` is the packed model and `graph` the order of its operations. The parts of the network
//! are the encoder's `stages`; the arithmetic is in [`whisper_kernels`].

mod graph;
mod weights;

use ndarray::{Array2, ArrayViewMut2};

use self::graph::CpuAudioEncoder;
use super::graph::{AudioEncoder, check};
use super::{AudioFeatures, Encoder, EncoderError};
use whisper_frontend::mel::WINDOW_FRAMES;
use whisper_kernels::{EncoderKernel, ForKernel, Isa};
use whisper_model::{Config, Model, ModelError};

/// Whisper's encoder on the machine's own vector units.
pub struct CpuEncoder {
    isa: Isa,
    config: Config,
    input: Array2<f32>,
    graph: Box<dyn AudioEncoder>,
}

impl CpuEncoder {
    /// For the fastest instruction set that this machine has, or the one that the environment
    /// names.
    ///
    /// # Errors
    /// An unknown instruction set in the environment, or a weight that the model lacks.
    pub fn new(model: &Model) -> Result<Self, EncoderError> {
        Self::with_isa(model, Isa::choose()?)
    }

    /// For `isa`, which must be [available](Isa::available).
    ///
    /// # Errors
    /// An instruction set that this machine does not have, or a weight that the model lacks.
    pub fn with_isa(model: &Model, isa: Isa) -> Result<Self, EncoderError> {
        let graph = isa.detect()?.dispatch(Load(model))?;
        Ok(Self {
            isa,
            config: model.config.clone(),
            input: Array2::zeros((WINDOW_FRAMES, model.config.n_mels)),
            graph,
        })
    }
}

/// Makes the graph for whatever kernel it is given.
struct Load<'a>(&'a Model);

impl ForKernel for Load<'_> {
    type Output = Result<Box<dyn AudioEncoder>, ModelError>;

    fn run<K: EncoderKernel>(self, kernel: K) -> Self::Output {
        Ok(Box::new(CpuAudioEncoder::new(kernel, self.0)?))
    }
}

impl Encoder for CpuEncoder {
    fn input(&mut self) -> ArrayViewMut2<'_, f32> {
        self.input.view_mut()
    }

    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError> {
        check(&self.config, context, out)?;
        out.context = context;
        self.graph.encode(&self.input, context, out)
    }

    fn description(&self) -> String {
        format!("cpu ({})", self.isa)
    }
}
