// SPDX-License-Identifier: MPL-2.0
//! Multiplication of rows of 8 bits.

use super::*;
use crate::kernel::buffer::stride;
use crate::kernel::bytes::{ByteWeights, Bytes};
use crate::kernel::linear::{Linear, ValueRows};
use crate::kernel::sink::ToFloats;

/// `x`, and what it is in 127 steps of the largest number.
fn in_steps(x: &[f64]) -> Vec<f64> {
    let most = x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let step = if most > 0.0 { most / 127.0 } else { 1.0 };
    x.iter().map(|x| (x / step).round() * step).collect()
}

fn check<K: Bytes>(kernel: K) {
    for (rows, columns, depth) in [(1, 1, 1), (13, 33, 64), (12, 64, 384), (30, 70, 133)] {
        let mut random = Random((rows * columns * depth) as u64);
        let left = random.floats(rows * depth);
        let weight = random.floats(columns * depth);
        let bias = random.floats(columns);
        let right = ByteWeights::<K>::new(&weight, &bias, depth, 0.5);

        let whole = rows.next_multiple_of(tile_rows::<K>());
        let mut values = vec![K::Value::default(); whole * stride::<K::Value>(depth)];
        for (to, from) in values
            .chunks_exact_mut(stride::<K::Value>(depth))
            .zip(left.chunks_exact(depth))
        {
            to.iter_mut()
                .zip(from)
                .for_each(|(to, x)| *to = K::value(*x));
        }
        let mut room = vec![0; ByteWeights::<K>::room(whole, depth)];
        let prepared =
            ByteWeights::prepare(kernel, ValueRows::new(&values, depth, whole), &mut room);
        let width = right.outputs();
        let mut out = vec![f32::NAN; rows * width];
        let sink = ToFloats {
            out: &mut out,
            width,
        };
        right.multiply(kernel, prepared, rows, sink);

        for (row, x) in left.chunks_exact(depth).enumerate() {
            let x: Vec<f64> = x.iter().map(|x| rounded::<K>(*x)).collect();
            let x = in_steps(&x);
            for (column, weight) in weight.chunks_exact(depth).enumerate() {
                let weight: Vec<f64> = weight.iter().map(|w| f64::from(*w)).collect();
                let product: f64 = in_steps(&weight).iter().zip(&x).map(|(w, x)| w * x).sum();
                // Numbers halfway between two steps, each at most 1 / 127, may go to either.
                let tolerance = 8.0 * 0.5 / 127.0;
                assert_close::<K>(
                    out[row * width + column].into(),
                    0.5 * (product + f64::from(bias[column])),
                    tolerance,
                    &format!("({row}, {column}) of {rows} x {columns} x {depth}"),
                );
            }
        }
    }
}

#[test]
fn a_product_of_bytes_is_that_of_plain_loops_with_the_rounded_numbers() {
    check(portable::Portable);
    #[cfg(target_arch = "x86_64")]
    avx512::Avx512::<half::bf16>::detect()
        .into_iter()
        .for_each(check);
}

#[test]
fn the_largest_sums_are_kept() {
    fn check<K: Bytes>(kernel: K) {
        let (depth, rows) = (5120, tile_rows::<K>());
        let right = ByteWeights::<K>::new(&vec![-3.0; depth], &[1.0], depth, 1.0);
        let values = vec![K::value(2.0); rows * stride::<K::Value>(depth)];
        let mut room = vec![0; ByteWeights::<K>::room(rows, depth)];
        let left = ByteWeights::prepare(kernel, ValueRows::new(&values, depth, rows), &mut room);
        let width = right.outputs();
        let mut out = vec![f32::NAN; rows * width];
        let sink = ToFloats {
            out: &mut out,
            width,
        };
        right.multiply(kernel, left, rows, sink);
        assert_close::<K>(out[0].into(), -30719.0, 0.1, "largest");
    }
    check(portable::Portable);
    #[cfg(target_arch = "x86_64")]
    avx512::Avx512::<half::bf16>::detect()
        .into_iter()
        .for_each(check);
}
