// SPDX-License-Identifier: MPL-2.0
//! Self-attention of all heads, a task for each head and block of queries.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{BLOCK, rows_in_block};
use super::workspace::{Scratches, Workspace};
use whisper_kernels::encoder_attention::EncoderAttention;
use whisper_kernels::{EncoderKernel, mr};

/// Takes the queries of the blocks that begin in `rows` to all keys and values of the first
/// `context` rows, head by head, from [`Workspace::heads`] to [`Workspace::attended`].
pub fn attend<K: EncoderKernel>(
    kernel: K,
    workspace: &mut Workspace<K>,
    scratches: &Scratches<K>,
    context: usize,
    rows: Range<usize>,
) {
    let (head_count, head_width) = (workspace.head_count, workspace.head_width());
    let blocks = workspace.heads.len() / head_count;
    let heads = &workspace.heads;
    let tasks = workspace.attended.par_chunks_mut(BLOCK * head_width);
    let tasks = tasks.enumerate().with_max_len(1);
    tasks.for_each(|(task, out)| {
        let (head, block) = (task / blocks, task % blocks);
        if !rows.contains(&(block * BLOCK)) {
            return;
        }
        let count = rows_in_block(block, context).next_multiple_of(mr::<K>());
        scratches.with(|scratch| {
            kernel.dispatch(EncoderAttention {
                queries: &heads[block * head_count + head],
                blocks: heads[head..].iter().step_by(head_count),
                context,
                out: &mut out[..count * head_width],
                scratch: &mut scratch.attention,
            });
        });
    });
}

/// What [`attend`] gives, `[heads, rows, head width]`.
pub struct AttentionOutput<'a, V> {
    /// All values, row-major.
    pub values: &'a [V],
    /// How many heads.
    pub heads: usize,
}

impl<V: Copy> AttentionOutput<'_, V> {
    /// Joins the heads of a block's rows: to `rows`, `[BLOCK, width]`, which are `stride` apart.
    pub fn join_heads(&self, block: usize, width: usize, rows: &mut [V], stride: usize) {
        let head_width = width / self.heads;
        let heads = self.values.chunks_exact(self.values.len() / self.heads);
        for (head, values) in heads.enumerate() {
            let values = values[block * BLOCK * head_width..].chunks_exact(head_width);
            for (row, values) in rows.chunks_exact_mut(stride).zip(values) {
                row[head * head_width..][..head_width].copy_from_slice(values);
            }
        }
    }
}
