// SPDX-License-Identifier: MPL-2.0
//! Decoding that stops where the audio does: AlignAtt (Papi, Turchi, Negri 2023, arXiv 2305.11408), with Whisper's
//! alignment heads (Simul-Whisper, arXiv 2406.10052).
//!
//! The row of cross-attention from which a token was predicted says which audio the token stands for. A token that
//! looks at the last moments of the audio may change when more is heard: it and what follows are left for later.

use super::alignment::{Attention, add_median_filtered, token_frames};
use super::sampling::{argmax, log_sum_exp, probability};
use super::{DecodeSession, Decoder, DecoderError, EncodedWindow, TokenSuppressor};
use whisper_model::Tokenizer;

/// Attention that jumps back by more than this many 20 ms frames lost its place.
const REWIND: usize = 200;
/// So many tokens in a row on one frame were not heard there.
const STUCK: usize = 6;
/// Tokens at the end of the audio that are decoded although they are not sure: they are what the others are compared
/// with, and what may be shown as a preview.
const TAIL: usize = 5;
/// So many tokens that begin within one 20 ms frame were not heard: the model goes on from what it read.
const CROWD: usize = 5;
/// Frames beyond the audio that the median filter looks at.
const FILTER_REACH: usize = 3;

/// One update over a window whose beginning may have been decoded before.
pub struct AlignAttRequest<'a> {
    /// Everything that is fed at once: context, start of transcript, no-timestamps token, committed text.
    pub prompt: &'a [u32],
    /// How many tokens at the end of `prompt` are text of this window.
    pub committed: usize,
    /// What may come next, from the update before: fed with the prompt, and kept as far as the model would have written
    /// it anyway.
    pub draft: &'a [u32],
    pub rules: &'a TokenSuppressor,
    /// 20 ms frames of the window that hold audio.
    pub content: usize,
    /// Tokens that look at the last `margin` frames are left for later; `None` where attention does not tell.
    pub margin: Option<usize>,
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
pub struct AlignAttResult {
    /// Text tokens that follow the committed ones.
    pub tokens: Vec<u32>,
    pub probabilities: Vec<f32>,
    /// Frame (20 ms, from the window's start) at which each token begins, and one more: where the last one ends.
    pub begins: Vec<usize>,
    /// Frame that the last token looked at.
    pub attended: Option<usize>,
    /// Tokens that were thrown away with all that came after them, since there is no audio that they could stand for.
    pub unheard: usize,
    /// What the model would go on with at the end of the audio: not sure yet, and never more than a few tokens.
    pub tail: Vec<u32>,
    /// Mean log-probability over the tokens and what ended them.
    pub avg_logprob: f32,
    /// The probability that nobody speaks, read where the transcript starts.
    pub no_speech: f32,
    pub stop: Stop,
}

