// SPDX-License-Identifier: MPL-2.0
//! How a window is cut into tasks: blocks of rows.

use rayon::prelude::*;

use whisper_kernels::buffer::padded_stride;

/// Rows that one task works on: a multiple of every kernel's MR and NR.
pub const BLOCK: usize = 96;

/// How many of a window's `rows` rows are in block number `block`.
pub fn rows_in_block(block: usize, rows: usize) -> usize {
    rows.saturating_sub(block * BLOCK).min(BLOCK)
}

/// A task for each block of the first `context` rows: its number, its rows of the residual stream
/// `x`, and its normalised rows.
pub fn row_blocks<'a, V: Send>(
    x: &'a mut [f32],
    normed: &'a mut [V],
    width: usize,
    context: usize,
) -> impl IndexedParallelIterator<Item = (usize, (&'a mut [f32], &'a mut [V]))> {
    (
        x.par_chunks_mut(BLOCK * width),
        normed_blocks(normed, width),
    )
        .into_par_iter()
        .enumerate()
        .take(context.div_ceil(BLOCK))
        .with_max_len(1)
}

/// Normalised rows, block by block.
pub fn normed_blocks<V: Send>(normed: &mut [V], width: usize) -> rayon::slice::ChunksMut<'_, V> {
    normed.par_chunks_mut(BLOCK * padded_stride::<V>(width))
}
