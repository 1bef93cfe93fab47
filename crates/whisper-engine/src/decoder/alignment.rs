// SPDX-License-Identifier: MPL-2.0
//! When each token was spoken: cross-attention of the alignment heads, then dynamic time warping
//! (openai/whisper `timing.py`, `find_alignment`, `median_filter` and `dtw`).

use std::array::from_fn;
use std::ops::Range;

use super::logits::argmax;
use whisper_frontend::EncoderFrame;

/// Width of the median filter along time, in frames.
const MEDIAN_WIDTH: usize = 7;
/// Frames on either side of one that its median depends on.
pub(super) const FILTER_REACH: usize = MEDIAN_WIDTH / 2;

/// Cross-attention weights of the alignment heads, for all tokens fed so far.
#[derive(Clone, Debug, Default)]
pub struct Attention {
    /// Weights in a row, one per encoder frame.
    frames: usize,
    /// Per head: rows of `frames` weights that sum to 1, one per token.
    heads: Vec<Vec<f32>>,
}

impl Attention {
    /// No tokens yet, over a window of `frames` encoder frames ([`EncodedWindow::frames`]).
    ///
    /// [`EncodedWindow::frames`]: super::EncodedWindow::frames
    pub fn new(frames: usize) -> Self {
        Self {
            frames,
            heads: Vec::new(),
        }
    }

    /// Appends rows of one alignment head, `[tokens, frames]`. Heads are numbered as the model
    /// lists them.
    pub fn record(&mut self, head: usize, rows: &[f32]) {
        if self.heads.len() <= head {
            self.heads.resize(head + 1, Vec::new());
        }
        self.heads[head].extend_from_slice(rows);
    }

    /// Forgets all tokens but the first `tokens`.
    pub(super) fn truncate(&mut self, tokens: usize) {
        for rows in &mut self.heads {
            rows.truncate(tokens * self.frames);
        }
    }

    /// Alignment heads recorded.
    pub fn heads(&self) -> usize {
        self.heads.len()
    }

    /// Tokens recorded.
    pub fn tokens(&self) -> usize {
        self.heads
            .first()
            .map_or(0, |rows| rows.len() / self.frames.max(1))
    }

    /// Weights of one head and token, `[frames]`.
    ///
    /// # Panics
    /// A head or token that was not recorded.
    pub fn row(&self, head: usize, token: usize) -> &[f32] {
        &self.heads[head][token * self.frames..(token + 1) * self.frames]
    }

    /// How strongly each token belongs to each frame, averaged over heads: `[tokens, content]`.
    ///
    /// Only the first `content` frames hold audio; attention to the padding is taken out.
    fn alignment_matrix(&self, tokens: Range<usize>, content: usize) -> Vec<f32> {
        let mut mean = vec![0.0; tokens.len() * content];
        let mut head_rows = vec![0.0; mean.len()];
        for head in 0..self.heads() {
            for (row, token) in head_rows.chunks_exact_mut(content).zip(tokens.clone()) {
                row.copy_from_slice(&self.row(head, token)[..content]);
                let sum: f32 = row.iter().sum();
                row.iter_mut()
                    .for_each(|x| *x /= sum.max(f32::MIN_POSITIVE));
            }
            standardize_columns(&mut head_rows, content);
            for (mean, row) in mean
                .chunks_exact_mut(content)
                .zip(head_rows.chunks_exact(content))
            {
                add_median_filtered(row, mean);
            }
        }
        mean
    }
}

/// Where tokens were spoken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenFrames {
    /// For each token, the frame at which the best monotonic path first reaches it.
    pub first: Vec<EncoderFrame>,
    /// For each token, the frame that it looks at most, wherever the others look.
    pub attended: Vec<EncoderFrame>,
}

/// Where each token of `tokens` was spoken. The first `content` frames hold audio.
pub fn token_frames(
    attention: &Attention,
    tokens: Range<usize>,
    content: EncoderFrame,
) -> TokenFrames {
    let content = content.to_usize().min(attention.frames);
    if tokens.is_empty() || content == 0 {
        let zeros = vec![EncoderFrame::ZERO; tokens.len()];
        return TokenFrames {
            first: zeros.clone(),
            attended: zeros,
        };
    }
    let count = tokens.len();
    let matrix = attention.alignment_matrix(tokens, content);
    let first = first_frames(&matrix, count, content).into_iter();
    let attended = matrix.chunks_exact(content).map(argmax);
    TokenFrames {
        first: first.map(EncoderFrame::from_usize).collect(),
        attended: attended.map(EncoderFrame::from_usize).collect(),
    }
}

