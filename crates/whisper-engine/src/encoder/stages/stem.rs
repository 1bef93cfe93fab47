// SPDX-License-Identifier: MPL-2.0
//! What comes before the layers: two convolutions along time, and the positions.

use rayon::prelude::*;

use super::blocks::{BLOCK, row_blocks, rows_in_block};
use super::norm::normalize;
use super::workspace::Workspace;
use crate::weights::floats;
use whisper_kernels::epilogue::{Gelu, GeluAddTable, StoreValues};
use whisper_kernels::gemm::{Gemm, Rows};
use whisper_kernels::layer_norm::LayerNorm;
use whisper_kernels::pack::PackedB;
use whisper_kernels::{EncoderKernel, SimdOp};
use whisper_model::{Model, ModelError};

/// The weights that turn mel rows into the first layer's input.
pub struct Stem<K: EncoderKernel> {
    /// `[d, 3 n_mels]`: a row has the weights of all inputs of one frame, then those of the next.
    conv1: PackedB<K>,
    /// `[d, 3 d]`, in the same order.
    conv2: PackedB<K>,
    /// `[audio_ctx, d]`
    positions: Vec<f32>,
    width: usize,
    n_mels: usize,
}

impl<K: EncoderKernel> Stem<K> {
    /// Packs the model's weights.
    ///
    /// # Errors
    /// A weight that the model lacks.
    pub fn load(model: &Model) -> Result<Self, ModelError> {
        Ok(Self {
            conv1: convolution(model, "model.encoder.conv1")?,
            conv2: convolution(model, "model.encoder.conv2")?,
            positions: floats(model, "model.encoder.embed_positions.weight")?,
            width: model.config.audio_state,
            n_mels: model.config.n_mels,
        })
    }

    /// Takes `mel`, `[2 context, n_mels]`, through both convolutions to the residual stream of
    /// `workspace`, and that through `first_norm`.
    pub fn apply(
        &self,
        kernel: K,
        mel: &[f32],
        first_norm: Option<&LayerNorm>,
        workspace: &mut Workspace<K>,
    ) {
        let frames = mel.len() / self.n_mels;
        self.convolve_frames(kernel, mel, workspace);

        let (context, width) = (frames / 2, self.width);
        let stem = &workspace.stem;
        let tasks = row_blocks(&mut workspace.x, &mut workspace.normed, width, context);
        tasks.for_each(|(block, (x, normed))| {
            kernel.dispatch(Gemm {
                left: Rows {
                    values: &stem[2 * block * BLOCK * width..],
                    stride: 2 * width,
                    count: rows_in_block(block, context),
                },
                right: self.conv2.view(),
                epilogue: GeluAddTable {
                    table: &self.positions[block * BLOCK * width..context * width],
                    out: x,
                    width,
                },
            });
            if let Some(norm) = first_norm {
                normalize(kernel, norm, x, normed, &mut []);
            }
        });
    }

    /// The first convolution, which keeps the number of frames, to [`Workspace::stem`].
    fn convolve_frames(&self, kernel: K, mel: &[f32], workspace: &mut Workspace<K>) {
        let (width, n_mels) = (self.width, self.n_mels);
        let frames = mel.len() / n_mels;
        let (_, rows) = workspace.mel.split_at_mut(n_mels);
        kernel.dispatch(Narrow {
            from: mel,
            to: rows,
        });
        rows[frames * n_mels..][..n_mels].fill(K::Value::default());

        let (_, stem) = workspace.stem.split_at_mut(width);
        let mel = &workspace.mel;
        stem.par_chunks_mut(BLOCK * width)
            .enumerate()
            .take(frames.div_ceil(BLOCK))
            .with_max_len(1)
            .for_each(|(block, stem)| {
                kernel.dispatch(Gemm {
                    left: Rows {
                        values: &mel[block * BLOCK * n_mels..],
                        stride: n_mels,
                        count: rows_in_block(block, frames),
                    },
                    right: self.conv1.view(),
                    epilogue: StoreValues::new(stem, width, Gelu),
                });
            });
        stem[frames * width..][..width].fill(K::Value::default());
    }
}

/// Packs weights that the file has as `[out, in, 3]`.
fn convolution<K: EncoderKernel>(model: &Model, name: &str) -> Result<PackedB<K>, ModelError> {
    let weight = model.weight(&format!("{name}.weight"))?;
    let (inputs, taps) = (weight.shape[1], weight.shape[2]);
    let values = weight.to_f32();
    let by_frame: Vec<f32> = values
        .chunks_exact(inputs * taps)
        .flat_map(|output| {
            (0..taps).flat_map(move |tap| output[tap..].iter().step_by(taps).copied())
        })
        .collect();
    let bias = floats(model, &format!("{name}.bias"))?;
    Ok(PackedB::new(&by_frame, &bias, inputs * taps, 1.0))
}

/// f32 to the kernel's values.
struct Narrow<'a, V> {
    from: &'a [f32],
    to: &'a mut [V],
}

impl<K: EncoderKernel> SimdOp<K> for Narrow<'_, K::Value> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        let whole = self.from.len() / K::LANES * K::LANES;
        for i in (0..whole).step_by(K::LANES) {
            kernel.narrow(kernel.load(&self.from[i..]), &mut self.to[i..]);
        }
        for i in whole..self.from.len() {
            self.to[i] = K::value(self.from[i]);
        }
    }
}
