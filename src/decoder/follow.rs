// SPDX-License-Identifier: MPL-2.0
//! Decoding that stops where the audio does: AlignAtt (Papi, Turchi, Negri 2023, arXiv 2305.11408), with Whisper's
//! alignment heads (Simul-Whisper, arXiv 2406.10052).
//!
//! The row of cross-attention from which a token was predicted says which audio the token stands for. A token that
//! looks at the last moments of the audio may change when more is heard: it and what follows are left for later.

use super::alignment::{Attention, add_median_filtered, token_frames};
use super::sampling::{argmax, log_sum_exp, probability};
use super::{Audio, Cache, Decoder, DecoderError, Rules};
use crate::model::Tokenizer;

/// Attention that jumps back by more than this many 20 ms frames lost its place.
const REWIND: usize = 200;
/// So many tokens in a row on one frame were not heard there.
const STUCK: usize = 6;
/// Frames beyond the audio that the median filter looks at.
const FILTER_REACH: usize = 3;

/// One update over a window whose beginning may have been decoded before.
pub struct Follow<'a> {
    /// Everything that is fed at once: context, start of transcript, no-timestamps token, committed text.
    pub prompt: &'a [u32],
    /// How many tokens at the end of `prompt` are text of this window.
    pub committed: usize,
    pub rules: &'a Rules,
    /// 20 ms frames of the window that hold audio.
    pub content: usize,
    /// Tokens that look at the last `margin` frames are left for later.
    pub margin: usize,
    /// Frame that the last token of the update before looked at; `None` allows attention to go back.
    pub attended: Option<usize>,
    pub max_tokens: usize,
}

/// Why an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model says that there is no more text.
    EndOfText,
    /// The next token looks at the end of the audio.
    EndOfAudio,
    /// Attention jumped back.
    Rewound,
    /// Many tokens looked at one frame.
    Stuck,
    /// The text repeats itself.
    Loop,
    /// More tokens than anyone can say.
    TooMany,
}

/// Text that was added to a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// Text tokens that follow the committed ones.
    pub tokens: Vec<u32>,
    pub probabilities: Vec<f32>,
    /// Frame (20 ms, from the window's start) at which each token begins, and one more: where the last one ends.
    pub begins: Vec<usize>,
    /// Frame that the last token looked at.
    pub attended: Option<usize>,
    /// The token after the last one, which came too close to the end of the audio.
    pub next: Option<u32>,
    /// Mean log-probability over the tokens and what ended them.
    pub avg_logprob: f32,
    /// The probability that nobody speaks, read where the transcript starts.
    pub no_speech: f32,
    pub stop: Stop,
}

impl Decoder {
    /// Continues the text of a window as far as its audio carries it: greedy, without timestamps.
    ///
    /// One batched pass over the prompt, then one pass a token.
    pub fn follow(
        &self,
        task: &Follow,
        audio: &Audio,
        tokenizer: &Tokenizer,
    ) -> Result<Followed, DecoderError> {
        let special = tokenizer.special();
        let mut attention = Attention::new(audio.frames());
        let mut cache = Cache::default();
        let hidden = self
            .graph
            .forward(task.prompt, &mut cache, audio, Some(&mut attention))?;
        let mut row = task.prompt.len().saturating_sub(1);
        let sot = task
            .prompt
            .iter()
            .rposition(|&token| token == special.sot)
            .unwrap_or(0);
        let no_speech = probability(&self.row(&hidden, sot)?, special.no_speech);
        let mut logits = self.row(&hidden, row)?;

        let mut gaze = Gaze::new(task.content, audio.frames());
        (sot..row).for_each(|row| gaze.add(&attention, row));
        let mut text = task.prompt[task.prompt.len() - task.committed..].to_vec();
        let (mut probabilities, mut seen) = (Vec::new(), Vec::new());
        let (mut next, mut sum) = (None, 0.0);
        let stop = loop {
            gaze.add(&attention, row);
            let frame = gaze.frame(&attention, row);
            task.rules.apply(&text, &mut logits);
            let token = argmax(&logits);
            let logprob = logits[token] - log_sum_exp(&logits, 1.0);
            let token = token as u32;
            sum += logprob;
            if token == special.eot {
                break Stop::EndOfText;
            }
            let before = seen.last().copied().or(task.attended);
            if task.attended.is_some() && before.is_some_and(|before| before > frame + REWIND) {
                break Stop::Rewound;
            }
            if task.content.saturating_sub(frame) <= task.margin {
                next = Some(token);
                break Stop::EndOfAudio;
            }
            text.push(token);
            probabilities.push(logprob.exp());
            seen.push(frame);
            if seen.len() >= task.max_tokens {
                break Stop::TooMany;
            }
            if is_stuck(&seen) {
                break Stop::Stuck;
            }
            if is_loop(&text) {
                break Stop::Loop;
            }
            let hidden = self
                .graph
                .forward(&[token], &mut cache, audio, Some(&mut attention))?;
            logits = self.row(&hidden, 0)?;
            row += 1;
        };

        let tokens = text.split_off(task.committed);
        let first_text = task.prompt.len() - task.committed - 1;
        let mut begins = token_frames(&attention, first_text..row + 1, task.content);
        begins.drain(..begins.len().saturating_sub(tokens.len() + 1));
        Ok(Followed {
            avg_logprob: sum / (tokens.len() + 1) as f32,
            tokens,
            probabilities,
            begins,
            attended: seen.last().copied(),
            next,
            no_speech,
            stop,
        })
    }
}