impl Decoder {
    /// Continues the text of a window as far as its audio carries it: greedy, without timestamps.
    ///
    /// One batched pass over the prompt and the draft, then one pass a token from where the draft is wrong.
    pub fn follow(
        &self,
        task: &AlignAttRequest,
        audio: &EncodedWindow,
        tokenizer: &Tokenizer,
    ) -> Result<AlignAttResult, DecoderError> {
        let special = tokenizer.special();
        let mut attention = Attention::new(audio.frames());
        let mut cache = DecodeSession::default();
        let fed = [task.prompt, task.draft].concat();
        self.forward(&fed, &mut cache, audio, Some(&mut attention))?;
        // Tokens that were fed last: what follows each of them can be asked for.
        let mut rows = 0..fed.len();
        let sot = task
            .prompt
            .iter()
            .rposition(|&token| token == special.sot)
            .unwrap_or(0);
        let mut logits = Vec::new();
        self.row(&mut cache, sot, &mut logits)?;
        let no_speech = probability(&logits, special.no_speech);

        let mut gaze = AttentionTracker::new(task.content, audio.frames());
        let first_row = task.prompt.len().saturating_sub(1);
        (sot..first_row).for_each(|row| gaze.add(&attention, row));
        let mut row = first_row;
        let mut text = task.prompt[task.prompt.len() - task.committed..].to_vec();
        let mut logprobs = Vec::new();
        let mut beyond = 0;
        let ended = loop {
            gaze.add(&attention, row);
            let at_end = task.is_at_end(gaze.frame(&attention, row));
            beyond = if at_end { beyond + 1 } else { 0 };
            self.row(&mut cache, row - rows.start, &mut logits)?;
            task.rules.apply(&text, &mut logits);
            let token = argmax(&logits);
            logprobs.push(logits[token] - log_sum_exp(&logits, 1.0));
            let token = token as u32;
            if token == special.eot {
                break Stop::EndOfText;
            }
            text.push(token);
            if beyond >= TAIL {
                break Stop::EndOfAudio;
            }
            if logprobs.len() >= task.max_tokens + TAIL {
                break Stop::TooMany;
            }
            if is_loop(&text) {
                break Stop::Loop;
            }
            row += 1;
            if !(rows.contains(&row) && fed[row] == token) {
                cache.truncate(0, row);
                attention.truncate(row);
                self.forward(&[token], &mut cache, audio, Some(&mut attention))?;
                rows = row..row + 1;
            }
        };
        let tokens = text.split_off(task.committed);
        // Against all rows: the first tokens of a window had little to be compared with.
        let frames: Vec<usize> = (first_row..first_row + tokens.len())
            .map(|row| gaze.frame(&attention, row))
            .collect();
        let begins = task.begins(&attention, row + 1, tokens.len());
        Ok(task.result(tokens, frames, begins, logprobs, no_speech, ended))
    }
}

impl AlignAttRequest<'_> {
    fn is_at_end(&self, frame: usize) -> bool {
        self.margin
            .is_some_and(|margin| self.content.saturating_sub(frame) <= margin)
    }

    /// Where each of `count` new tokens begins, and where the last one ends, by all rows before `until`.
    fn begins(&self, attention: &Attention, until: usize, count: usize) -> Vec<usize> {
        let first_text = self.prompt.len() - self.committed - 1;
        let mut begins = token_frames(attention, first_text..until, self.content);
        begins.drain(..self.committed.min(begins.len()));
        begins.resize(count + 1, self.content);
        begins
    }

    /// What is kept of `tokens`, which looked at `frames` when decoding `ended`.
    fn result(
        &self,
        mut tokens: Vec<u32>,
        frames: Vec<usize>,
        mut begins: Vec<usize>,
        logprobs: Vec<f32>,
        no_speech: f32,
        ended: Stop,
    ) -> AlignAttResult {
        let cut = frames.iter().position(|frame| self.is_at_end(*frame));
        let crowd = crowd(&begins[..=cut.unwrap_or(tokens.len())]);
        let unheard = crowd.map_or(0, |from| tokens.split_off(from).len());
        let kept = cut.unwrap_or(tokens.len()).min(tokens.len());
        let tail = tokens.split_off(kept);
        begins.truncate(kept + 1);
        let used = &logprobs[..(kept + 1).min(logprobs.len())];
        AlignAttResult {
            avg_logprob: used.iter().sum::<f32>() / used.len().max(1) as f32,
            probabilities: used[..kept].iter().map(|p| p.exp()).collect(),
            attended: kept.checked_sub(1).map(|last| frames[last]),
            stop: self.stop(&frames[..kept], cut, ended),
            tokens,
            begins,
            tail,
            no_speech,
            unheard,
        }
    }

    /// Why the tokens that looked at `frames` are the last ones, when one after them looked at the end of the audio
    /// (`cut`), or decoding `ended` first.
    fn stop(&self, frames: &[usize], cut: Option<usize>, ended: Stop) -> Stop {
        let mut before = self.attended;
        for &frame in frames {
            if before.is_some_and(|before| before > frame + REWIND) {
                return Stop::Rewound;
            }
            before = self.attended.and(Some(frame));
        }
        match cut {
            _ if self.margin.is_some() && is_stuck(frames) => Stop::Stuck,
            _ if frames.len() > self.max_tokens => Stop::TooMany,
            Some(_) => Stop::EndOfAudio,
            None => ended,
        }
    }
}

