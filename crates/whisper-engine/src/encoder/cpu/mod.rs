// SPDX-License-Identifier: MPL-2.0
//! The encoder on the CPU, with kernels chosen at run time.
//!
//! `weights`, `workspace` and `graph` are the model, its memory, and the order of its operations, with `stem` and
//! `attention` as parts of it; the operations themselves are in [`whisper_kernels`].

pub(super) mod attention;
pub(super) mod graph;
pub(super) mod stem;
pub(super) mod weights;
pub(super) mod workspace;

use ndarray::{Array2, ArrayViewMut2};

use self::graph::{Encode, Graph};
use super::{AudioFeatures, Encoder, EncoderError};
use whisper_frontend::mel::WINDOW_FRAMES;
use whisper_kernels::{EncoderKernel, ForKernel, Isa};
use whisper_model::{Model, ModelError};

/// Whisper's encoder on the machine's own vector units.
pub struct CpuEncoder {
    isa: Isa,
    context: usize,
    input: Array2<f32>,
    graph: Box<dyn Encode>,
}

impl CpuEncoder {
    /// For the fastest instruction set that this machine has, or the one that the environment names.
    pub fn new(model: &Model) -> Result<Self, EncoderError> {
        Self::with_isa(model, Isa::choose()?)
    }

    /// For `isa`, which must be [available](Isa::available).
    pub fn with_isa(model: &Model, isa: Isa) -> Result<Self, EncoderError> {
        Ok(Self {
            isa,
            context: model.config.audio_ctx,
            input: Array2::zeros((WINDOW_FRAMES, model.config.n_mels)),
            graph: isa.detect()?.dispatch(Load(model))?,
        })
    }
}

/// Makes the graph for whatever kernel it is given.
struct Load<'a>(&'a Model);

impl ForKernel for Load<'_> {
    type Output = Result<Box<dyn Encode>, ModelError>;

    fn run<K: EncoderKernel>(self, kernel: K) -> Self::Output {
        Ok(Box::new(Graph::new(kernel, self.0)?))
    }
}

impl Encoder for CpuEncoder {
    fn input(&mut self) -> ArrayViewMut2<'_, f32> {
        self.input.view_mut()
    }

    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError> {
        if context == 0 || context > self.context {
            return Err(EncoderError(format!(
                "a context of {context}, the model has {}",
                self.context
            )));
        }
        out.context = context;
        self.graph.encode(&self.input, context, out)
    }

    fn description(&self) -> String {
        format!("cpu ({})", self.isa)
    }
}
