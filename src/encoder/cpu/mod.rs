// SPDX-License-Identifier: MPL-2.0
//! The encoder on the CPU, with kernels chosen at run time.
//!
//! | room | what it does |
//! |---|---|
//! | `isa` | which instruction set |
//! | `kernel` | what each instruction set offers; the innermost loop |
//! | `pack`, `gemm`, `sink` | weights in the kernel's order; the multiplication; what becomes of its tiles |
//! | `attention`, `norm`, `math` | the other operations |
//! | `weights`, `workspace`, `graph` | the model, its memory, and the order of its operations |

mod attention;
mod buffer;
mod gemm;
mod graph;
mod isa;
mod kernel;
mod math;
mod norm;
mod pack;
mod sink;
mod weights;
mod workspace;

use ndarray::{Array2, ArrayViewMut2};

pub use isa::{Isa, UnknownIsa, VARIABLE};

use self::graph::{Encode, Graph};
use super::{AudioFeatures, Encoder, EncoderError};
use crate::mel::WINDOW_FRAMES;
use crate::model::Model;

/// Whisper's encoder on the machine's own vector units.
pub struct CpuEncoder {
    isa: Isa,
    context: usize,
    input: Array2<f32>,
    graph: Box<dyn Encode>,
}

impl CpuEncoder {
    /// For the fastest instruction set that this machine has, or the one that [`VARIABLE`] names.
    pub fn new(model: &Model) -> Result<Self, EncoderError> {
        Self::with_isa(model, Isa::choose()?)
    }

    /// For `isa`, which must be [available](Isa::available).
    pub fn with_isa(model: &Model, isa: Isa) -> Result<Self, EncoderError> {
        Ok(Self {
            isa,
            context: model.config.audio_ctx,
            input: Array2::zeros((WINDOW_FRAMES, model.config.n_mels)),
            graph: graph(model, isa)?,
        })
    }
}

fn graph(model: &Model, isa: Isa) -> Result<Box<dyn Encode>, EncoderError> {
    fn boxed<K: kernel::Kernel>(
        kernel: Option<K>,
        model: &Model,
    ) -> Result<Box<dyn Encode>, EncoderError> {
        let kernel =
            kernel.ok_or_else(|| EncoderError(format!("this machine has no {}", K::NAME)))?;
        Ok(Box::new(Graph::new(kernel, model)?))
    }

    match isa {
        Isa::Portable => boxed(Some(kernel::portable::Portable), model),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => boxed(kernel::avx2::Avx2::detect(), model),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => boxed(kernel::avx512::Avx512::<f32>::detect(), model),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => boxed(kernel::avx512::Avx512::<half::bf16>::detect(), model),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => boxed(kernel::neon::Neon::detect(), model),
        #[allow(unreachable_patterns)]
        _ => Err(EncoderError(format!(
            "no kernels for {isa} on this architecture"
        ))),
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
