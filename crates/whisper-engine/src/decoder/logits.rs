// SPDX-License-Identifier: MPL-2.0
//! Arithmetic over the logits of a vocabulary, and other rows of numbers.

use std::f32::consts::LOG2_E;

use whisper_kernels::vecmath::exp2;
use whisper_kernels::{Portable, SimdF32};

/// Softmax of one logit.
pub fn probability(logits: &[f32], token: u32) -> f32 {
    (logits[token as usize] - log_sum_exp(logits, 1.0)).exp()
}

/// ln Σ exp(scale x). Runs over the whole vocabulary for every token, so on vectors.
pub fn log_sum_exp(logits: &[f32], scale: f32) -> f32 {
    let lanes = Portable;
    let max = largest(logits);
    let (offset, factor) = (lanes.splat(max), lanes.splat(scale * LOG2_E));
    let mut sum = lanes.splat(0.0);
    let mut add = |x: &[f32]| {
        let x = lanes.mul(lanes.sub(lanes.load(x), offset), factor);
        sum = lanes.add(sum, exp2(lanes, x));
    };
    let (whole, rest) = logits.as_chunks::<{ Portable::LANES }>();
    whole.iter().for_each(|x| add(x));
    let mut last = [f32::NEG_INFINITY; Portable::LANES];
    last[..rest.len()].copy_from_slice(rest);
    add(&last);
    max * scale + lanes.reduce_sum(sum).ln()
}

/// The largest of all numbers; -∞ of none.
pub fn largest(logits: &[f32]) -> f32 {
    const LANES: usize = 32;
    let mut most = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = logits.as_chunks::<LANES>();
    for x in whole {
        for (most, x) in most.iter_mut().zip(x) {
            *most = if x > most { *x } else { *most };
        }
    }
    most.iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// The first of the largest numbers.
pub fn argmax(logits: &[f32]) -> usize {
    let best = largest(logits);
    logits.iter().position(|x| *x == best).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sum_exp_and_argmax_are_right_at_any_length() {
        for len in [1, 3, 4, 31, 33, 1000] {
            let mut logits: Vec<f32> = (0..len).map(|i| (i as f32 * 1.7).sin() * 20.0).collect();
            if len > 3 {
                logits[2] = f32::NEG_INFINITY;
            }
            for scale in [1.0, 2.5] {
                let sum: f64 = logits.iter().map(|x| f64::from(x * scale).exp()).sum();
                let found = f64::from(log_sum_exp(&logits, scale));
                assert!((found - sum.ln()).abs() < 2e-5, "{found} {}", sum.ln());
            }
            let best = (0..len).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
            assert_eq!(Some(argmax(&logits)), best);
        }
    }
}