/// Which frame a token looks at, compared with all rows before: mean and variance of each head's weight on each frame
/// are kept up to date (Welford), so that a row costs the same however many there were.
struct AttentionTracker {
    content: usize,
    /// Frames that are kept: the audio and the filter's reach.
    width: usize,
    rows: usize,
    /// (heads, width).
    mean: Vec<f32>,
    /// Sums of squared deviations, (heads, width).
    squares: Vec<f32>,
}

impl AttentionTracker {
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

/// The first of [`CROWD`] tokens that begin within one frame.
fn crowd(begins: &[usize]) -> Option<usize> {
    begins
        .windows(CROWD)
        .position(|some| some[CROWD - 1] == some[0])
}

fn is_stuck(frames: &[usize]) -> bool {
    frames
        .windows(STUCK)
        .any(|some| some.iter().all(|frame| *frame == some[0]))
}

/// Whether the text ends in the same token eight times, or in 2 to 8 tokens three times with a dozen tokens in all.
fn is_loop(text: &[u32]) -> bool {
    (1..=8).any(|n| {
        let times = if n == 1 {
            8
        } else {
            12usize.div_ceil(n).max(3)
        };
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
    fn a_row_looks_where_it_differs_from_those_before() {
        let peaks = [10, 30, 50, 70];
        let attention = attention(&peaks, 100);
        let mut gaze = AttentionTracker::new(90, 100);
        (0..peaks.len()).for_each(|row| gaze.add(&attention, row));
        for (row, peak) in peaks.into_iter().enumerate() {
            let frame = gaze.frame(&attention, row);
            assert!(frame.abs_diff(peak) <= 10, "row {row}: {frame}");
        }
    }

    #[test]
    fn running_mean_and_deviation_are_those_of_all_rows() {
        let attention = attention(&[3, 9, 4, 17], 20);
        let mut gaze = AttentionTracker::new(20, 20);
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
        let mut gaze = AttentionTracker::new(40, 100);
        (0..2).for_each(|row| gaze.add(&attention, row));
        assert!(gaze.frame(&attention, 1) < 40);
        let mut empty = AttentionTracker::new(0, 0);
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
    fn a_crowd_of_tokens_is_found_where_it_begins() {
        assert_eq!(crowd(&[3, 9, 9, 9, 9, 9, 12]), Some(1));
        assert_eq!(crowd(&[3, 9, 9, 9, 9, 12]), None);
        assert_eq!(crowd(&[]), None);
    }

    #[test]
    fn many_tokens_on_one_frame_are_seen() {
        assert!(is_stuck(&[1, 9, 9, 9, 9, 9, 9]));
        assert!(!is_stuck(&[9, 9, 9, 9, 9]));
        assert!(!is_stuck(&[9, 9, 9, 9, 9, 10]));
    }

    #[test]
    fn tokens_are_cut_where_one_looks_at_the_end_and_refused_where_attention_jumps() {
        let rules = TokenSuppressor::none();
        let task = |attended| AlignAttRequest {
            prompt: &[],
            committed: 0,
            rules: &rules,
            content: 500,
            draft: &[],
            margin: Some(25),
            attended,
            max_tokens: 4,
        };
        assert!(task(None).is_at_end(475) && !task(None).is_at_end(474));
        let stop =
            |attended, frames: &[usize], cut| task(attended).stop(frames, cut, Stop::EndOfText);
        assert_eq!(stop(None, &[1, 2, 3], Some(3)), Stop::EndOfAudio);
        assert_eq!(stop(None, &[1, 2, 3], None), Stop::EndOfText);
        assert_eq!(stop(Some(300), &[99], None), Stop::Rewound);
        assert_eq!(stop(Some(300), &[310, 100], None), Stop::Rewound);
        assert_eq!(stop(None, &[310, 100], None), Stop::EndOfText);
        assert_eq!(stop(None, &[1, 2, 3, 4, 5], Some(5)), Stop::TooMany);
        assert_eq!(stop(None, &[8; 6], None), Stop::Stuck);
    }
}