/// Which frame a token looks at, compared with all rows before: mean and variance of each head's weight on each frame
/// are kept up to date (Welford), so that a row costs the same however many there were.
struct Gaze {
    content: usize,
    /// Frames that are kept: the audio and the filter's reach.
    width: usize,
    rows: usize,
    /// (heads, width).
    mean: Vec<f32>,
    /// Sums of squared deviations, (heads, width).
    squares: Vec<f32>,
}

impl Gaze {
    fn new(content: usize, frames: usize) -> Self {
        let content = content.min(frames);
        Self {
            content,
            width: (content + FILTER_REACH).min(frames),
            rows: 0,
            mean: Vec::new(),
            squares: Vec::new(),
        }
    }

    fn add(&mut self, attention: &Attention, row: usize) {
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

    /// The frame of a row that was added last.
    fn frame(&self, attention: &Attention, row: usize) -> usize {
        if self.width == 0 {
            return 0;
        }
        let mut sum = vec![0.0; self.width];
        let mut special = vec![0.0; self.width];
        let rows = self.rows.max(1) as f32;
        for (head, (means, squares)) in self
            .mean
            .chunks_exact(self.width)
            .zip(self.squares.chunks_exact(self.width))
            .enumerate()
        {
            for (((special, x), mean), squares) in special
                .iter_mut()
                .zip(attention.row(head, row))
                .zip(means)
                .zip(squares)
            {
                *special = (x - mean) / (squares / rows).sqrt().max(1e-10);
            }
            add_median_filtered(&special, &mut sum);
        }
        argmax(&sum[..self.content])
    }
}

fn is_stuck(frames: &[usize]) -> bool {
    let tail = &frames[frames.len().saturating_sub(STUCK)..];
    tail.len() == STUCK && tail.iter().all(|frame| *frame == tail[0])
}

/// Whether the text ends in the same token eight times, or in 2 to 8 tokens three times with a dozen tokens in all.
fn is_loop(text: &[u32]) -> bool {
    (1..=8).any(|n| {
        let times = if n == 1 { 8 } else { 12usize.div_ceil(n).max(3) };
        let Some(tail) = text.len().checked_sub(n * times).map(|from| &text[from..]) else {
            return false;
        };
        tail.chunks_exact(n).all(|gram| gram == &tail[..n])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows with one bump each, of one head.
    fn attention(peaks: &[usize], frames: usize) -> Attention {
        let mut attention = Attention::new(frames);
        for &peak in peaks {
            let row: Vec<f32> = (0..frames)
                .map(|frame| (-(frame as f32 - peak as f32).powi(2) / 40.0).exp() + 1e-3)
                .collect();
            attention.record(0, &row);
        }
        attention
    }

    #[test]
    fn a_row_looks_where_it_differs_from_those_before() {
        let peaks = [10, 30, 50, 70];
        let attention = attention(&peaks, 100);
        let mut gaze = Gaze::new(90, 100);
        for (row, peak) in peaks.into_iter().enumerate() {
            gaze.add(&attention, row);
            if row > 0 {
                assert!(gaze.frame(&attention, row).abs_diff(peak) <= 6, "row {row}");
            }
        }
    }

    #[test]
    fn running_mean_and_deviation_are_those_of_all_rows() {
        let attention = attention(&[3, 9, 4, 17], 20);
        let mut gaze = Gaze::new(20, 20);
        (0..4).for_each(|row| gaze.add(&attention, row));
        for frame in 0..20 {
            let column: Vec<f32> = (0..4).map(|row| attention.row(0, row)[frame]).collect();
            let mean = column.iter().sum::<f32>() / 4.0;
            let squares: f32 = column.iter().map(|x| (x - mean) * (x - mean)).sum();
            assert!((gaze.mean[frame] - mean).abs() < 1e-6);
            assert!((gaze.squares[frame] - squares).abs() < 1e-5);
        }
    }

    #[test]
    fn only_frames_that_hold_audio_are_looked_at() {
        let attention = attention(&[5, 80], 100);
        let mut gaze = Gaze::new(40, 100);
        (0..2).for_each(|row| gaze.add(&attention, row));
        assert!(gaze.frame(&attention, 1) < 40);
        let mut empty = Gaze::new(0, 0);
        empty.add(&Attention::new(0), 0);
        assert_eq!(empty.frame(&Attention::new(0), 0), 0);
    }

    #[test]
    fn loops_are_seen_and_lists_are_not() {
        assert!(is_loop(&[7; 8]));
        assert!(!is_loop(&[7; 7]));
        assert!(is_loop(&[1, 2, 3, 4, 9, 4, 9, 4, 9, 4, 9, 4, 9, 4, 9]));
        assert!(is_loop(&[5, 6, 7, 8, 5, 6, 7, 8, 5, 6, 7, 8]));
        assert!(!is_loop(&[1, 2, 3, 1, 2, 4, 1, 2, 3, 1, 2, 4, 8]));
        assert!(!is_loop(&[]));
    }

    #[test]
    fn many_tokens_on_one_frame_are_seen() {
        assert!(is_stuck(&[1, 9, 9, 9, 9, 9, 9]));
        assert!(!is_stuck(&[9, 9, 9, 9, 9]));
        assert!(!is_stuck(&[9, 9, 9, 9, 9, 10]));
    }
}
