// SPDX-License-Identifier: MPL-2.0
//! Quantisation of rows.

use super::*;
use crate::buffer::padded_stride;
use crate::quantize::{QuantizeRows, QuantizedInt, QuantizedRows, ValueRow};

/// Checks that each number is its integer's, to half a step of the row's largest.
fn assert_rows<K: GemmKernel, T: QuantizedInt<K> + Into<i32>>(
    found: &QuantizedRows<T>,
    rows: &[f32],
    depth: usize,
) {
    let found = found.view(0);
    for (row, x) in rows.chunks_exact(depth).enumerate() {
        let scale = f64::from(found.scales[row]);
        let max = x.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
        assert_close::<K>(scale, (max / T::MAX).into(), 1e-6 * scale, "scale");
        for (x, q) in x.iter().zip(&found.values[row * found.stride..]) {
            let q: i32 = (*q).into();
            // 32767 steps leave f32 a few thousandths of one.
            let y = (f64::from(q) - f64::from(T::ZERO_POINT)) * scale;
            assert_close::<K>(y, (*x).into(), 0.505 * scale, "quantised number");
        }
    }
}

struct ToI16;

impl KernelTest for ToI16 {
    fn check<K: GemmKernel>(&self, kernel: K) {
        let mut random = Random(11);
        let mut found = QuantizedRows::new::<K>(30, 200);
        // The same memory takes rows of any depth.
        for (rows, depth) in [(30, 200), (5, 7), (1, 64), (12, 133)] {
            let mut x = random.floats(rows * depth);
            x[..depth].fill(0.0);
            kernel.dispatch(QuantizeRows {
                rows: x.chunks_exact(depth),
                depth,
                out: &mut found,
            });
            assert_rows::<K, i16>(&found, &x, depth);
            let beyond = &found.view(rows).scales;
            assert!(beyond.iter().all(|scale| *scale == 0.0), "{}", K::NAME);
        }
    }
}

#[test]
fn quantize_to_i16_is_off_by_half_a_step() {
    ToI16.check_all();
}

#[test]
fn quantize_to_u8_is_off_by_half_a_step() {
    fn check<K: DotI8>(kernel: K) {
        let mut random = Random(12);
        let mut found = QuantizedRows::new::<K>(30, 200);
        for (rows, depth) in [(30, 200), (5, 7), (12, 133)] {
            let stride = padded_stride::<K::Value>(depth);
            let x = random.floats(rows * stride);
            let left = values::<K>(&x);
            kernel.dispatch(QuantizeRows {
                rows: left.chunks(stride).map(|row| ValueRow(&row[..depth])),
                depth,
                out: &mut found,
            });
            let rounded = left.chunks(stride).flat_map(|row| &row[..depth]);
            let rounded: Vec<f32> = rounded.map(|x| (*x).into()).collect();
            assert_rows::<K, u8>(&found, &rounded, depth);
        }
    }
    with_int8_kernels!(check);
}
