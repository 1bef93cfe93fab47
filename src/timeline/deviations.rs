// SPDX-License-Identifier: MPL-2.0
//! How far the latest time stamps are from the count of samples, and what of that lasts.

use std::collections::VecDeque;

use whisper_engine::SAMPLE_RATE;

/// Audio whose time stamps are looked at. A change that lasts for half of it is lasting.
const WINDOW: u64 = 2 * SAMPLE_RATE as u64;
/// Time stamps that are needed at least, however long their buffers are.
const MIN_COUNT: usize = 8;
/// Of shorter buffers, some time stamps are left out.
const MIN_SPACING: u64 = SAMPLE_RATE as u64 / 64;
const MAX_COUNT: usize = (WINDOW / MIN_SPACING) as usize + 2;

/// A lasting deviation below this is left alone: half of what an audio sink tolerates.
const MIN_SHIFT: i64 = 20_000_000;
/// Time stamps that vary by less than two samples were counted, not measured.
const EXACT: u64 = 125_000;

/// Deviations of the latest time stamps of a run.
#[derive(Clone, Debug)]
pub struct Deviations {
    entries: VecDeque<Deviation>,
}

#[derive(Clone, Copy, Debug)]
struct Deviation {
    /// Position in the run, in samples.
    at: u64,
    /// PTS less the count, in nanoseconds.
    offset: i64,
}

/// The time stamps have moved for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Position in the run, in samples, from which on they differ.
    pub since: u64,
    /// PTS less the count from there on, in nanoseconds.
    pub offset: i64,
}

