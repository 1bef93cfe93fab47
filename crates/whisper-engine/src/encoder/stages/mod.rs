// SPDX-License-Identifier: MPL-2.0
//! The parts of the encoder's network that run on the CPU, whatever runs the rest.
//!
//! [`super::cpu`] puts all of them together. [`super::npu`] takes the stem, the attention and the
//! workspace, and leaves the matrix products between them to its device. A window passes through in
//! blocks of [`BLOCK`] rows; one task takes one block through one stage, on whatever rayon pool is
//! current.
//!
//! | module | stage |
//! |---|---|
//! | `stem` | two convolutions along time, and the positions |
//! | `attention` | self-attention of all heads |
//! | `mlp` | fc1, GELU, fc2 |
//! | `norm` | layer normalisation |
//! | `blocks` | how a window is cut into tasks |
//! | `workspace` | the activations between stages, and the scratch memory of tasks |

mod attention;
mod blocks;
mod mlp;
mod norm;
mod stem;
mod workspace;

pub(super) use attention::{AttentionOutput, attend};
pub(super) use blocks::{BLOCK, normed_blocks, row_blocks, rows_in_block};
pub(super) use mlp::MlpSlice;
pub(super) use norm::normalize;
pub(super) use stem::Stem;
pub(super) use workspace::{Scratches, Workspace};
