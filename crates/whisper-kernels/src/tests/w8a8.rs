// SPDX-License-Identifier: MPL-2.0
//! 8-bit weights times 8-bit activations.

use super::*;
use crate::buffer::padded_stride;
use crate::epilogue::StoreF32;
use crate::linear::{Linear, ValueRows};
use crate::w8a8::PackedW8A8;

/// Numbers in 127 steps of the largest one, `zero` being added while they are rounded: in f32,
/// since numbers halfway between two steps are frequent.
fn in_steps(x: &[f32], zero: f32) -> Vec<f64> {
    let most = x.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
    let step = f64::from(most / 127.0);
    let digit = |x: &f32| {
        let shifted = (f64::from(*x) * f64::from(inverse) + f64::from(zero)) as f32;
        f64::from(shifted.round_ties_even() - zero)
    };
    x.iter().map(|x| digit(x) * step).collect()
}

fn check<K: DotI8>(kernel: K) {
    for (rows, columns, depth) in [(1, 1, 1), (13, 33, 64), (12, 64, 384), (30, 70, 133)] {
        let mut random = Random((rows * columns * depth) as u64);
        let left = random.floats(rows * depth);
        let weight = random.floats(columns * depth);
        let bias = random.floats(columns);
        let right = PackedW8A8::<K>::new(&weight, &bias, depth, 0.5);

        let whole = rows.next_multiple_of(mr::<K>());
        let mut values = vec![K::Value::default(); whole * padded_stride::<K::Value>(depth)];
        for (to, from) in values
            .chunks_exact_mut(padded_stride::<K::Value>(depth))
            .zip(left.chunks_exact(depth))
        {
            to.iter_mut()
                .zip(from)
                .for_each(|(to, x)| *to = K::value(*x));
        }
        let mut scratch = PackedW8A8::<K>::scratch(whole, depth);
        let prepared = PackedW8A8::prepare(
            kernel,
            ValueRows {
                values: &values,
                depth,
                count: whole,
            },
            &mut scratch,
        );
        let width = right.outputs();
        let mut out = vec![f32::NAN; rows * width];
        let epilogue = StoreF32 {
            out: &mut out,
            width,
        };
        right.multiply(kernel, prepared, rows, epilogue);

        for (row, x) in left.chunks_exact(depth).enumerate() {
            let x: Vec<f32> = x.iter().map(|x| K::value(*x).into()).collect();
            let x = in_steps(&x, 128.0);
            for (column, weight) in weight.chunks_exact(depth).enumerate() {
                let weight = in_steps(weight, 0.0);
                let product: f64 = weight.iter().zip(&x).map(|(w, x)| w * x).sum();
                assert_close::<K>(
                    out[row * width + column].into(),
                    0.5 * (product + f64::from(bias[column])),
                    // One number that the portable kernel rounds twice may be a step off.
                    0.5 / 127.0 + 1e-4,
                    &format!("({row}, {column}) of {rows} x {columns} x {depth}"),
                );
            }
        }
    }
}

#[test]
fn w8a8_matches_plain_loops_with_rounded_numbers() {
    with_int8_kernels!(check);
}

#[test]
fn w8a8_keeps_the_largest_sums() {
    fn check<K: DotI8>(kernel: K) {
        let (depth, rows) = (5120, mr::<K>());
        let right = PackedW8A8::<K>::new(&vec![-3.0; depth], &[1.0], depth, 1.0);
        let values = vec![K::value(2.0); rows * padded_stride::<K::Value>(depth)];
        let mut scratch = PackedW8A8::<K>::scratch(rows, depth);
        let left = PackedW8A8::prepare(
            kernel,
            ValueRows {
                values: &values,
                depth,
                count: rows,
            },
            &mut scratch,
        );
        let width = right.outputs();
        let mut out = vec![f32::NAN; rows * width];
        let epilogue = StoreF32 {
            out: &mut out,
            width,
        };
        right.multiply(kernel, left, rows, epilogue);
        assert_close::<K>(out[0].into(), -30719.0, 0.1, "largest");
    }
    with_int8_kernels!(check);
}
