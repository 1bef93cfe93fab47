// SPDX-License-Identifier: MPL-2.0
//! What the CPU does with the rows of a lane between one product and the next.

use ndarray::Array2;
use rayon::prelude::*;

use super::lane::{Lane, Product, panel_bytes};
use super::rows::{GeluTile, HeadRows, NormalizePanel, PackTile};
use super::weights::Projection;
use crate::encoder::stages::{BLOCK, Scratches, Stem, Workspace, attend, rows_in_block};
use crate::encoder::{CrossKv, EncoderError};
use whisper_kernels::EncoderKernel;
use whisper_kernels::encoder_attention::AttentionBlock;
use whisper_kernels::layer_norm::LayerNorm;
use whisper_model::Config;
use xdna::NpuError;
use xdna::contract::{A_TILE_BYTES, TILE, TILE_ROWS};

/// The CPU's part of the encoder, and its memory.
pub struct CpuStage<K: EncoderKernel> {
    kernel: K,
    config: Config,
    workspace: Workspace<K>,
    scratches: Scratches<K>,
    /// Rows of the window.
    context: usize,
}

impl<K: EncoderKernel> CpuStage<K> {
    pub fn new(kernel: K, config: &Config) -> Self {
        Self {
            kernel,
            config: config.clone(),
            workspace: Workspace::new(config),
            scratches: Scratches::new(config),
            context: 0,
        }
    }

    /// Both convolutions, from `mel`, `[2 * context, n_mels]`, to the residual stream.
    pub fn convolve(&mut self, stem: &Stem<K>, mel: &[f32], context: usize) {
        self.context = context;
        stem.apply(self.kernel, mel, None, &mut self.workspace);
    }

    /// Normalises the lane's rows of the residual stream to its A, and to their place in `hidden`,
    /// which has all rows of the window, or none.
    pub fn normalize(
        &mut self,
        norm: &LayerNorm,
        lane: &mut Lane,
        hidden: &mut [f32],
    ) -> Result<(), NpuError> {
        let (kernel, width) = (self.kernel, self.config.audio_state);
        let values = width * lane.rows.start..width * lane.rows.end;
        let mut hidden = hidden
            .get_mut(values.clone())
            .unwrap_or_default()
            .chunks_mut(width * TILE_ROWS);
        let x = self.workspace.x[values].chunks(width * TILE_ROWS);
        let panels = lane.a.bytes_mut().chunks_exact_mut(panel_bytes(width));
        let panels: Vec<_> = x
            .zip(panels)
            .map(|(x, panel)| (x, panel, hidden.next().unwrap_or_default()))
            .collect();
        panels.into_par_iter().for_each(|(x, panel, hidden)| {
            kernel.dispatch(NormalizePanel {
                norm,
                x,
                panel,
                hidden,
            });
        });
        lane.sync_to_device(width)
    }

    /// Adds the lane's product to its rows of the residual stream.
    pub fn add_residual(
        &mut self,
        projection: &Projection,
        lane: &mut Lane,
    ) -> Result<(), NpuError> {
        lane.sync_from_device(projection)?;
        let width = self.config.audio_state;
        let (product, values) = (
            lane.product(projection),
            width * lane.rows.start..width * lane.rows.end,
        );
        let x = self.workspace.x[values].par_chunks_exact_mut(width);
        x.enumerate().with_min_len(BLOCK).for_each(|(row, x)| {
            let mut sums = [0.0; TILE];
            for (tile, x) in x.chunks_exact_mut(TILE).enumerate() {
                product.read(row, tile, &mut sums);
                x.iter_mut().zip(sums).for_each(|(x, sum)| *x += sum);
            }
        });
        Ok(())
    }

