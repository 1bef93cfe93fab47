// SPDX-License-Identifier: MPL-2.0
//! The decoder on the kernels of [`whisper_kernels`].
//!
//! Each sublayer (self-attention, cross-attention, feed-forward) is cut along its heads: a task takes the normalised
//! rows through everything that belongs to one head, and ends with what that head adds to the residual stream. So a
//! sublayer is one round of tasks, and threads meet three times in a layer. The feed-forward sublayer is cut alike,
//! into as many slices of its hidden width. The results are the same bits whatever the number of threads.
//!
//! `weights` is the model, `heard` and `memory` what belongs to a window and to its text, `stream` what happens between the
//! rounds, `attention` two of them, and `graph` the order of all this.

mod attention;
mod cross_kv;
mod graph;
mod kv_cache;
mod residual;
mod weights;

use super::DecoderError;
use super::graph::Graph;
use whisper_kernels::{ForKernel, GemmKernel, Isa};
use whisper_model::{Model, ModelError};

/// The graph for one instruction set.
pub fn load(model: &Model, isa: Isa) -> Result<Box<dyn Graph>, DecoderError> {
    let kernel = isa.for_few_rows().detect()?;
    Ok(kernel.dispatch(Load(model))?)
}

struct Load<'a>(&'a Model);

impl ForKernel for Load<'_> {
    type Output = Result<Box<dyn Graph>, ModelError>;

    fn run<K: GemmKernel>(self, kernel: K) -> Self::Output {
        Ok(Box::new(graph::CpuGraph::new(kernel, self.0)?))
    }
}
