// SPDX-License-Identifier: MPL-2.0
//! The rows of one run, in a ring.

use ndarray::ArrayView2;

use crate::pool::Pooled;

/// Raw log10 mel rows of one run: a ring over a pooled buffer, rows addressed by absolute frame number (10 ms each,
/// counted from the run's start).
///
/// Time-major: row r is `n_mels` adjacent values at slot r modulo the ring's capacity, and never moves. Windows that
/// overlap are views of the same rows.
pub struct MelRing {
    memory: Pooled<MelRingMemory>,
    n_mels: usize,
    /// Rows in the ring.
    capacity: usize,
    start: u64,
    end: u64,
    /// Row up to which voice is known.
    voice_end: u64,
}

/// Rows by which voice may be ahead.
const VOICE_AHEAD: usize = 4;

/// What a track lies in, to be pooled.
pub struct MelRingMemory {
    /// (rows, n_mels)
    rows: Vec<f32>,
    /// Probability of voice, a ring like that of the rows; a little longer, as voice may be known before its row is.
    voice: Vec<f32>,
}

impl MelRingMemory {
    /// For `rows` rows of `n_mels` bands.
    pub fn new(rows: usize, n_mels: usize) -> Self {
        Self {
            rows: vec![0.0; rows * n_mels],
            voice: vec![0.0; rows + VOICE_AHEAD],
        }
    }
}

impl MelRing {
    /// An empty track with as many rows of `n_mels` bands as there is memory for.
    pub fn new(memory: Pooled<MelRingMemory>, n_mels: usize) -> Self {
        let rows = memory.rows.len().checked_div(n_mels).unwrap_or(0);
        let capacity = rows.min(memory.voice.len() - VOICE_AHEAD);
        Self {
            memory,
            n_mels,
            capacity,
            start: 0,
            end: 0,
            voice_end: 0,
        }
    }

    pub fn n_mels(&self) -> usize {
        self.n_mels
    }

    /// First row that is there.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The row after the last one that is there.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Rows that still fit.
    pub fn room(&self) -> usize {
        self.capacity - (self.end - self.start) as usize
    }

    /// The final place of row [`end`](Self::end), with old content; `None` when the ring is full.
    pub fn next_row(&mut self) -> Option<&mut [f32]> {
        if self.room() == 0 {
            return None;
        }
        let slot = self.slot(self.end);
        Some(&mut self.memory.rows[slot * self.n_mels..][..self.n_mels])
    }

    /// Row [`end`](Self::end) is complete. Without room there is none, and nothing happens.
    pub fn commit_row(&mut self) {
        if self.room() > 0 {
            self.end += 1;
        }
    }

    /// Rows before that frame are not needed any more.
    pub fn release(&mut self, before: u64) {
        self.start = before.clamp(self.start, self.end);
    }

    /// Tells how likely it is that somebody speaks in the next row of which that is not known yet.
    pub fn push_voice(&mut self, probability: f32) {
        if self.voice_end < self.start + self.memory.voice.len() as u64 {
            let slot = (self.voice_end % self.memory.voice.len() as u64) as usize;
            self.memory.voice[slot] = probability;
            self.voice_end += 1;
        }
    }

    /// Probability that somebody speaks in a row that is there; 1 where nothing says otherwise.
    pub fn voice(&self, frame: u64) -> f32 {
        if !(self.start..self.voice_end).contains(&frame) {
            return 1.0;
        }
        self.memory.voice[(frame % self.memory.voice.len() as u64) as usize]
    }

    /// The row after the last one whose voice is known, or the last one if nobody tells.
    pub fn heard(&self) -> u64 {
        if self.voice_end == 0 {
            self.end
        } else {
            self.voice_end.min(self.end)
        }
    }

    /// Rows `[from, from + frames)` as far as they are there, each (rows, n_mels): the ring's end may part them in two,
    /// else the second view has no rows.
    pub fn views(&self, from: u64, frames: usize) -> (ArrayView2<'_, f32>, ArrayView2<'_, f32>) {
        let until = from.saturating_add(frames as u64).min(self.end);
        let from = from.clamp(self.start, until.max(self.start));
        let rows = until.saturating_sub(from) as usize;
        let slot = self.slot(from);
        let before_wrap = rows.min(self.capacity - slot);
        (
            self.slots(slot, before_wrap),
            self.slots(0, rows - before_wrap),
        )
    }

