// SPDX-License-Identifier: MPL-2.0
//! Attention of whole sequences, and of few queries.

use super::*;
use crate::buffer::AlignedBuffer;
use crate::decoder_attention::{DecoderAttention, padded_keys};
use crate::encoder_attention::{
    AttentionBlock, EncoderAttention, FloatAttention, Int8Attention, Scratch,
};
use crate::epilogue::{PackKeys, PackValues, TilesFromRows};
use crate::gemm::Rows;

const WIDTH: usize = 64;
const BLOCK: usize = 96;

/// Queries, keys and values of a head, numbers that every kernel's format holds.
struct Head {
    context: usize,
    rows: [Vec<f32>; 3],
}

impl Head {
    /// Numbers up to `sizes`. Keys are the smaller the earlier they are, so that the largest score
    /// is yet to come.
    fn random(context: usize, sizes: [f32; 3]) -> Self {
        let mut random = Random(context as u64);
        let mut rows = sizes.map(|size| -> Vec<f32> {
            let floats = random.floats(context * WIDTH).into_iter();
            floats
                .map(|x| half::bf16::from_f32(x * size).to_f32())
                .collect()
        });
        for (i, key) in rows[1].iter_mut().enumerate() {
            let grown = *key * (i + 1) as f32 / (context * WIDTH) as f32;
            *key = half::bf16::from_f32(grown).to_f32();
        }
        Self { context, rows }
    }

    /// (queries, head width)
    fn attend<K: GemmKernel, B: AttentionBlock<K>>(&self, kernel: K) -> Vec<f32> {
        let mut room = AlignedBuffer::new(B::scratch_len(BLOCK, WIDTH));
        let blocks = (0..self.context.div_ceil(BLOCK)).map(|block| {
            let count = BLOCK.min(self.context - block * BLOCK);
            let parts = [0, 1, 2].map(|part| TilesFromRows {
                from: &self.rows[part][block * BLOCK * WIDTH..][..count * WIDTH],
                stride: WIDTH,
                columns: 0..WIDTH,
                rows: count,
                epilogue: (),
            });
            let mut filled = B::new(BLOCK, WIDTH);
            filled.fill(kernel, count, parts, &mut room);
            filled
        });
        let blocks: Vec<B> = blocks.collect();
        let mut scratch = Scratch::<K, B>::new(BLOCK, WIDTH);
        let mut mixed = Vec::new();
        for queries in &blocks {
            let mut out = vec![K::Value::default(); BLOCK * WIDTH];
            kernel.dispatch(EncoderAttention {
                queries,
                blocks: blocks.iter().step_by(1),
                context: self.context,
                out: &mut out,
                scratch: &mut scratch,
            });
            mixed.extend(out.into_iter().map(Into::<f32>::into));
        }
        mixed.truncate(self.context * WIDTH);
        mixed
    }

    /// Compares with plain loops.
    fn check<K: GemmKernel, B: AttentionBlock<K>>(&self, kernel: K, tolerance: f64) {
        let [q, k, v] = &self.rows;
        let expected = Expected::new::<K>(q, k, v, WIDTH);
        let found = self.attend::<K, B>(kernel);
        for (query, found) in found.chunks_exact(WIDTH).enumerate() {
            let (y, _) = expected.row(query, self.context);
            for (column, (found, y)) in found.iter().zip(y).enumerate() {
                let place = format!("({query}, {column}) of {}", self.context);
                assert_close::<K>((*found).into(), y, tolerance, &place);
            }
        }
    }
}

const CONTEXTS: [usize; 5] = [1, 31, 96, 100, 193];

#[test]
fn encoder_attention_matches_plain_loops() {
    struct FloatFormat<'a>(&'a Head);
    impl KernelTest for FloatFormat<'_> {
        fn check<K: GemmKernel>(&self, kernel: K) {
            let tolerance = 2e-5 + rounding::<K>(1.0);
            self.0.check::<K, FloatAttention<K>>(kernel, tolerance);
        }
    }
    for context in CONTEXTS {
        // Scores of hundreds: a block's largest may be nothing beside another's.
        FloatFormat(&Head::random(context, [8.0, 8.0, 1.0])).check_all();
        FloatFormat(&Head::random(context, [0.5, 0.5, 1.0])).check_all();
    }
}

