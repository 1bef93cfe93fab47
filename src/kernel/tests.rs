// SPDX-License-Identifier: MPL-2.0
//! Every kernel of this machine, the portable one included, against plain loops in f64.

use super::attention::{Attend, Scores, scores_width};
use super::buffer::Buffer;
use super::gemm::{Gemm, Rows};
use super::math;
use super::norm::{Norm, Normalize};
use super::pack::Packed;
use super::sink::{AddTo, Gelu, GeluPlus, Identity, Keys, ToFloats, ToValues, Values};
use super::*;

/// Something that every kernel promises.
trait Promise {
    fn check<K: Kernel>(&self, kernel: K);

    fn check_all(&self) {
        self.check(portable::Portable);
        #[cfg(target_arch = "x86_64")]
        {
            avx2::Avx2::detect()
                .into_iter()
                .for_each(|kernel| self.check(kernel));
            avx512::Avx512::<f32>::detect()
                .into_iter()
                .for_each(|kernel| self.check(kernel));
            avx512::Avx512::<half::bf16>::detect()
                .into_iter()
                .for_each(|kernel| self.check(kernel));
        }
        #[cfg(target_arch = "aarch64")]
        neon::Neon::detect()
            .into_iter()
            .for_each(|kernel| self.check(kernel));
    }
}

/// Reproducible numbers in [-1, 1) (Knuth's MMIX congruential generator).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

fn values<K: Kernel>(x: &[f32]) -> Vec<K::Value> {
    x.iter().map(|x| K::value(*x)).collect()
}

/// What `x` is after rounding to the kernel's values.
fn rounded<K: Kernel>(x: f32) -> f64 {
    f64::from(K::value(x).into())
}

/// Rounding of a result to the kernel's values: 2^-9 for bf16, where x has at most `size`.
fn rounding<K: Kernel>(size: f64) -> f64 {
    size * if size_of::<K::Value>() == 2 {
        1.0 / 256.0
    } else {
        1e-6
    }
}

#[track_caller]
fn assert_close<K: Kernel>(found: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (found - expected).abs();
    assert!(
        error <= tolerance,
        "{}: {what}: {found} instead of {expected}",
        K::NAME
    );
}

/// A product with everything that may be odd, and its expected result.
struct Product {
    depth: usize,
    stride: usize,
    left: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Product {
    fn new<K: Kernel>(rows: usize, columns: usize, depth: usize, stride: usize) -> Self {
        let mut random = Random(rows as u64 * 31 + columns as u64 * 7 + depth as u64);
        let whole_depth = depth.next_multiple_of(K::GROUP);
        let left_len = (rows.next_multiple_of(tile_rows::<K>()) - 1) * stride + whole_depth;
        Self {
            depth,
            stride,
            left: random.floats(left_len),
            weight: random.floats(columns * depth),
            bias: random.floats(columns),
        }
    }

    fn expected<K: Kernel>(&self, row: usize, column: usize) -> f64 {
        let weight = &self.weight[column * self.depth..][..self.depth];
        let left = &self.left[row * self.stride..];
        let sum: f64 = weight
            .iter()
            .zip(left)
            .map(|(w, x)| rounded::<K>(*w) * rounded::<K>(*x))
            .sum();
        sum + f64::from(self.bias[column])
    }
}

/// Sizes that are no multiple of any tile, and rows that overlap or have gaps between them.
const ODD: [(usize, usize, usize, usize); 5] = [
    (1, 1, 1, 2),
    (13, 33, 7, 9),
    (25, 65, 64, 80),
    (30, 40, 24, 8),
    (97, 31, 130, 132),
];

struct Multiplication;

impl Promise for Multiplication {
    fn check<K: Kernel>(&self, kernel: K) {
        for (rows, columns, depth, stride) in ODD {
            let product = Product::new::<K>(rows, columns, depth, stride);
            let packed = Packed::<K>::new(&product.weight, &product.bias, depth, 1.0);
            let width = columns.next_multiple_of(K::COLUMNS);
            let mut out = vec![f32::NAN; rows * width];
            let left = values::<K>(&product.left);
            kernel.vectorize(Gemm {
                left: Rows {
                    values: &left,
                    stride,
                    count: rows,
                },
                right: packed.all(),
                sink: ToFloats {
                    out: &mut out,
                    width,
                },
            });
            for (row, column) in
                (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)))
            {
                let expected = product.expected::<K>(row, column);
                let found = f64::from(out[row * width + column]);
                assert_close::<K>(
                    found,
                    expected,
                    2e-5,
                    &format!("({row}, {column}) of {rows} x {columns} x {depth}"),
                );
            }
        }
    }
}

