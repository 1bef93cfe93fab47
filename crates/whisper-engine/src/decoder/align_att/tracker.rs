// SPDX-License-Identifier: MPL-2.0
//! Which frame a token attends to, compared with all tokens before it.

use crate::decoder::alignment::{Attention, FILTER_REACH, add_median_filtered};
use crate::decoder::logits::argmax;
use whisper_frontend::EncoderFrame;

/// Mean and variance of each head's weight on each frame, over the rows so far. They are kept up to
/// date (Welford 1962), so that a row costs the same however many there were.
pub struct AttentionTracker {
    /// Frames that hold audio.
    content: usize,
    /// Frames that are kept: the audio, and what the median filter reads after it.
    width: usize,
    rows: usize,
    /// `[heads, width]`
    mean: Vec<f32>,
    /// Sums of squared deviations, `[heads, width]`.
    squares: Vec<f32>,
}

impl AttentionTracker {
    /// No row yet, of a window of `frames` frames of which the first `content` hold audio.
    pub fn new(content: EncoderFrame, frames: usize) -> Self {
        let content = content.to_usize().min(frames);
        Self {
            content,
            width: (content + FILTER_REACH).min(frames),
            rows: 0,
            mean: Vec::new(),
            squares: Vec::new(),
        }
    }

    /// Takes in a token's row of every head.
    pub fn add(&mut self, attention: &Attention, row: usize) {
        self.rows += 1;
        self.mean.resize(attention.heads() * self.width, 0.0);
        self.squares.resize(attention.heads() * self.width, 0.0);
        for head in 0..attention.heads() {
            let cells = head * self.width..(head + 1) * self.width;
            let means = self.mean[cells.clone()].iter_mut();
            for ((mean, squares), x) in means
                .zip(&mut self.squares[cells])
                .zip(attention.row(head, row))
            {
                let deviation = x - *mean;
                *mean += deviation / self.rows as f32;
                *squares += deviation * (x - *mean);
            }
        }
    }

    /// The frame that a row attends to most, against all rows that were added.
    pub fn frame(&self, attention: &Attention, row: usize) -> EncoderFrame {
        if self.width == 0 {
            return EncoderFrame::ZERO;
        }
        let mut sum = vec![0.0; self.width];
        let mut standardized = vec![0.0; self.width];
        let rows = self.rows.max(1) as f32;
        for (head, (means, squares)) in self
            .mean
            .chunks_exact(self.width)
            .zip(self.squares.chunks_exact(self.width))
            .enumerate()
        {
            for (((y, x), mean), squares) in standardized
                .iter_mut()
                .zip(attention.row(head, row))
                .zip(means)
                .zip(squares)
            {
                *y = (x - mean) / (squares / rows).sqrt().max(1e-10);
            }
            add_median_filtered(&standardized, &mut sum);
        }
        EncoderFrame::from_usize(argmax(&sum[..self.content]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows with one bump each, of one head.
    fn attention(peaks: &[usize], frames: usize) -> Attention {
        let mut attention = Attention::new(frames);
        for (index, &peak) in peaks.iter().enumerate() {
            // Some weight everywhere, another one in each row.
            let rest = |frame: usize| 1e-3 * (1 + (frame * 17 + index * 31) % 13) as f32;
            let bump = |frame: usize| (-(frame as f32 - peak as f32).powi(2) / 40.0).exp();
            let row: Vec<f32> = (0..frames).map(|frame| bump(frame) + rest(frame)).collect();
            attention.record(0, &row);
        }
        attention
    }

    #[test]
    fn rows_attend_to_where_they_differ_from_others() {
        let peaks = [10, 30, 50, 70];
        let attention = attention(&peaks, 100);
        let mut tracker = AttentionTracker::new(EncoderFrame::new(90), 100);
        (0..peaks.len()).for_each(|row| tracker.add(&attention, row));
        for (row, peak) in peaks.into_iter().enumerate() {
            let frame = tracker.frame(&attention, row).to_usize();
            assert!(frame.abs_diff(peak) <= 10, "row {row}: {frame}");
        }
    }

    #[test]
    fn running_mean_and_deviation_are_those_of_all_rows() {
        let attention = attention(&[3, 9, 4, 17], 20);
        let mut tracker = AttentionTracker::new(EncoderFrame::new(20), 20);
        (0..4).for_each(|row| tracker.add(&attention, row));
        for frame in 0..20 {
            let column: Vec<f32> = (0..4).map(|row| attention.row(0, row)[frame]).collect();
            let mean = column.iter().sum::<f32>() / 4.0;
            let squares: f32 = column.iter().map(|x| (x - mean) * (x - mean)).sum();
            assert!((tracker.mean[frame] - mean).abs() < 1e-6);
            assert!((tracker.squares[frame] - squares).abs() < 1e-5);
        }
    }

    #[test]
    fn frames_without_audio_are_never_given() {
        let attention = attention(&[5, 80], 100);
        let mut tracker = AttentionTracker::new(EncoderFrame::new(40), 100);
        (0..2).for_each(|row| tracker.add(&attention, row));
        assert!(tracker.frame(&attention, 1) < EncoderFrame::new(40));
        let mut empty = AttentionTracker::new(EncoderFrame::ZERO, 0);
        empty.add(&Attention::new(0), 0);
        assert_eq!(empty.frame(&Attention::new(0), 0), EncoderFrame::ZERO);
    }
}
