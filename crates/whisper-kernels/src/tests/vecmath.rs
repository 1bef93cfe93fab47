// SPDX-License-Identifier: MPL-2.0
//! Functions of single numbers, and layer normalisation.

use super::*;
use crate::layer_norm::{LayerNorm, Normalize};
use crate::vecmath;

/// x Φ(x) in f64, by Simpson's rule over the normal density.
pub fn exact_gelu(x: f64) -> f64 {
    let (steps, density) = (2000, |t: f64| {
        (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt()
    });
    let h = x / f64::from(steps);
    let inner: f64 = (1..steps)
        .map(|i| density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 })
        .sum();
    x * (0.5 + (density(0.0) + inner + density(x)) * h / 3.0)
}

struct Map<'a, A> {
    x: &'a mut [f32],
    function: A,
}

trait Function {
    fn apply<L: SimdF32>(&self, lanes: L, x: L::Vector) -> L::Vector;
}

struct Exp2;
struct ExactGelu;
struct Sigmoid;
struct Tanh;

impl Function for Sigmoid {
    #[inline(always)]
    fn apply<L: SimdF32>(&self, lanes: L, x: L::Vector) -> L::Vector {
        vecmath::sigmoid(lanes, x)
    }
}

impl Function for Tanh {
    #[inline(always)]
    fn apply<L: SimdF32>(&self, lanes: L, x: L::Vector) -> L::Vector {
        vecmath::tanh(lanes, x)
    }
}

impl Function for Exp2 {
    #[inline(always)]
    fn apply<L: SimdF32>(&self, lanes: L, x: L::Vector) -> L::Vector {
        vecmath::exp2(lanes, x)
    }
}

impl Function for ExactGelu {
    #[inline(always)]
    fn apply<L: SimdF32>(&self, lanes: L, x: L::Vector) -> L::Vector {
        vecmath::gelu(lanes, x)
    }
}

impl<K: GemmKernel, A: Function> SimdOp<K> for Map<'_, A> {
    type Output = ();

    #[inline(always)]
    fn eval(self, kernel: K) {
        for x in self.x.chunks_exact_mut(K::LANES) {
            kernel.store(self.function.apply(kernel, kernel.load(x)), x);
        }
    }
}

struct Functions;

impl KernelTest for Functions {
    fn check<K: GemmKernel>(&self, kernel: K) {
        let x: Vec<f32> = (-4000..4000).map(|i| i as f32 / 257.0).collect();
        let (mut exp2, mut gelu) = (x.clone(), x.clone());
        kernel.dispatch(Map {
            x: &mut exp2,
            function: Exp2,
        });
        kernel.dispatch(Map {
            x: &mut gelu,
            function: ExactGelu,
        });
        for i in 0..x.len() {
            let exact = f64::from(x[i]).exp2();
            assert_close::<K>(exp2[i].into(), exact, 3e-6 * exact, "2^x");
            assert_close::<K>(gelu[i].into(), exact_gelu(x[i].into()), 1.5e-6, "gelu");
        }

        let mut far = [f32::NEG_INFINITY, -1e30, -200.0, -126.5].repeat(K::LANES);
        kernel.dispatch(Map {
            x: &mut far,
            function: Exp2,
        });
        for y in far {
            let least = f64::from(vecmath::MIN_EXPONENT).exp2();
            assert_close::<K>(y.into(), least, 3e-6 * least, "what is far below");
        }
        let mut whole: Vec<f32> = (-100..100).map(|i| i as f32).collect();
        kernel.dispatch(Map {
            x: &mut whole,
            function: Exp2,
        });
        for (i, y) in whole.iter().enumerate().take(192) {
            let exact = (i as f64 - 100.0).exp2();
            assert_close::<K>((*y).into(), exact, 3e-6 * exact, "2 to a whole number");
        }
        let mut ends = [-1e20, -40.0, 40.0, 1e20].repeat(K::LANES);
        kernel.dispatch(Map {
            x: &mut ends,
            function: ExactGelu,
        });
        for ends in ends.chunks_exact(4) {
            assert!(
                ends[0].abs() < 1e-6 && ends[1].abs() < 1e-6 && ends[2] == 40.0 && ends[3] == 1e20,
                "{}: {ends:?}",
                K::NAME
            );
        }
    }
}

#[test]
fn exp2_and_gelu_keep_their_error_bounds() {
    Functions.check_all();
}

struct Gates;

impl KernelTest for Gates {
    fn check<K: GemmKernel>(&self, kernel: K) {
        let mut x: Vec<f32> = (-4000..4000).map(|i| i as f32 / 257.0).collect();
        x.extend([-1e30, -100.0, -60.0, -40.0, 40.0, 60.0, 100.0, 1e30].repeat(2));
        let (mut sigmoid, mut tanh) = (x.clone(), x.clone());
        kernel.dispatch(Map {
            x: &mut sigmoid,
            function: Sigmoid,
        });
        kernel.dispatch(Map {
            x: &mut tanh,
            function: Tanh,
        });
        for (i, x) in x.iter().map(|x| f64::from(*x)).enumerate() {
            let share = 1.0 / (1.0 + (-x).exp());
            assert_close::<K>(sigmoid[i].into(), share, 1.5e-6, "sigmoid");
            assert_close::<K>(tanh[i].into(), x.tanh(), 3e-6, "tanh");
        }
    }
}

#[test]
fn sigmoid_and_tanh_keep_their_error_bounds() {
    Gates.check_all();
}

struct Normalisation;

impl KernelTest for Normalisation {
    fn check<K: GemmKernel>(&self, kernel: K) {
        let (rows, width, stride) = (5, 96, 99);
        let mut random = Random(9);
        let x: Vec<f32> = random
            .floats(rows * width)
            .iter()
            .map(|x| 3.0 * x + 10.0)
            .collect();
        let norm = LayerNorm {
            weight: random.floats(width),
            bias: random.floats(width),
        };
        let mut out = vec![K::Value::default(); rows * stride];
        let mut floats = vec![0.0; 2 * width];
        kernel.dispatch(Normalize {
            norm: &norm,
            x: &x,
            out: &mut out,
            stride,
            floats: &mut floats,
        });
        for (row, x) in x.chunks_exact(width).enumerate() {
            let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
            let variance = x
                .iter()
                .map(|x| (f64::from(*x) - mean).powi(2))
                .sum::<f64>()
                / width as f64;
            for i in 0..width {
                let y = (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt()
                    * f64::from(norm.weight[i])
                    + f64::from(norm.bias[i]);
                assert_close::<K>(
                    f64::from(out[row * stride + i].into()),
                    y,
                    1e-5 + rounding::<K>(y.abs()),
                    "values",
                );
                if let Some(found) = floats.get(row * width + i) {
                    assert_close::<K>((*found).into(), y, 1e-5, "floats");
                }
            }
        }
    }
}

#[test]
fn normalize_matches_plain_loops() {
    Normalisation.check_all();
}
