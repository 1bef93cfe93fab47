// SPDX-License-Identifier: MPL-2.0
//! The layers that Whisper's encoder and decoder share, on candle tensors (CPU, f32, row-major).

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use whisper_model::{Model, ModelError};

/// A tensor of the model by its canonical name, in f32.
pub fn load(model: &Model, name: &str) -> std::result::Result<Tensor, ModelError> {
    let weight = model.weight(name)?;
    Tensor::from_vec(weight.to_f32(), weight.shape.as_slice(), &Device::Cpu).map_err(|error| {
        ModelError::Malformed {
            path: model.path.clone(),
            what: format!("{name}: {error}"),
        }
    })
}

/// `y = x Wᵀ + b` for rows `x`, `[n, in]`, with `W`, `[out, in]`, and `b`, `[out]`.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// `name.weight`, and `name.bias` where the model has one (Whisper's key projections have
    /// none).
    pub fn load(model: &Model, name: &str) -> std::result::Result<Self, ModelError> {
        let bias = format!("{name}.bias");
        Ok(Self {
            weight: load(model, &format!("{name}.weight"))?,
            bias: model
                .has_weight(&bias)
                .then(|| load(model, &bias))
                .transpose()?,
        })
    }

    /// `[n, in]` to `[n, out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// Layer normalisation over the last axis, ε = 1e-5 as in Whisper.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    /// `name.weight` and `name.bias`.
    pub fn load(model: &Model, name: &str) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            weight: load(model, &format!("{name}.weight"))?,
            bias: load(model, &format!("{name}.bias"))?,
        })
    }

    /// Normalises each row of `[n, d]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(&Standardize)?
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)
    }
}

/// The MLP of a residual attention block: `fc2(GELU(fc1(x)))`, GELU in its exact (erf) form.
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// `name.fc1` and `name.fc2`.
    pub fn load(model: &Model, name: &str) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            fc1: Linear::load(model, &format!("{name}.fc1"))?,
            fc2: Linear::load(model, &format!("{name}.fc2"))?,
        })
    }

    /// `[n, d]` to `[n, d]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(x)?.gelu_erf()?)
    }
}

/// `[n, d]` to `[heads, n, d / heads]`, contiguous.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    x.reshape((rows, heads, width / heads))?
        .transpose(0, 1)?
        .contiguous()
}

/// `[heads, n, d / heads]` back to `[n, d]`.
pub fn join_heads(x: &Tensor) -> Result<Tensor> {
    let (heads, rows, width) = x.dims3()?;
    x.transpose(0, 1)?.reshape((rows, heads * width))
}

/// Softmax over the last axis.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Softmax)
}

struct Softmax;
struct Standardize;

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        map_rows(storage, layout, |x, y| {
            let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for (y, x) in y.iter_mut().zip(x) {
                *y = (x - max).exp();
                sum += *y;
            }
            let scale = 1.0 / sum;
            y.iter_mut().for_each(|y| *y *= scale);
        })
    }
}

impl CustomOp1 for Standardize {
    fn name(&self) -> &'static str {
        "standardize"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        map_rows(storage, layout, |x, y| {
            let n = x.len() as f32;
            let mean = x.iter().sum::<f32>() / n;
            let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n;
            let scale = 1.0 / (variance + 1e-5).sqrt();
            for (y, x) in y.iter_mut().zip(x) {
                *y = (x - mean) * scale;
            }
        })
    }
}

/// Applies `map` to each row of the last axis, rows shared among the threads.
fn map_rows(
    storage: &CpuStorage,
    layout: &Layout,
    map: impl Fn(&[f32], &mut [f32]) + Sync,
) -> Result<(CpuStorage, Shape)> {
    use rayon::prelude::*;

    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("rows must be contiguous")
    };
    let input = &storage.as_slice::<f32>()?[start..end];
    let width = layout.dims().last().copied().unwrap_or(1).max(1);
    let mut output = vec![0.0; input.len()];
    // Below this size the hand-over to other threads costs more than the rows.
    let rows_per_job = (1_usize << 14).div_ceil(width);
    output
        .par_chunks_mut(width * rows_per_job)
        .zip(input.par_chunks(width * rows_per_job))
        .for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                map(x, y);
            }
        });
    Ok((CpuStorage::F32(output), layout.shape().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_and_keeps_the_order() {
        let x = Tensor::new(&[[1f32, 2., 3.], [1000., 0., -1000.]], &Device::Cpu).unwrap();
        let rows = softmax(&x).unwrap().to_vec2::<f32>().unwrap();
        for row in &rows {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
        assert!(rows[0][0] < rows[0][1] && rows[0][1] < rows[0][2]);
        assert_eq!(rows[1][0], 1.0);
    }

    #[test]
    fn standardized_rows_have_mean_zero_and_variance_one() {
        let x = Tensor::new(&[[1f32, 2., 3., 4.]], &Device::Cpu).unwrap();
        let row = &x
            .apply_op1_no_bwd(&Standardize)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()[0];
        assert!(row.iter().sum::<f32>().abs() < 1e-6);
        assert!((row.iter().map(|x| x * x).sum::<f32>() / 4.0 - 1.0).abs() < 1e-4);
    }

    #[test]
    fn split_heads_are_joined_to_the_same_rows() {
        let x = Tensor::arange(0f32, 24., &Device::Cpu)
            .unwrap()
            .reshape((3, 8))
            .unwrap();
        let back = join_heads(&split_heads(&x, 2).unwrap()).unwrap();
        assert_eq!(x.to_vec2::<f32>().unwrap(), back.to_vec2::<f32>().unwrap());
    }
}
