// SPDX-License-Identifier: MPL-2.0
//! The mel rows of one run, in a ring.

use ndarray::ArrayView2;

use crate::MelFrame;
use crate::pool::Pooled;

/// Raw log10 mel rows of one run: a ring over a pooled buffer, rows addressed by frame number from
/// the run's start.
///
/// Time-major: row *r* is `n_mels` adjacent values at slot *r* modulo the ring's capacity, and
/// never moves. Windows that overlap are views of the same rows. Beside each row lies the
/// probability that it holds a voice, if a [`VoiceDetector`](crate::VoiceDetector) tells.
pub struct MelRing {
    memory: Pooled<MelRingMemory>,
    n_mels: usize,
    /// Rows in the ring.
    capacity: usize,
    start: MelFrame,
    end: MelFrame,
    /// Row up to which voice is known.
    voice_end: MelFrame,
}

/// Rows by which voice may be ahead.
const VOICE_AHEAD: usize = 4;

/// The buffers behind a [`MelRing`], to be kept in a [`Pool`](crate::pool::Pool).
pub struct MelRingMemory {
    /// `[rows, n_mels]`
    rows: Vec<f32>,
    /// Probability of voice, a ring like that of the rows; a little longer, as voice may be known
    /// before its row is.
    voice: Vec<f32>,
}

impl MelRingMemory {
    /// Buffers for `rows` rows of `n_mels` bands.
    pub fn new(rows: usize, n_mels: usize) -> Self {
        Self {
            rows: vec![0.0; rows * n_mels],
            voice: vec![0.0; rows + VOICE_AHEAD],
        }
    }
}

impl MelRing {
    /// An empty ring with as many rows of `n_mels` bands as there is memory for.
    pub fn new(memory: Pooled<MelRingMemory>, n_mels: usize) -> Self {
        let rows = memory.rows.len().checked_div(n_mels).unwrap_or(0);
        let capacity = rows.min(memory.voice.len() - VOICE_AHEAD);
        Self {
            memory,
            n_mels,
            capacity,
            start: MelFrame::ZERO,
            end: MelFrame::ZERO,
            voice_end: MelFrame::ZERO,
        }
    }

    /// Mel bands, the length of a row.
    pub fn n_mels(&self) -> usize {
        self.n_mels
    }

    /// First row that is there.
    pub fn start(&self) -> MelFrame {
        self.start
    }

    /// The row after the last one that is there.
    pub fn end(&self) -> MelFrame {
        self.end
    }

    /// Rows that still fit.
    pub fn free_rows(&self) -> usize {
        self.capacity - (self.end - self.start).to_usize()
    }

    /// The final place of row [`end`](Self::end), with old content; `None` when the ring is full.
    pub fn next_row(&mut self) -> Option<&mut [f32]> {
        if self.free_rows() == 0 {
            return None;
        }
        let slot = self.slot(self.end);
        Some(&mut self.memory.rows[slot * self.n_mels..][..self.n_mels])
    }

    /// Declares row [`end`](Self::end) complete. In a full ring there is none, and nothing happens.
    pub fn commit_row(&mut self) {
        if self.free_rows() > 0 {
            self.end += MelFrame::ONE;
        }
    }

    /// Gives up the rows before a frame: new ones take their place.
    pub fn release(&mut self, before: MelFrame) {
        self.start = before.clamp(self.start, self.end);
    }

    /// Tells the probability of voice in the next row of which it is not known yet.
    pub fn push_voice(&mut self, probability: f32) {
        let slots = self.memory.voice.len();
        if self.voice_end < self.start + MelFrame::from_usize(slots) {
            self.memory.voice[slot_of(self.voice_end, slots)] = probability;
            self.voice_end += MelFrame::ONE;
        }
    }

    /// Probability of voice in a row that is there; 1 where no detector tells.
    pub fn voice(&self, frame: MelFrame) -> f32 {
        if !(self.start..self.voice_end).contains(&frame) {
            return 1.0;
        }
        self.memory.voice[slot_of(frame, self.memory.voice.len())]
    }

    /// The row after the last one whose voice is known, or [`end`](Self::end) where no detector
    /// tells.
    pub fn voice_end(&self) -> MelFrame {
        if self.voice_end == MelFrame::ZERO {
            self.end
        } else {
            self.voice_end.min(self.end)
        }
    }

