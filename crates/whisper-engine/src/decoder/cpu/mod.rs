// SPDX-License-Identifier: MPL-2.0
//! The decoder on the kernels of [`whisper_kernels`].
//!
//! Each sublayer (self-attention, cross-attention, MLP) is cut along its heads: a task takes the
//! normalised rows through everything that belongs to one head, and ends with what that head adds
//! to the residual stream. So a sublayer is one round of tasks, and threads meet three times in a
//! layer. The MLP is cut alike, into as many slices of its hidden width. The results are the same
//! bits on any number of threads.
//!
//! `weights` is the packed model, `cross_kv` packs a window, `attention` has two of the rounds, and
//! `graph` the order of all this. `batch` is what passes through together, and `product` the
//! multiplications that rounds consist of.

mod attention;
mod batch;
mod cross_kv;
mod graph;
mod product;
mod weights;

use super::error::DecoderError;
use super::text_decoder::TextDecoder;
use whisper_kernels::{EncoderKernel, ForKernel, Isa};
use whisper_model::{Model, ModelError};

/// The network for one instruction set.
///
/// # Errors
/// An instruction set that this machine does not have, or a weight that the model lacks.
pub fn load(model: &Model, isa: Isa) -> Result<Box<dyn TextDecoder>, DecoderError> {
    let kernel = isa.for_few_rows().detect()?;
    Ok(kernel.dispatch(Load(model))?)
}

struct Load<'a>(&'a Model);

impl ForKernel for Load<'_> {
    type Output = Result<Box<dyn TextDecoder>, ModelError>;

    fn run<K: EncoderKernel>(self, kernel: K) -> Self::Output {
        Ok(Box::new(graph::CpuTextDecoder::new(kernel, self.0)?))
    }
}