    fn slots(&self, first: usize, rows: usize) -> ArrayView2<'_, f32> {
        let values = &self.memory.rows[first * self.n_mels..][..rows * self.n_mels];
        ArrayView2::from_shape((rows, self.n_mels), values)
            .expect("the slice has rows * n_mels values")
    }

    fn slot(&self, row: u64) -> usize {
        // A ring without capacity has no rows, and so no slot but this one.
        row.checked_rem(self.capacity as u64).unwrap_or(0) as usize
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pool::Pool;

    /// An empty track for `rows` rows of `n_mels` bands.
    pub fn track(rows: usize, n_mels: usize) -> MelRing {
        MelRing::new(
            Pool::new(1, move || MelRingMemory::new(rows, n_mels)).acquire(),
            n_mels,
        )
    }

    /// Appends rows full of their own frame number, as many as fit.
    pub fn fill(track: &mut MelRing, rows: usize) {
        for _ in 0..rows {
            let frame = track.end() as f32;
            if let Some(row) = track.next_row() {
                row.fill(frame);
            }
            track.commit_row();
        }
    }

    /// Frame numbers that views of a track show.
    fn frames((a, b): (ArrayView2<'_, f32>, ArrayView2<'_, f32>)) -> Vec<f32> {
        a.column(0).iter().chain(b.column(0)).copied().collect()
    }

    #[test]
    fn a_full_ring_takes_no_row_until_some_are_released() {
        let mut track = track(4, 2);
        fill(&mut track, 6);
        assert_eq!((track.start(), track.end(), track.room()), (0, 4, 0));
        assert!(track.next_row().is_none());
        track.release(3);
        assert_eq!((track.start(), track.room()), (3, 3));
    }

    #[test]
    fn rows_keep_their_frame_number_across_the_rings_end() {
        let mut track = track(4, 2);
        for released in 0..20 {
            fill(&mut track, 4);
            assert_eq!(
                frames(track.views(released, 4)),
                [0, 1, 2, 3].map(|i| (released + i) as f32)
            );
            track.release(released + 1);
        }
    }

    #[test]
    fn views_are_clipped_to_the_rows_that_are_there() {
        let mut track = track(5, 3);
        fill(&mut track, 5);
        track.release(2);
        fill(&mut track, 1);
        assert_eq!(frames(track.views(0, 100)), [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(frames(track.views(0, 3)), [2.0]);
        for (from, rows) in [(0, 2), (3, 0), (6, 9), (100, 1), (u64::MAX, usize::MAX)] {
            assert!(frames(track.views(from, rows)).is_empty(), "{from} {rows}");
        }
        assert_eq!(frames(track.views(5, usize::MAX)), [5.0]);
    }

    #[test]
    fn overlapping_windows_are_views_of_the_same_rows() {
        let mut track = track(8, 2);
        fill(&mut track, 8);
        let (early, _) = track.views(0, 6);
        let (late, _) = track.views(2, 6);
        assert!(std::ptr::eq(&early[[2, 0]], &late[[0, 0]]));
    }

    #[test]
    fn release_goes_neither_back_nor_beyond_the_end() {
        let mut track = track(4, 1);
        fill(&mut track, 3);
        track.release(2);
        track.release(1);
        assert_eq!(track.start(), 2);
        track.release(u64::MAX);
        assert_eq!((track.start(), track.end()), (3, 3));
    }

    #[test]
    fn a_buffer_too_small_for_a_row_holds_none() {
        for mut track in [track(0, 80), track(7, 0)] {
            assert_eq!(track.room(), 0);
            assert!(track.next_row().is_none());
            track.commit_row();
            assert_eq!(frames_count(&track), 0);
        }
    }

    fn frames_count(track: &MelRing) -> usize {
        let (a, b) = track.views(0, 10);
        a.nrows() + b.nrows()
    }
}