#[test]
fn a_product_of_any_size_and_stride_is_that_of_plain_loops() {
    Multiplication.check_all();
}

struct Writing;

impl Promise for Writing {
    fn check<K: Kernel>(&self, kernel: K) {
        let (rows, columns, depth) = (tile_rows::<K>() * 2, 64, 48);
        let product = Product::new::<K>(rows, columns, depth, depth);
        let packed = Packed::<K>::new(&product.weight, &product.bias, depth, 1.0);
        let left = values::<K>(&product.left);
        let table = Random(5).floats(rows * columns);
        let (mut added, mut activated) = (table.clone(), vec![0.0; rows * columns]);
        let (mut plain, mut gelu) = (
            vec![K::Value::default(); rows * columns],
            vec![K::Value::default(); rows * columns],
        );
        let left = || Rows {
            values: &left,
            stride: depth,
            count: rows,
        };
        let right = packed.all();
        let width = columns;
        kernel.vectorize(Gemm {
            left: left(),
            right,
            sink: AddTo {
                out: &mut added,
                width,
            },
        });
        kernel.vectorize(Gemm {
            left: left(),
            right,
            sink: GeluPlus {
                table: &table,
                out: &mut activated,
                width,
            },
        });
        kernel.vectorize(Gemm {
            left: left(),
            right,
            sink: ToValues::new(&mut plain, width, Identity),
        });
        kernel.vectorize(Gemm {
            left: left(),
            right,
            sink: ToValues::new(&mut gelu, width, Gelu),
        });
        for i in 0..rows * columns {
            let y = product.expected::<K>(i / columns, i % columns);
            let (table, activation) = (f64::from(table[i]), exact_gelu(y));
            assert_close::<K>(added[i].into(), y + table, 2e-5, "sum");
            assert_close::<K>(
                activated[i].into(),
                activation + table,
                2e-5,
                "activation and sum",
            );
            assert_close::<K>(
                f64::from(plain[i].into()),
                y,
                2e-5 + rounding::<K>(y.abs()),
                "values",
            );
            assert_close::<K>(
                f64::from(gelu[i].into()),
                activation,
                2e-5 + rounding::<K>(activation.abs()),
                "activated values",
            );
        }
    }
}

#[test]
fn each_sink_does_to_a_product_what_its_name_says() {
    Writing.check_all();
}

/// x Φ(x) in f64, by Simpson's rule over the normal density.
fn exact_gelu(x: f64) -> f64 {
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
    fn apply<L: Lanes>(&self, lanes: L, x: L::Vector) -> L::Vector;
}

struct Exp2;
struct ExactGelu;

impl Function for Exp2 {
    #[inline(always)]
    fn apply<L: Lanes>(&self, lanes: L, x: L::Vector) -> L::Vector {
        math::exp2(lanes, x)
    }
}

impl Function for ExactGelu {
    #[inline(always)]
    fn apply<L: Lanes>(&self, lanes: L, x: L::Vector) -> L::Vector {
        math::gelu(lanes, x)
    }
}

impl<K: Kernel, A: Function> Operation<K> for Map<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: K) {
        for x in self.x.chunks_exact_mut(K::LANES) {
            kernel.store(self.function.apply(kernel, kernel.load(x)), x);
        }
    }
}

struct Functions;