/// Standardises each column over the rows: how much more than usual a token attends to this frame.
fn standardize_columns(rows: &mut [f32], width: usize) {
    let count = (rows.len() / width) as f32;
    let (mut mean, mut deviation) = (vec![0.0; width], vec![0.0; width]);
    for row in rows.chunks_exact(width) {
        mean.iter_mut()
            .zip(row)
            .for_each(|(mean, x)| *mean += x / count);
    }
    for row in rows.chunks_exact(width) {
        for ((deviation, x), mean) in deviation.iter_mut().zip(row).zip(&mean) {
            *deviation += (x - mean) * (x - mean) / count;
        }
    }
    deviation.iter_mut().for_each(|x| *x = x.sqrt().max(1e-10));
    for row in rows.chunks_exact_mut(width) {
        for ((x, mean), deviation) in row.iter_mut().zip(&mean).zip(&deviation) {
            *x = (*x - mean) / deviation;
        }
    }
}

/// Adds the median-filtered row (edges reflected) to `sum`.
pub(super) fn add_median_filtered(row: &[f32], sum: &mut [f32]) {
    let half = FILTER_REACH;
    if row.len() <= half {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        return;
    }
    let whole = row.len().next_multiple_of(FRAMES);
    let mut padded = Vec::with_capacity(whole + 2 * half);
    padded.extend(row[1..=half].iter().rev());
    padded.extend_from_slice(row);
    padded.extend(row[row.len() - 1 - half..row.len() - 1].iter().rev());
    padded.resize(whole + 2 * half, 0.0);
    for (i, sum) in sum.chunks_mut(FRAMES).enumerate() {
        let medians = medians(from_fn(|k| from_fn(|frame| padded[i * FRAMES + k + frame])));
        for (sum, median) in sum.iter_mut().zip(medians) {
            *sum += median;
        }
    }
}

/// Frames whose medians are found together: some vectors, whatever the machine.
const FRAMES: usize = 16;

/// The median at each frame, found without a branch: what can be neither the least nor the largest
/// three is sorted out pair by pair (selection network for seven numbers in N. Devillard, "Fast
/// median search", 1998).
#[inline(always)]
fn medians(mut x: [[f32; FRAMES]; MEDIAN_WIDTH]) -> [f32; FRAMES] {
    const PAIRS: [(usize, usize); 13] = [
        (0, 5),
        (0, 3),
        (1, 6),
        (2, 4),
        (0, 1),
        (3, 5),
        (2, 6),
        (2, 3),
        (3, 6),
        (4, 5),
        (1, 4),
        (1, 3),
        (3, 4),
    ];
    for (a, b) in PAIRS {
        // Not `f32::min`: what that does with NaNs takes three instructions.
        let (one, other) = (x[a], x[b]);
        x[a] = from_fn(|frame| {
            if one[frame] < other[frame] {
                one[frame]
            } else {
                other[frame]
            }
        });
        x[b] = from_fn(|frame| {
            if one[frame] < other[frame] {
                other[frame]
            } else {
                one[frame]
            }
        });
    }
    x[MEDIAN_WIDTH / 2]
}