impl Deviations {
    pub fn new() -> Self {
        Self {
            entries: VecDeque::with_capacity(MAX_COUNT),
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a time stamp: that of sample `at` is `offset` nanoseconds from the count.
    pub fn push(&mut self, at: u64, offset: i64) {
        if self
            .entries
            .back()
            .is_some_and(|last| at - last.at < MIN_SPACING)
        {
            return;
        }
        while self.entries.len() == MAX_COUNT
            || (self.entries.len() >= MIN_COUNT
                && self
                    .entries
                    .get(1)
                    .is_some_and(|next| at - next.at >= WINDOW))
        {
            self.entries.pop_front();
        }
        self.entries.push_back(Deviation { at, offset });
    }

    /// Moves all of them: from here on, the count differs by so much.
    pub fn rebase(&mut self, shift: i64) {
        for entry in &mut self.entries {
            entry.offset = entry.offset.saturating_add(shift);
        }
    }

    /// Largest less smallest, in nanoseconds.
    pub fn spread(&self) -> u64 {
        let offsets = || self.entries.iter().map(|entry| entry.offset);
        match (offsets().min(), offsets().max()) {
            (Some(min), Some(max)) => max.abs_diff(min),
            _ => 0,
        }
    }

    /// The latest, if upstream counts samples as well. A jump is then no jitter.
    pub fn exact(&self) -> Option<i64> {
        let is_enough = self.entries.len() >= MIN_COUNT / 2 && self.span() >= WINDOW / 4;
        let last = self.entries.back()?;
        (is_enough && self.spread() <= EXACT).then_some(last.offset)
    }

    /// The change from `target`, the offset so far, that both halves of the window agree on.
    ///
    /// The middle of jitter, not its edge, decides in both. A stall does not count: the buffers
    /// that arrive in a burst after it catch up.
    pub fn lasting(&self, target: i64) -> Option<Shift> {
        if self.entries.len() < MIN_COUNT || self.span() < WINDOW / 4 * 3 {
            return None;
        }
        let mut values = [0; MAX_COUNT];
        let values = &mut values[..self.entries.len()];
        for (value, entry) in values.iter_mut().zip(&self.entries) {
            *value = entry.offset.saturating_sub(target);
        }
        let threshold = MIN_SHIFT.max((self.spread() / 5) as i64);
        let change_point = |level| change_point(values, level);
        let half = values.len() / 2;
        let (mut older, mut newer) = ([0; MAX_COUNT], [0; MAX_COUNT]);
        older[..half].copy_from_slice(&values[..half]);
        newer[..values.len() - half].copy_from_slice(&values[half..]);
        let level = midmean(&mut newer[..values.len() - half]);
        let before = midmean(&mut older[..half]);
        if before.abs().min(level.abs()) < threshold || (before < 0) != (level < 0) {
            return None;
        }
        let since = self.entries.get(change_point(level))?.at;
        Some(Shift {
            since,
            offset: target.saturating_add(level),
        })
    }

    /// Forgets what came before a shift.
    pub fn forget_before(&mut self, since: u64) {
        while self.entries.front().is_some_and(|entry| entry.at < since) {
            self.entries.pop_front();
        }
    }

    /// Samples from the first to the last of them.
    fn span(&self) -> u64 {
        match (self.entries.front(), self.entries.back()) {
            (Some(first), Some(last)) => last.at - first.at,
            _ => 0,
        }
    }
}

/// The mean of the middle half.
fn midmean(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    let quarter = values.len() / 4;
    let middle = &values[quarter..values.len() - quarter];
    let sum: i128 = middle.iter().copied().map(i128::from).sum();
    (sum / middle.len().max(1) as i128) as i64
}

/// The index where values around 0 most likely give way to values around `level`.
fn change_point(values: &[i64], level: i64) -> usize {
    let (mut best, mut least, mut sum) = (0, 0, 0i128);
    for (index, value) in values.iter().enumerate() {
        sum += i128::from(value.unsigned_abs()) - i128::from(value.abs_diff(level));
        if sum < least {
            (best, least) = (index + 1, sum);
        }
    }
    best.min(values.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    /// Samples in 20 ms.
    const BUFFER: u64 = 320;

    /// After these offsets, in ms, of buffers of 20 ms.
    fn after(offsets: impl IntoIterator<Item = i64>) -> Deviations {
        let mut deviations = Deviations::new();
        for (index, offset) in offsets.into_iter().enumerate() {
            deviations.push(index as u64 * BUFFER, offset * MS);
        }
        deviations
    }

    #[test]
    fn step_lasts_after_a_second_and_is_placed_where_it_was() {
        for (level, offset) in [(300, 300), (-300, -300), (60, 60)] {
            let steps = |count: usize| (0..75).map(|_| 0).chain((0..count).map(move |_| level));
            assert_eq!(after(steps(40)).lasting(0), None, "{level}");
            let shift = after(steps(95)).lasting(0);
            let expected = Shift {
                since: 75 * BUFFER,
                offset: offset * MS,
            };
            assert_eq!(shift, Some(expected), "{level}");
        }
    }

    #[test]
    fn stall_and_its_burst_do_not_last() {
        for stall in [100, 400, 800] {
            let burst = (0..stall / 20).map(|index| stall - index * 20);
            let offsets: Vec<i64> = (0..100)
                .map(|_| 0)
                .chain(burst)
                .chain((0..200).map(|_| 0))
                .collect();
            for end in 1..offsets.len() {
                let shift = after(offsets[..end].iter().copied()).lasting(0);
                assert!(
                    shift.is_none_or(|shift| shift.offset < stall * MS / 5),
                    "{stall} {shift:?}"
                );
            }
        }
    }

    #[test]
    fn jitter_around_the_count_does_not_last() {
        let mut random = fastrand::Rng::with_seed(7);
        let alternating = (0..500).map(|index| if index % 2 == 0 { 45 } else { -45 });
        assert_eq!(after(alternating).lasting(0), None);
        for _ in 0..200 {
            let uniform = (0..100).map(|_| random.i64(-100..=100));
            assert_eq!(after(uniform).lasting(0), None);
        }
    }

    #[test]
    fn counted_time_stamps_are_told_from_measured_ones() {
        assert_eq!(after((0..100).map(|_| 5)).exact(), Some(5 * MS));
        assert_eq!(after((0..100).map(|index| index % 2)).exact(), None);
        assert_eq!(after((0..10).map(|_| 0)).exact(), None, "too few to know");
    }

    #[test]
    fn window_is_bounded_for_short_and_long_buffers() {
        for buffer in [1, 160, 16_000, 64_000] {
            let mut deviations = Deviations::new();
            for index in 0..20_000 {
                deviations.push(index * buffer, 0);
            }
            let count = deviations.entries.len();
            assert!((MIN_COUNT..=MAX_COUNT).contains(&count), "{buffer}");
            assert!(count == MIN_COUNT || deviations.span() <= WINDOW + MIN_SPACING);
        }
    }
}
