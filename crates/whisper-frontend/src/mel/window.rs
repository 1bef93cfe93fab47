// SPDX-License-Identifier: MPL-2.0
//! Whisper's normalisation of a window, on the way from the ring to the encoder's input.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, Zip};

use super::{MelRing, SILENCE};
use crate::MelFrame;

/// Decades below the window's loudest value that count: 80 dB.
const RANGE: f32 = 8.0;

impl MelRing {
    /// Packs pieces of the run, one after the other, into `out`, `[window frames, n_mels]`, as the
    /// encoder wants them: clamped to at least the window's maximum − 8, then (x + 4) / 4, so that
    /// values end near ±1.
    ///
    /// What a piece has outside the rows that are there, and what follows the last piece, is digital
    /// silence, as in a window whose waveform was padded with zeros. It takes part in the maximum.
    ///
    /// Source: `log_mel_spectrogram` in openai/whisper `audio.py`, where the window is the whole
    /// input.
    pub fn pack_window(&self, pieces: &[Range<MelFrame>], mut out: ArrayViewMut2<'_, f32>) {
        let is_there = |piece: &Range<MelFrame>| {
            self.start() <= piece.start && piece.end <= self.end() && piece.start <= piece.end
        };
        let rows: u64 = pieces
            .iter()
            .map(|piece| (piece.end - piece.start).get())
            .sum();
        let is_full = rows >= out.nrows() as u64 && pieces.iter().all(is_there);
        let floor = if is_full { f32::NEG_INFINITY } else { SILENCE };
        let mut room = MelFrame::from_usize(out.nrows());
        let mut loudest = floor;
        for piece in pieces {
            let (head, tail) = self.views(piece.start, (piece.end - piece.start).min(room));
            room -= (piece.end - piece.start).min(room);
            loudest = loudest.max(maximum(head)).max(maximum(tail));
        }
        let normalise = |x: f32| (x.max(loudest - RANGE) + 4.0) / 4.0;
        let mut rest = out.view_mut();
        for piece in pieces {
            let frames = (piece.end - piece.start).to_usize().min(rest.nrows());
            let (own, after) = rest.split_at(Axis(0), frames);
            self.pack_piece(piece.start, own, normalise);
            rest = after;
        }
        rest.fill(normalise(SILENCE));
    }

    /// The rows from `from` on, as many as `out` has.
    fn pack_piece(
        &self,
        from: MelFrame,
        out: ArrayViewMut2<'_, f32>,
        normalise: impl Fn(f32) -> f32,
    ) {
        let frames = MelFrame::from_usize(out.nrows());
        let (head, tail) = self.views(from, frames);
        let silent_before = self.start().saturating_sub(from).min(frames).to_usize();
        let (mut before, rest) = out.split_at(Axis(0), silent_before);
        let (head_out, rest) = rest.split_at(Axis(0), head.nrows());
        let (tail_out, mut after) = rest.split_at(Axis(0), tail.nrows());
        for (rows, out) in [(head, head_out), (tail, tail_out)] {
            Zip::from(out)
                .and(rows)
                .for_each(|out, &x| *out = normalise(x));
        }
        before.fill(normalise(SILENCE));
        after.fill(normalise(SILENCE));
    }
}

/// The largest value, −∞ if there is none. In lanes, since a single running maximum cannot be
/// vectorised.
fn maximum(rows: ArrayView2<'_, f32>) -> f32 {
    let (lanes, rest) = rows.to_slice().unwrap_or_default().as_chunks::<16>();
    let mut largest = [f32::NEG_INFINITY; 16];
    for lane in lanes {
        for (largest, &x) in largest.iter_mut().zip(lane) {
            *largest = if x > *largest { x } else { *largest };
        }
    }
    largest
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::super::ring::tests::{f, fill, ring};
    use super::*;
    use ndarray::Array2;

    /// First band of the window that `ring` packs.
    fn packed(ring: &MelRing, from: u64, frames: u64, rows: usize) -> Vec<f32> {
        let mut out = Array2::from_elem((rows, ring.n_mels()), f32::NAN);
        ring.pack_window(&[f(from)..f(from + frames)], out.view_mut());
        assert!(
            out.rows()
                .into_iter()
                .all(|row| row.iter().all(|&x| x == row[0]))
        );
        out.column(0).to_vec()
    }

    #[test]
    fn values_are_clamped_below_the_maximum_and_scaled() {
        let mut ring = ring(20, 3);
        fill(&mut ring, 12);
        assert_eq!(packed(&ring, 1, 11, 11)[..4], [1.75, 1.75, 1.75, 2.0]);
        assert_eq!(packed(&ring, 1, 11, 11)[10], 3.75);
    }

    #[test]
    fn what_is_not_there_is_silence() {
        let mut ring = ring(4, 20);
        fill(&mut ring, 4);
        ring.release(f(2));
        fill(&mut ring, 1);
        // Rows 2 to 4; the maximum is 4, so silence becomes (4 − 8 + 4) / 4 = 0.
        assert_eq!(packed(&ring, 0, 6, 6), [0.0, 0.0, 1.5, 1.75, 2.0, 0.0]);
        assert_eq!(packed(&ring, 2, 3, 3), [1.5, 1.75, 2.0]);
        assert_eq!(packed(&ring, 2, 1, 3), [1.5, -0.5, -0.5]);
        assert_eq!(packed(&ring, 90, 3, 2), [-1.5, -1.5]);
        assert_eq!(packed(&ring, 0, 1, 1), [-1.5]);
    }

    #[test]
    fn silence_takes_part_in_the_maximum() {
        let mut ring = ring(2, 1);
        if let Some(row) = ring.next_row() {
            row.fill(-30.0);
        }
        ring.commit_row();
        assert_eq!(packed(&ring, 0, 1, 1), [-6.5]);
        assert_eq!(packed(&ring, 0, 2, 2), [-3.5, -1.5]);
    }
}
