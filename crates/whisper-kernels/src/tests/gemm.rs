// SPDX-License-Identifier: MPL-2.0
//! Matrix multiplication and its epilogues.

use super::vecmath::exact_gelu;
use super::*;
use crate::epilogue::{AddResidual, Gelu, GeluAddTable, Identity, Relu, StoreF32, StoreValues};
use crate::gemm::{Gemm, Rows};
use crate::pack::PackedB;

/// A product with everything that may be odd, and its expected result.
struct Product {
    depth: usize,
    stride: usize,
    left: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Product {
    fn new<K: GemmKernel>(rows: usize, columns: usize, depth: usize, stride: usize) -> Self {
        let mut random = Random(rows as u64 * 31 + columns as u64 * 7 + depth as u64);
        let whole_depth = depth.next_multiple_of(K::K_ALIGN);
        let left_len = (rows.next_multiple_of(mr::<K>()) - 1) * stride + whole_depth;
        Self {
            depth,
            stride,
            left: random.floats(left_len),
            weight: random.floats(columns * depth),
            bias: random.floats(columns),
        }
    }

    fn expected<K: GemmKernel>(&self, row: usize, column: usize) -> f64 {
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

impl KernelTest for Multiplication {
    fn check<K: GemmKernel>(&self, kernel: K) {
        for (rows, columns, depth, stride) in ODD {
            let product = Product::new::<K>(rows, columns, depth, stride);
            let packed = PackedB::<K>::new(&product.weight, &product.bias, depth, 1.0);
            let width = columns.next_multiple_of(K::NR);
            let mut out = vec![f32::NAN; rows * width];
            let left = values::<K>(&product.left);
            kernel.dispatch(Gemm {
                left: Rows {
                    values: &left,
                    stride,
                    count: rows,
                },
                right: packed.view(),
                epilogue: StoreF32 {
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
fn gemm_of_any_size_and_stride_matches_plain_loops() {
    Multiplication.check_all();
}

/// A product whose depth is summed in two parts.
struct Parts;

impl KernelTest for Parts {
    fn check<K: GemmKernel>(&self, kernel: K) {
        let (rows, columns, depth) = (2 * mr::<K>(), 64, 5 * K::K_ALIGN);
        let product = Product::new::<K>(rows, columns, depth, depth);
        let packed = PackedB::<K>::new(&product.weight, &product.bias, depth, 1.0);
        let left = values::<K>(&product.left);
        let mut out = vec![0.0; rows * columns];
        for range in [0..2 * K::K_ALIGN, 2 * K::K_ALIGN..depth] {
            kernel.dispatch(Gemm {
                left: Rows {
                    values: &left[range.start..],
                    stride: depth,
                    count: rows,
                },
                right: packed.view().depths(range),
                epilogue: AddResidual {
                    out: &mut out,
                    width: columns,
                },
            });
        }
        for (i, found) in out.iter().enumerate() {
            let bias = f64::from(product.bias[i % columns]);
            let expected = product.expected::<K>(i / columns, i % columns) + bias;
            assert_close::<K>((*found).into(), expected, 2e-5, "the sum of the parts");
        }
    }
}

#[test]
fn gemm_of_parts_of_the_depth_adds_up() {
    Parts.check_all();
}

struct Epilogues;

impl KernelTest for Epilogues {
    fn check<K: GemmKernel>(&self, kernel: K) {
        let (rows, columns, depth) = (mr::<K>() * 2, 64, 48);
        let product = Product::new::<K>(rows, columns, depth, depth);
        let packed = PackedB::<K>::new(&product.weight, &product.bias, depth, 1.0);
        let left = values::<K>(&product.left);
        let table = Random(5).floats(rows * columns);
        let (mut added, mut activated) = (table.clone(), vec![0.0; rows * columns]);
        let [mut plain, mut gelu, mut relu] =
            [(); 3].map(|()| vec![K::Value::default(); rows * columns]);
        let left = || Rows {
            values: &left,
            stride: depth,
            count: rows,
        };
        let right = packed.view();
        let width = columns;
        kernel.dispatch(Gemm {
            left: left(),
            right,
            epilogue: AddResidual {
                out: &mut added,
                width,
            },
        });
        kernel.dispatch(Gemm {
            left: left(),
            right,
            epilogue: GeluAddTable {
                table: &table,
                out: &mut activated,
                width,
            },
        });
        kernel.dispatch(Gemm {
            left: left(),
            right,
            epilogue: StoreValues::new(&mut plain, width, Identity),
        });
        kernel.dispatch(Gemm {
            left: left(),
            right,
            epilogue: StoreValues::new(&mut gelu, width, Gelu),
        });
        kernel.dispatch(Gemm {
            left: left(),
            right,
            epilogue: StoreValues::new(&mut relu, width, Relu),
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
                f64::from(relu[i].into()),
                y.max(0.0),
                2e-5 + rounding::<K>(y.abs()),
                "rectified values",
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
fn epilogues_do_what_their_names_say() {
    Epilogues.check_all();
}