/// Dynamic time warping over an alignment matrix `[tokens, frames]` with the steps next token, next
/// frame, and both: the frame at which the path of the largest sum first reaches each token.
fn first_frames(matrix: &[f32], tokens: usize, frames: usize) -> Vec<usize> {
    #[derive(Clone, Copy)]
    enum Step {
        Both,
        Token,
        Frame,
    }
    let mut steps = vec![Step::Frame; tokens * frames];
    let mut above = vec![f32::NEG_INFINITY; frames];
    for token in 0..tokens {
        let mut current = vec![f32::NEG_INFINITY; frames];
        for frame in 0..frames {
            let start = if token == 0 && frame == 0 {
                0.0
            } else {
                f32::NEG_INFINITY
            };
            let both = if frame > 0 { above[frame - 1] } else { start };
            let next_token = above[frame];
            let next_frame = if frame > 0 {
                current[frame - 1]
            } else {
                f32::NEG_INFINITY
            };
            let (best, step) = if both >= next_token && both >= next_frame {
                (both, Step::Both)
            } else if next_token >= next_frame {
                (next_token, Step::Token)
            } else {
                (next_frame, Step::Frame)
            };
            current[frame] = best + matrix[token * frames + frame];
            steps[token * frames + frame] = step;
        }
        above = current;
    }

    let mut first = vec![0; tokens];
    let (mut token, mut frame) = (tokens - 1, frames - 1);
    loop {
        first[token] = frame;
        match steps[token * frames + frame] {
            Step::Both if token > 0 && frame > 0 => (token, frame) = (token - 1, frame - 1),
            Step::Token if token > 0 => token -= 1,
            Step::Frame if frame > 0 => frame -= 1,
            _ => return first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(peaks: &[usize], frames: usize) -> Attention {
        let mut attention = Attention::new(frames);
        for head in 0..2 {
            for &peak in peaks {
                let row: Vec<f32> = (0..frames)
                    .map(|frame| (-(frame as f32 - peak as f32).powi(2) / 50.0).exp() + 1e-3)
                    .collect();
                attention.record(head, &row);
            }
        }
        attention
    }

    fn frames(peaks: &[usize], frames: usize, content: u64) -> Vec<u64> {
        let content = EncoderFrame::new(content);
        let found = token_frames(&attention(peaks, frames), 0..peaks.len(), content);
        found.first.into_iter().map(EncoderFrame::get).collect()
    }

    #[test]
    fn tokens_start_where_their_attention_prevails() {
        let frames = frames(&[10, 50, 90], 120, 120);
        assert_eq!(frames[0], 0);
        assert!((25..=50).contains(&frames[1]), "{frames:?}");
        assert!((65..=90).contains(&frames[2]), "{frames:?}");
    }

    #[test]
    fn frames_never_go_back() {
        let frames = frames(&[80, 20, 60, 10], 100, 100);
        assert!(frames.is_sorted(), "{frames:?}");
    }

    #[test]
    fn frames_without_audio_are_never_given() {
        let found = frames(&[10, 30, 200], 300, 40);
        assert!(found.iter().all(|&frame| frame < 40), "{found:?}");
        assert_eq!(frames(&[1], 5, 0), [0]);
    }

    /// A network that is right for all numbers that are 0 or 1 is right for all.
    #[test]
    fn medians_have_as_many_below_as_above() {
        for bits in 0..1 << MEDIAN_WIDTH {
            let x: [f32; MEDIAN_WIDTH] = from_fn(|i| (bits >> i & 1) as f32);
            let ones = x.iter().filter(|x| **x == 1.0).count();
            let median = (ones > MEDIAN_WIDTH / 2) as u8 as f32;
            assert_eq!(medians(x.map(|x| [x; FRAMES])), [median; FRAMES], "{x:?}");
        }
    }

    #[test]
    fn median_filter_reflects_the_edges() {
        for len in [4, 5, 15, 16, 17, 50] {
            let row: Vec<f32> = (0..len).map(|i| (i * i * 37 % 101) as f32).collect();
            let mut sum = vec![0.5; len];
            add_median_filtered(&row, &mut sum);
            for (i, sum) in sum.iter().enumerate() {
                let mut seven: [f32; MEDIAN_WIDTH] = from_fn(|k| {
                    let place = (i + k).abs_diff(MEDIAN_WIDTH / 2);
                    row[place.min(2 * (len - 1) - place)]
                });
                seven.sort_by(f32::total_cmp);
                assert_eq!(*sum, 0.5 + seven[MEDIAN_WIDTH / 2], "{i} of {len}");
            }
        }
    }

    #[test]
    fn median_filter_removes_a_single_outlier() {
        let mut row = vec![0.0; 20];
        row[9] = 5.0;
        let mut sum = vec![0.0; 20];
        add_median_filtered(&row, &mut sum);
        assert!(sum.iter().all(|&x| x == 0.0));
    }
}