impl Promise for Functions {
    fn check<K: Kernel>(&self, kernel: K) {
        let x: Vec<f32> = (-4000..4000).map(|i| i as f32 / 257.0).collect();
        let (mut exp2, mut gelu) = (x.clone(), x.clone());
        kernel.vectorize(Map {
            x: &mut exp2,
            function: Exp2,
        });
        kernel.vectorize(Map {
            x: &mut gelu,
            function: ExactGelu,
        });
        for i in 0..x.len() {
            let exact = f64::from(x[i]).exp2();
            assert_close::<K>(exp2[i].into(), exact, 3e-6 * exact, "2^x");
            assert_close::<K>(gelu[i].into(), exact_gelu(x[i].into()), 1.5e-6, "gelu");
        }

        let mut far = [f32::NEG_INFINITY, -1e30, -200.0, -126.5].repeat(K::LANES);
        kernel.vectorize(Map {
            x: &mut far,
            function: Exp2,
        });
        assert!(
            far.iter().all(|y| (0.0..1e-37).contains(y)),
            "{}: {far:?}",
            K::NAME
        );
        let mut whole: Vec<f32> = (-100..100).map(|i| i as f32).collect();
        kernel.vectorize(Map {
            x: &mut whole,
            function: Exp2,
        });
        for (i, y) in whole.iter().enumerate().take(192) {
            let exact = (i as f64 - 100.0).exp2();
            assert_close::<K>((*y).into(), exact, 3e-6 * exact, "2 to a whole number");
        }
        let mut ends = [-1e20, -40.0, 40.0, 1e20].repeat(K::LANES);
        kernel.vectorize(Map {
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
fn exp2_and_gelu_are_exact_to_a_few_millionths() {
    Functions.check_all();
}

struct Normalisation;

impl Promise for Normalisation {
    fn check<K: Kernel>(&self, kernel: K) {
        let (rows, width, stride) = (5, 96, 99);
        let mut random = Random(9);
        let x: Vec<f32> = random
            .floats(rows * width)
            .iter()
            .map(|x| 3.0 * x + 10.0)
            .collect();
        let norm = Norm {
            weight: random.floats(width),
            bias: random.floats(width),
        };
        let mut out = vec![K::Value::default(); rows * stride];
        let mut floats = vec![0.0; 2 * width];
        kernel.vectorize(Normalize {
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
fn rows_are_normalised_to_values_and_as_far_as_there_is_room_to_floats() {
    Normalisation.check_all();
}

struct Attention {
    context: usize,
}

impl Promise for Attention {
    fn check<K: Kernel>(&self, kernel: K) {
        const WIDTH: usize = 64;
        let rows = self.context.next_multiple_of(96);
        let mut random = Random(self.context as u64);
        // Projections by the unit matrix: queries, keys and values are the rounded inputs, laid out by the sinks.
        let unit: Vec<f32> = (0..WIDTH * WIDTH)
            .map(|i| if i % (WIDTH + 1) == 0 { 1.0 } else { 0.0 })
            .collect();
        let unit = Packed::<K>::new(&unit, &[], WIDTH, 1.0);
        let [q, k, v] = [4.0, 4.0, 1.0].map(|scale| -> Vec<f32> {
            random
                .floats(rows * WIDTH)
                .iter()
                .map(|x| x * scale)
                .collect()
        });
        let buffer = || Buffer::<K::Value>::new(rows * WIDTH);
        let (mut queries, mut keys, mut mixed_values, mut out) =
            (buffer(), buffer(), buffer(), buffer());
        let [q_values, k_values, v_values] = [&q, &k, &v].map(|x| values::<K>(x));
        let left = |values| Rows {
            values,
            stride: WIDTH,
            count: self.context,
        };
        let right = unit.all();
        kernel.vectorize(Gemm {
            left: left(&q_values),
            right,
            sink: ToValues::new(&mut queries, WIDTH, Identity),
        });
        kernel.vectorize(Gemm {
            left: left(&k_values),
            right,
            sink: Keys {
                out: &mut keys,
                head_width: WIDTH,
                first: 0,
            },
        });
        kernel.vectorize(Gemm {
            left: left(&v_values),
            right,
            sink: Values {
                out: &mut mixed_values,
                head_width: WIDTH,
                first: 0,
            },
        });

        let room = tile_rows::<K>() * scores_width::<K>(self.context);
        let len = self.context.next_multiple_of(tile_rows::<K>()) * WIDTH;
        kernel.vectorize(Attend {
            queries: &queries[..len],
            keys: &keys,
            values: &mixed_values,
            context: self.context,
            head_width: WIDTH,
            out: &mut out[..len],
            scratch: Scores {
                scores: &mut Buffer::new(room),
                mask: &mut Buffer::new(room),
                weights: &mut Buffer::new(room),
            },
        });
        let row = |x: &[f32], row: usize| -> Vec<f64> {
            x[row * WIDTH..][..WIDTH]
                .iter()
                .map(|x| rounded::<K>(*x))
                .collect()
        };
        for query in 0..self.context {
            let q = row(&q, query);
            let scores: Vec<f64> = (0..self.context)
                .map(|key| row(&k, key).iter().zip(&q).map(|(k, q)| k * q).sum())
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp2()).collect();
            let sum: f64 = weights.iter().sum();
            for column in 0..WIDTH {
                let y: f64 = weights
                    .iter()
                    .enumerate()
                    .map(|(key, weight)| weight * rounded::<K>(v[key * WIDTH + column]))
                    .sum::<f64>()
                    / sum;
                let found = f64::from(out[query * WIDTH + column].into());
                assert_close::<K>(
                    found,
                    y,
                    2e-5 + rounding::<K>(1.0),
                    &format!("({query}, {column}) of {}", self.context),
                );
            }
        }
    }
}

#[test]
fn attention_over_any_number_of_keys_is_that_of_plain_loops() {
    for context in [1, 31, 100, 193] {
        Attention { context }.check_all();
    }
}
