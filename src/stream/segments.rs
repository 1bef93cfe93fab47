// SPDX-License-Identifier: MPL-2.0
//! The segments that a window's timestamp tokens mark, and where the next window starts
//! (openai/whisper `transcribe.py`).

use std::ops::Range;

/// Steps of a timestamp token, in frames of 10 ms.
const FRAMES_PER_STEP: u64 = 2;
/// A window that would advance by less than this is taken as a whole: the decoder lost its way.
const MIN_ADVANCE: u64 = 20;

/// Text between two timestamps, in steps of 20 ms from the start of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub start: u64,
    pub end: u64,
    /// Its text tokens among those of the window.
    pub tokens: Range<usize>,
}

/// What a decoded window holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub segments: Vec<Segment>,
    /// Frames until the next window's start.
    pub advance: u64,
    /// The last segment is open: its end is the window's, not one that was heard.
    pub whole: bool,
}

/// Reads `tokens` of a window with `frames` frames of audio. Timestamps are the tokens from `begin` on.
pub(super) fn split(tokens: &[u32], begin: u32, frames: u64) -> Window {
    let is_time = |index: usize| tokens.get(index).is_some_and(|&token| token >= begin);
    let step = |index: usize| u64::from(tokens[index] - begin).min(frames / FRAMES_PER_STEP);
    // Ends in <text><timestamp>: nothing was said after it.
    let closed = is_time(tokens.len().wrapping_sub(1)) && !is_time(tokens.len().wrapping_sub(2));
    let mut cuts: Vec<usize> = (1..tokens.len())
        .filter(|&i| is_time(i) && is_time(i - 1))
        .collect();
    let whole = Window {
        segments: Vec::new(),
        advance: frames,
        whole: true,
    };

    if cuts.is_empty() {
        let last = (1..tokens.len()).rev().find(|&i| is_time(i)).map(&step);
        let end = last
            .filter(|&end| end > 0)
            .unwrap_or(frames / FRAMES_PER_STEP);
        let start = if is_time(0) { step(0) } else { 0 };
        return whole.with(segment(0..tokens.len(), start.min(end), end, &is_time));
    }
    if closed {
        cuts.push(tokens.len());
    }
    let mut segments = Vec::new();
    let mut from = 0;
    for &cut in &cuts {
        let start = if is_time(from) { step(from) } else { 0 };
        let end = step(cut - 1).max(start);
        segments.extend(segment(from..cut, start, end, &is_time));
        from = cut;
    }
    let advance = step(from - 1) * FRAMES_PER_STEP;
    if closed || advance < MIN_ADVANCE.min(frames) {
        return Window { segments, ..whole };
    }
    Window {
        segments,
        advance,
        whole: false,
    }
}

impl Window {
    fn with(mut self, segment: Option<Segment>) -> Self {
        self.segments.extend(segment);
        self
    }
}

/// The segment in `tokens`, without the timestamps at its ends; none where there is no text.
fn segment(
    mut tokens: Range<usize>,
    start: u64,
    end: u64,
    is_time: &impl Fn(usize) -> bool,
) -> Option<Segment> {
    while !tokens.is_empty() && is_time(tokens.start) {
        tokens.start += 1;
    }
    while !tokens.is_empty() && is_time(tokens.end - 1) {
        tokens.end -= 1;
    }
    (!tokens.is_empty()).then_some(Segment { start, end, tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u32 = 100;

    #[test]
    fn text_after_the_last_pair_is_left_to_the_next_window() {
        let window = split(
            &[T, 1, 2, T + 200, T + 210, 3, T + 400, T + 400, 4, 5],
            T,
            3000,
        );
        assert_eq!(
            window.segments,
            [
                Segment {
                    start: 0,
                    end: 200,
                    tokens: 1..3
                },
                Segment {
                    start: 210,
                    end: 400,
                    tokens: 5..6
                },
            ]
        );
        assert_eq!((window.advance, window.whole), (800, false));
    }

    #[test]
    fn a_closing_timestamp_means_the_rest_of_the_window_is_silent() {
        let window = split(&[T, 1, T + 200, T + 210, 2, T + 400], T, 3000);
        assert_eq!(window.segments.len(), 2);
        assert_eq!((window.advance, window.whole), (3000, true));
    }

    #[test]
    fn a_window_without_pairs_is_one_segment() {
        let window = split(&[T + 5, 1, 2, 3], T, 1000);
        assert_eq!(
            window.segments,
            [Segment {
                start: 5,
                end: 500,
                tokens: 1..4
            }]
        );
        assert_eq!(window.advance, 1000);
        assert_eq!(split(&[T + 5, 1, T + 90], T, 1000).segments[0].end, 90);
    }

    #[test]
    fn a_window_always_advances() {
        assert_eq!(split(&[T, 1, T, T, 2], T, 3000).advance, 3000);
        assert_eq!(
            split(&[], T, 3000),
            Window {
                segments: vec![],
                advance: 3000,
                whole: true
            }
        );
        assert_eq!(split(&[T], T, 10).advance, 10);
    }

    #[test]
    fn times_beyond_the_audio_are_cut() {
        assert_eq!(split(&[T, 1, T + 1400], T, 1000).segments[0].end, 500);
    }
}
