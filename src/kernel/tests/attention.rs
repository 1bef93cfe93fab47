// SPDX-License-Identifier: MPL-2.0
//! Attention, by whole windows and by single queries.

use super::*;
use crate::kernel::attention::{Attend, Recall, Scores, scores_width};
use crate::kernel::buffer::Buffer;
use crate::kernel::gemm::{Gemm, Rows};
use crate::kernel::pack::Packed;
use crate::kernel::sink::{Identity, Keys, ToValues, Transfer, Values};

/// How many keys there are.
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
        let expected = Expected::new::<K>(&q, &k, &v, WIDTH);
        for query in 0..self.context {
            let (y, _) = expected.row(query, self.context);
            for (column, y) in y.iter().enumerate() {
                let found = f64::from(out[query * WIDTH + column].into());
                assert_close::<K>(
                    found,
                    *y,
                    2e-5 + rounding::<K>(1.0),
                    &format!("({query}, {column}) of {}", self.context),
                );
            }
        }
    }
}

/// Attention of plain loops.
struct Expected {
    width: usize,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
}

impl Expected {
    /// Rows as they are after rounding to the kernel's values.
    fn new<K: Kernel>(q: &[f32], k: &[f32], v: &[f32], width: usize) -> Self {
        let [q, k, v] = [q, k, v].map(|x| x.iter().map(|x| rounded::<K>(*x)).collect());
        Self { width, q, k, v }
    }

    /// The result of one query that sees the first `visible` keys, and the weights of these.
    fn row(&self, query: usize, visible: usize) -> (Vec<f64>, Vec<f64>) {
        let row = |x: &[f64], row: usize| x[row * self.width..][..self.width].to_vec();
        let q = row(&self.q, query);
        let dot = |k: Vec<f64>| -> f64 { k.iter().zip(&q).map(|(k, q)| k * q).sum() };
        let scores: Vec<f64> = (0..visible).map(|key| dot(row(&self.k, key))).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp2()).collect();
        let sum: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
        let y = |column: usize| -> f64 {
            let values = self.v[column..].iter().step_by(self.width);
            weights
                .iter()
                .zip(values)
                .map(|(weight, v)| weight * v)
                .sum()
        };
        ((0..self.width).map(y).collect(), weights)
    }
}

#[test]
fn attention_over_any_number_of_keys_is_that_of_plain_loops() {
    for context in [1, 31, 100, 193] {
        Attention { context }.check_all();
    }
}

/// Queries that come after `past` keys whose own queries are gone, `count` of them: each with the keys up to its own,
/// and all with all keys.
struct Remembering {
    past: usize,
    count: usize,
}

impl Promise for Remembering {
    fn check<K: Kernel>(&self, kernel: K) {
        const WIDTH: usize = 64;
        let Self { past, count } = *self;
        let context = past + count;
        let mut random = Random(context as u64 * 3 + count as u64);
        let [q, k, v] = [4.0, 4.0, 1.0].map(|scale| -> Vec<f32> {
            let x = random.floats(context * WIDTH);
            x.iter().map(|x| x * scale).collect()
        });
        let room = scores_width::<K>(context) * WIDTH;
        let (mut keys, mut mixed_values) =
            (Buffer::<K::Value>::new(room), Buffer::<K::Value>::new(room));
        // In two parts, the second of which begins anywhere.
        for (first, rows) in [(0, past), (past, count)] {
            let part = first * WIDTH..(first + rows) * WIDTH;
            kernel.vectorize(Transfer {
                from: &k[part.clone()],
                stride: WIDTH,
                columns: 0..WIDTH,
                rows,
                sink: Keys {
                    out: &mut keys,
                    head_width: WIDTH,
                    first,
                },
            });
            kernel.vectorize(Transfer {
                from: &v[part],
                stride: WIDTH,
                columns: 0..WIDTH,
                rows,
                sink: Values {
                    out: &mut mixed_values,
                    head_width: WIDTH,
                    first,
                },
            });
        }
        let padding = vec![0.0; tile_rows::<K>() * WIDTH];
        let queries = values::<K>(&[&q[past * WIDTH..], &padding].concat());
        let expected = Expected::new::<K>(&q, &k, &v, WIDTH);
        for causal in [Some(past), None] {
            let mut out = vec![f32::NAN; count * WIDTH];
            let mut looks = vec![f32::NAN; count * context];
            let room = tile_rows::<K>() * scores_width::<K>(context);
            kernel.vectorize(Recall {
                queries: Rows {
                    values: &queries,
                    stride: WIDTH,
                    count,
                },
                keys: &keys,
                values: &mixed_values,
                context,
                past: causal,
                head_width: WIDTH,
                out: &mut out,
                looks: &mut looks,
                scores: &mut Buffer::new(room),
                weights: &mut Buffer::new(room),
            });
            for query in 0..count {
                let visible = causal.map_or(context, |past| past + query + 1);
                let (y, weights) = expected.row(past + query, visible);
                let what = format!("query {query} of {count} after {past}, causal {causal:?}");
                for (found, y) in out[query * WIDTH..].iter().zip(y) {
                    assert_close::<K>((*found).into(), y, 2e-5 + rounding::<K>(1.0), &what);
                }
                let unseen = vec![0.0; context - visible];
                let found = looks[query * context..].iter();
                for (found, weight) in found.zip(weights.iter().chain(&unseen)) {
                    assert_close::<K>((*found).into(), *weight, 2e-5, &what);
                }
            }
        }
    }
}

#[test]
fn a_query_recalls_the_keys_up_to_its_own_and_shows_how_it_weighs_them() {
    for (past, count) in [(0, 1), (5, 1), (0, 13), (32, 12), (7, 30)] {
        Remembering { past, count }.check_all();
    }
}
