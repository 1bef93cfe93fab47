// SPDX-License-Identifier: MPL-2.0
//! 8-bit weights times 16-bit activations.

use super::*;
use crate::epilogue::StoreF32;
use crate::quantize::{QuantizeRows, QuantizedRows};
use crate::w8a16::{GemmW8A16, PackedW8A16};

/// Numbers in groups whose sizes differ a hundredfold, as weights of real models do.
fn uneven(random: &mut Random, len: usize) -> Vec<f32> {
    let size = |i: usize| {
        if (i / 64).is_multiple_of(2) {
            1.0
        } else {
            0.01
        }
    };
    let x = random.floats(len);
    x.iter().enumerate().map(|(i, x)| x * size(i)).collect()
}

/// `x` in 127 steps of the largest number of its group of 64: what rounding may be off by, and the
/// rounded number.
fn rounded_weights(x: &[f32]) -> Vec<(f64, f64)> {
    let rounded_group = |group: &[f32]| {
        let most = group.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        let step = most / 127.0;
        let rounded = |x: &f32| match most {
            0.0 => 0.0,
            _ => f64::from((x * (127.0 / most)).round()) * f64::from(step),
        };
        let pairs = group.iter().map(|x| (f64::from(step) / 2.0, rounded(x)));
        pairs.collect::<Vec<_>>()
    };
    x.chunks(64).flat_map(rounded_group).collect()
}

/// `left` (rows, depth) times the weights, and how wide a row of the result is.
fn product<K: GemmKernel>(
    kernel: K,
    left: &[f32],
    depth: usize,
    right: &PackedW8A16<K>,
) -> (Vec<f32>, usize) {
    let rows = left.len() / depth;
    let mut digits = QuantizedRows::new::<K>(rows, depth);
    kernel.dispatch(QuantizeRows {
        rows: left.chunks_exact(depth),
        depth,
        out: &mut digits,
    });
    let width = right.view().columns();
    let mut out = vec![f32::NAN; rows * width];
    kernel.dispatch(GemmW8A16 {
        left: &digits,
        count: rows,
        right: right.view(),
        epilogue: StoreF32 {
            out: &mut out,
            width,
        },
    });
    (out, width)
}

struct Multiplication;

impl KernelTest for Multiplication {
    fn check<K: GemmKernel>(&self, kernel: K) {
        let sizes = [
            (1, 1, 1),
            (1, 70, 130),
            (13, 33, 64),
            (2, 31, 7),
            (4, 40, 65),
            (5, 33, 64),
            (30, 100, 200),
        ];
        for (rows, columns, depth) in sizes {
            let mut random = Random((rows * columns * depth) as u64);
            let left = random.floats(rows * depth);
            let weight = uneven(&mut random, columns * depth);
            let bias = random.floats(columns);
            let mut right = PackedW8A16::<K>::new(columns, depth);
            for (column, row) in weight.chunks_exact(depth).enumerate() {
                right.set(column, row, bias[column]);
            }
            let (out, width) = product(kernel, &left, depth, &right);
            for (row, x) in left.chunks_exact(depth).enumerate() {
                for (column, weight) in weight.chunks_exact(depth).enumerate() {
                    let weight = rounded_weights(weight);
                    let product: f64 = weight.iter().zip(x).map(|(w, x)| w.1 * f64::from(*x)).sum();
                    // Each activation, at most 1, is off by at most half of 1 / 32767.
                    let size: f64 = weight.iter().map(|w| w.1.abs()).sum();
                    assert_close::<K>(
                        out[row * width + column].into(),
                        product + f64::from(bias[column]),
                        1e-5 + size / 65534.0,
                        &format!("({row}, {column}) of {rows} x {columns} x {depth}"),
                    );
                }
            }
        }
    }
}

#[test]
fn w8a16_matches_plain_loops_with_rounded_weights() {
    Multiplication.check_all();
}

struct Embedding;

impl KernelTest for Embedding {
    fn check<K: GemmKernel>(&self, _: K) {
        let (columns, depth) = (37, 130);
        let weight = uneven(&mut Random(2), columns * depth);
        let mut embedding = PackedW8A16::<K>::new(columns, depth);
        let mut row = vec![f32::NAN; depth];
        for (column, weights) in weight.chunks_exact(depth).enumerate() {
            embedding.set(column, weights, 0.0);
        }
        for (column, weights) in weight.chunks_exact(depth).enumerate() {
            embedding.get(column, &mut row);
            let rounded = rounded_weights(weights);
            for ((found, weight), (half_step, _)) in row.iter().zip(weights).zip(rounded) {
                let tolerance = half_step * 1.0001;
                assert_close::<K>((*found).into(), (*weight).into(), tolerance, "embedding");
            }
        }
    }
}

#[test]
fn w8a16_gives_back_weights_to_half_a_step() {
    Embedding.check_all();
}

struct Extremes;

impl KernelTest for Extremes {
    fn check<K: GemmKernel>(&self, kernel: K) {
        // The largest sums there are, and rows of nothing.
        let depth = 192;
        let mut right = PackedW8A16::<K>::new(2, depth);
        right.set(0, &vec![-1.0; depth], 0.0);
        right.set(1, &vec![0.0; depth], 0.5);
        let left = [vec![1.0; depth], vec![0.0; depth], vec![-1e30; depth]].concat();
        let (out, width) = product(kernel, &left, depth, &right);
        let expected = [-192.0, 0.5, 0.0, 0.5, 1.92e32, 0.5];
        for (i, expected) in expected.into_iter().enumerate() {
            let found = f64::from(out[i / 2 * width + i % 2]);
            assert_close::<K>(found, expected, 1e-5 * f64::abs(expected), "extreme");
        }
    }
}

#[test]
fn w8a16_keeps_the_largest_sums_and_rows_of_zeros() {
    Extremes.check_all();
}