#[test]
fn int8_attention_matches_plain_loops_within_its_steps() {
    fn check<K: DotI8>(kernel: K) {
        for context in CONTEXTS {
            // A score is off by some 0.02, a value by half of a 127th.
            Head::random(context, [0.7, 0.7, 1.0]).check::<K, Int8Attention<K>>(kernel, 0.015);
        }
    }
    with_int8_kernels!(check);
}

#[test]
fn int8_attention_is_equal_on_all_machines() {
    fn check<K: DotI8>(kernel: K) {
        for (context, size) in [(1, 1.0), (100, 4.0), (193, 0.3), (300, 8.0)] {
            let head = Head::random(context, [size, size, 1.0]);
            let twin = head.attend::<_, Int8Attention<portable::Portable>>(portable::Portable);
            let found = head.attend::<K, Int8Attention<K>>(kernel);
            for (i, (found, twin)) in found.iter().zip(&twin).enumerate() {
                let place = format!("{i} of {context}");
                // The result may be bf16; and a number halfway between two steps may go to either.
                assert_close::<K>((*found).into(), (*twin).into(), 0.008, &place);
            }
        }
    }
    with_int8_kernels!(check);
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
    fn new<K: GemmKernel>(q: &[f32], k: &[f32], v: &[f32], width: usize) -> Self {
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

/// Queries that come after `past` keys whose own queries are gone, `count` of them: each with the
/// keys up to its own, and all with all keys.
struct FewQueries {
    past: usize,
    count: usize,
}

impl KernelTest for FewQueries {
    fn check<K: GemmKernel>(&self, kernel: K) {
        const WIDTH: usize = 64;
        let Self { past, count } = *self;
        let context = past + count;
        let mut random = Random(context as u64 * 3 + count as u64);
        let [q, k, v] = [4.0, 4.0, 1.0].map(|scale| -> Vec<f32> {
            let x = random.floats(context * WIDTH);
            x.iter().map(|x| x * scale).collect()
        });
        let room = padded_keys::<K>(context) * WIDTH;
        let (mut keys, mut mixed_values) = (
            AlignedBuffer::<K::Value>::new(room),
            AlignedBuffer::<K::Value>::new(room),
        );
        // In two parts, the second of which begins anywhere.
        for (first, rows) in [(0, past), (past, count)] {
            let part = first * WIDTH..(first + rows) * WIDTH;
            kernel.dispatch(TilesFromRows {
                from: &k[part.clone()],
                stride: WIDTH,
                columns: 0..WIDTH,
                rows,
                epilogue: PackKeys {
                    out: &mut keys,
                    head_width: WIDTH,
                    first,
                },
            });
            kernel.dispatch(TilesFromRows {
                from: &v[part],
                stride: WIDTH,
                columns: 0..WIDTH,
                rows,
                epilogue: PackValues {
                    out: &mut mixed_values,
                    head_width: WIDTH,
                    first,
                },
            });
        }
        let padding = vec![0.0; mr::<K>() * WIDTH];
        let queries = values::<K>(&[&q[past * WIDTH..], &padding].concat());
        let expected = Expected::new::<K>(&q, &k, &v, WIDTH);
        for causal in [Some(past), None] {
            let mut out = vec![f32::NAN; count * WIDTH];
            let mut shown = vec![f32::NAN; count * context];
            let room = mr::<K>() * padded_keys::<K>(context);
            kernel.dispatch(DecoderAttention {
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
                weights_out: &mut shown,
                scores: &mut AlignedBuffer::new(room),
                weights: &mut AlignedBuffer::new(room),
            });
            for query in 0..count {
                let visible = causal.map_or(context, |past| past + query + 1);
                let (y, weights) = expected.row(past + query, visible);
                let what = format!("query {query} of {count} after {past}, causal {causal:?}");
                for (found, y) in out[query * WIDTH..].iter().zip(y) {
                    assert_close::<K>((*found).into(), y, 2e-5 + rounding::<K>(1.0), &what);
                }
                let unseen = vec![0.0; context - visible];
                let found = shown[query * context..].iter();
                for (found, weight) in found.zip(weights.iter().chain(&unseen)) {
                    assert_close::<K>((*found).into(), *weight, 2e-5, &what);
                }
            }
        }
    }
}

#[test]
fn decoder_attention_matches_plain_loops() {
    for (past, count) in [(0, 1), (5, 1), (0, 13), (32, 12), (7, 30)] {
        FewQueries { past, count }.check_all();
    }
}
