// SPDX-License-Identifier: MPL-2.0
//! What comes before the layers: two convolutions along time, and the positions.

use rayon::prelude::*;

use super::graph::{normalize, row_blocks, rows_of};
use super::weights::Stem;
use super::workspace::{BLOCK, Workspace};
use whisper_kernels::epilogue::{Gelu, GeluAddTable, StoreValues};
use whisper_kernels::gemm::{Gemm, Rows};
use whisper_kernels::layer_norm::LayerNorm;
use whisper_kernels::{EncoderKernel, SimdOp};

/// Both convolutions, and `first_norm` of what comes of them, to the workspace.
pub(in crate::encoder) fn convolve<K: EncoderKernel>(
    kernel: K,
    stem_weights: &Stem<K>,
    first_norm: Option<&LayerNorm>,
    workspace: &mut Workspace<K>,
    mel: &[f32],
    context: usize,
) {
    let (width, n_mels) = (stem_weights.width(), stem_weights.n_mels());
    let frames = 2 * context;

    let (_, rows) = workspace.mel.split_at_mut(n_mels);
    kernel.dispatch(Narrow {
        from: &mel[..frames * n_mels],
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
                    count: rows_of(block, frames),
                },
                right: stem_weights.conv1.view(),
                epilogue: StoreValues::new(stem, width, Gelu),
            });
        });
    stem[frames * width..][..width].fill(K::Value::default());

    let stem = &workspace.stem;
    row_blocks(&mut workspace.x, &mut workspace.normed, width, context).for_each(
        |(block, (x, normed))| {
            let rows = rows_of(block, context);
            kernel.dispatch(Gemm {
                left: Rows {
                    values: &stem[2 * block * BLOCK * width..],
                    stride: 2 * width,
                    count: rows,
                },
                right: stem_weights.conv2.view(),
                epilogue: GeluAddTable {
                    table: &stem_weights.positions[block * BLOCK * width..context * width],
                    out: x,
                    width,
                },
            });
            if let Some(norm) = first_norm {
                normalize(kernel, norm, x, normed, &mut []);
            }
        },
    );
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