    /// GELU of the lane's product, to its A.
    pub fn gelu(&self, projection: &Projection, lane: &mut Lane) -> Result<(), NpuError> {
        lane.sync_from_device(projection)?;
        let (kernel, depth) = (self.kernel, projection.bias.len());
        let bytes = lane.a_bytes(depth);
        let Lane { rows, a, c } = &mut *lane;
        let (count, product) = (rows.len(), Product::new(projection, c.bytes()));
        let tiles = a.bytes_mut()[..bytes].par_chunks_exact_mut(A_TILE_BYTES);
        tiles.enumerate().for_each(|(index, tile)| {
            let (panel, column) = (index / (depth / TILE), index % (depth / TILE));
            kernel.dispatch(GeluTile {
                product,
                first: panel * TILE_ROWS,
                count: TILE_ROWS.min(count - panel * TILE_ROWS),
                column,
                tile,
            });
        });
        lane.sync_to_device(depth)
    }

    /// Splits the product of the last of `lanes` into queries, keys and values of each head, in the
    /// orders in which attention takes them. A block of rows waits for the lane that has its last
    /// row.
    pub fn unpack_qkv(
        &mut self,
        projection: &Projection,
        lanes: &mut [Lane],
    ) -> Result<(), NpuError> {
        let Some(last) = lanes.last_mut() else {
            return Ok(());
        };
        last.sync_from_device(projection)?;
        let last = last.rows.clone();
        let lanes = &*lanes;
        let (kernel, heads_of_row) = (self.kernel, self.config.audio_heads);
        let (scratches, context) = (&self.scratches, self.context);
        let tasks = self.workspace.heads.par_iter_mut().enumerate();
        tasks.for_each(|(task, heads)| {
            let (block, head) = (task / heads_of_row, task % heads_of_row);
            let (first, count) = (block * BLOCK, rows_in_block(block, context));
            if count == 0 || !last.contains(&(first + count - 1)) {
                return;
            }
            let qkv = [0, 1, 2].map(|part| HeadRows {
                lanes,
                projection,
                tile: part * heads_of_row + head,
                first,
                count,
            });
            scratches.with(|scratch| heads.fill(kernel, count, qkv, &mut scratch.head));
        });
        Ok(())
    }

    /// Attention of the lane's queries to all keys, which must be unpacked, to its A. A block of
    /// queries belongs to the lane that has its first row.
    pub fn attend(&mut self, lane: &mut Lane) -> Result<(), NpuError> {
        attend(
            self.kernel,
            &mut self.workspace,
            &self.scratches,
            self.context,
            lane.rows.clone(),
        );
        // Each head is one tile of A.
        let (kernel, heads) = (self.kernel, self.config.audio_heads);
        let (attended, rows) = (&self.workspace.attended, lane.rows.clone());
        let head_len = attended.len() / heads;
        let bytes = lane.a_bytes(self.config.audio_state);
        let tiles = lane.a.bytes_mut()[..bytes].par_chunks_exact_mut(A_TILE_BYTES);
        tiles.enumerate().for_each(|(index, tile)| {
            let (panel, head) = (index / heads, index % heads);
            let first = rows.start + panel * TILE_ROWS;
            let last = rows.end.min(first + TILE_ROWS);
            let head = &attended[head * head_len..][..head_len];
            let rows = &head[first * TILE..last * TILE];
            kernel.dispatch(PackTile { rows, tile });
        });
        lane.sync_to_device(self.config.audio_state)
    }
}

/// Splits the lane's product, keys and values of the cross-attention of `layers` side by side, into
/// the lane's rows of each of them.
pub fn unpack_cross_kv(
    projection: &Projection,
    lane: &mut Lane,
    layers: &mut [CrossKv],
) -> Result<(), EncoderError> {
    lane.sync_from_device(projection)?;
    let product = lane.product(projection);
    let outputs = layers
        .iter_mut()
        .flat_map(|pair| [&mut pair.k, &mut pair.v]);
    for (part, out) in outputs.enumerate() {
        let width = out.ncols();
        let rows = width * lane.rows.start..width * lane.rows.end;
        let out = contiguous(out)?[rows].par_chunks_exact_mut(width);
        out.enumerate().with_min_len(BLOCK).for_each(|(row, out)| {
            for (tile, out) in out.chunks_exact_mut(TILE).enumerate() {
                product.read(row, part * width / TILE + tile, out);
            }
        });
    }
    Ok(())
}

pub fn contiguous(array: &mut Array2<f32>) -> Result<&mut [f32], EncoderError> {
    array.as_slice_mut().ok_or(EncoderError::NonContiguous)
}