    /// Rows `[from, from + frames)` as far as they are there, two views of `[rows, n_mels]`: the
    /// ring's end may part them, else the second view has no rows.
    pub fn views(
        &self,
        from: MelFrame,
        frames: MelFrame,
    ) -> (ArrayView2<'_, f32>, ArrayView2<'_, f32>) {
        let until = from.saturating_add(frames).min(self.end);
        let from = from.clamp(self.start, until.max(self.start));
        let rows = until.saturating_sub(from).to_usize();
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

    fn slot(&self, row: MelFrame) -> usize {
        slot_of(row, self.capacity)
    }
}

/// Where a frame lies in a ring of so many slots.
fn slot_of(frame: MelFrame, slots: usize) -> usize {
    // A ring without slots has no rows, and so no place but this one.
    frame.get().checked_rem(slots as u64).unwrap_or(0) as usize
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pool::Pool;

    /// An empty ring for `rows` rows of `n_mels` bands.
    pub fn ring(rows: usize, n_mels: usize) -> MelRing {
        MelRing::new(
            Pool::new(1, move || MelRingMemory::new(rows, n_mels)).acquire(),
            n_mels,
        )
    }

    /// So many frames.
    pub fn f(frames: u64) -> MelFrame {
        MelFrame::new(frames)
    }

    /// Appends rows full of their own frame number, as many as fit.
    pub fn fill(ring: &mut MelRing, rows: usize) {
        for _ in 0..rows {
            let frame = ring.end().get() as f32;
            if let Some(row) = ring.next_row() {
                row.fill(frame);
            }
            ring.commit_row();
        }
    }

    /// Frame numbers that views of a ring show.
    fn frames((a, b): (ArrayView2<'_, f32>, ArrayView2<'_, f32>)) -> Vec<f32> {
        a.column(0).iter().chain(b.column(0)).copied().collect()
    }

    #[test]
    fn a_full_ring_takes_no_row_until_some_are_released() {
        let mut ring = ring(4, 2);
        fill(&mut ring, 6);
        assert_eq!((ring.start(), ring.end()), (f(0), f(4)));
        assert_eq!(ring.free_rows(), 0);
        assert!(ring.next_row().is_none());
        ring.release(f(3));
        assert_eq!((ring.start(), ring.free_rows()), (f(3), 3));
    }

    #[test]
    fn rows_keep_their_frame_number_across_the_rings_end() {
        let mut ring = ring(4, 2);
        for released in 0..20 {
            fill(&mut ring, 4);
            assert_eq!(
                frames(ring.views(f(released), f(4))),
                [0, 1, 2, 3].map(|i| (released + i) as f32)
            );
            ring.release(f(released + 1));
        }
    }

    #[test]
    fn views_are_clipped_to_the_rows_that_are_there() {
        let mut ring = ring(5, 3);
        fill(&mut ring, 5);
        ring.release(f(2));
        fill(&mut ring, 1);
        assert_eq!(frames(ring.views(f(0), f(100))), [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(frames(ring.views(f(0), f(3))), [2.0]);
        for (from, rows) in [(0, 2), (3, 0), (6, 9), (100, 1), (u64::MAX, u64::MAX)] {
            let views = ring.views(f(from), f(rows));
            assert!(frames(views).is_empty(), "{from} {rows}");
        }
        assert_eq!(frames(ring.views(f(5), MelFrame::MAX)), [5.0]);
    }

    #[test]
    fn overlapping_windows_are_views_of_the_same_rows() {
        let mut ring = ring(8, 2);
        fill(&mut ring, 8);
        let (early, _) = ring.views(f(0), f(6));
        let (late, _) = ring.views(f(2), f(6));
        assert!(std::ptr::eq(&early[[2, 0]], &late[[0, 0]]));
    }

    #[test]
    fn release_goes_neither_back_nor_beyond_the_end() {
        let mut ring = ring(4, 1);
        fill(&mut ring, 3);
        ring.release(f(2));
        ring.release(f(1));
        assert_eq!(ring.start(), f(2));
        ring.release(MelFrame::MAX);
        assert_eq!((ring.start(), ring.end()), (f(3), f(3)));
    }

    #[test]
    fn a_buffer_too_small_for_a_row_holds_none() {
        for mut ring in [ring(0, 80), ring(7, 0)] {
            assert_eq!(ring.free_rows(), 0);
            assert!(ring.next_row().is_none());
            ring.commit_row();
            assert_eq!(frames_count(&ring), 0);
        }
    }

    fn frames_count(ring: &MelRing) -> usize {
        let (a, b) = ring.views(f(0), f(10));
        a.nrows() + b.nrows()
    }
}
