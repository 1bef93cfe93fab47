// SPDX-License-Identifier: MPL-2.0
//! Attention of all heads, a task for each head and block of queries.

use std::ops::Range;

use rayon::prelude::*;

use super::graph::rows_of;
use super::workspace::{BLOCK, Scratches, Workspace};
use whisper_kernels::encoder_attention::EncoderAttention;
use whisper_kernels::{EncoderKernel, mr};
use whisper_model::Config;

/// Every head's queries of the blocks that begin in `rows` against all its keys and values.
pub(in crate::encoder) fn attend<K: EncoderKernel>(
    kernel: K,
    config: &Config,
    workspace: &mut Workspace<K>,
    scratches: &Scratches<K>,
    context: usize,
    rows: Range<usize>,
) {
    let head_width = config.audio_state / config.audio_heads;
    let blocks = config.audio_ctx.div_ceil(BLOCK);
    let heads = &workspace.heads;
    let tasks = workspace.mixed.par_chunks_mut(BLOCK * head_width);
    let tasks = tasks.enumerate().with_max_len(1);
    tasks.for_each(|(task, out)| {
        let (head, block) = (task / blocks, task % blocks);
        if !rows.contains(&(block * BLOCK)) {
            return;
        }
        let len = rows_of(block, context).next_multiple_of(mr::<K>()) * head_width;
        scratches.with(|scratch| {
            kernel.dispatch(EncoderAttention {
                queries: &heads[block * config.audio_heads + head],
                blocks: heads[head..].iter().step_by(config.audio_heads),
                context,
                out: &mut out[..len],
                scratch: &mut scratch.attention,
            });
        });
    });
}

/// Attention's output, (heads, rows, head width).
pub(in crate::encoder) struct Mixed<'a, V> {
    pub values: &'a [V],
    pub heads: usize,
}

impl<V: Copy> Mixed<'_, V> {
    /// The rows of a block with all their heads side by side.
    pub fn gather(&self, block: usize, width: usize, rows: &mut [V], stride: usize) {
        let head_width = width / self.heads;
        for (head, values) in self
            .values
            .chunks_exact(self.values.len() / self.heads)
            .enumerate()
        {
            let values = values[block * BLOCK * head_width..].chunks_exact(head_width);
            for (row, values) in rows.chunks_exact_mut(stride).zip(values) {
                row[head * head_width..][..head_width].copy_from_slice(values);
            }
        }
    }
}
