// SPDX-License-Identifier: MPL-2.0
//! PTS of the samples of a run.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::ClockTime;

use crate::element::lock;

/// Corrections that are kept. There is about one a second at most, and no word comes out more than
/// four minutes late: a run holds two and a half, and a window half a minute.
const MAX_POINTS: usize = 512;

/// The clock of a run: it counts samples, and follows the time stamps where they differ lastingly.
///
/// The sink pad corrects it, the worker reads words' times from it. It never runs backwards, nor
/// does a correction move a time that was read before to an earlier one.
#[derive(Debug)]
pub struct RunClock {
    base: ClockTime,
    /// In order; between two of them, times are interpolated. Two at one position are a step.
    points: Mutex<VecDeque<Point>>,
}

/// A PTS is so far from the count.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// Position in the run: counted nanoseconds.
    at: u64,
    /// Nanoseconds.
    offset: i64,
}

impl RunClock {
    /// A clock whose first sample is at `base`, and which counts until it is corrected.
    pub fn new(base: ClockTime) -> Self {
        let mut points = VecDeque::with_capacity(MAX_POINTS);
        points.push_back(Point { at: 0, offset: 0 });
        Self {
            base,
            points: Mutex::new(points),
        }
    }

    /// PTS at a position, in counted nanoseconds; saturates at the ends of time.
    pub fn pts(&self, position: u64) -> ClockTime {
        let offset = offset(&lock(&self.points), position);
        let time = i128::from(self.base.nseconds()) + i128::from(position) + i128::from(offset);
        let latest = i128::from(ClockTime::MAX.nseconds());
        ClockTime::from_nseconds(time.clamp(0, latest) as u64)
    }

    /// From now on, PTS are `target` nanoseconds from the count.
    ///
    /// Later times hold from position `since` on: a hole begins where samples were lost, not where
    /// the loss was understood. Earlier times are approached at half the speed from `now` on.
    pub fn correct(&self, target: i64, since: u64, now: u64) {
        let mut points = lock(&self.points);
        let current = offset(&points, now);
        while points.back().is_some_and(|last| last.at > now) {
            points.pop_back();
        }
        let last = points.back().copied().unwrap_or(Point { at: 0, offset: 0 });
        if last.offset != current {
            // An approach was under way.
            push(&mut points, now, current);
        }
        let begin = if target < current {
            now
        } else if last.offset == current {
            since.clamp(last.at, now.max(last.at))
        } else {
            now
        };
        push(&mut points, begin, current);
        let way = target.saturating_sub(current).min(0).unsigned_abs();
        push(
            &mut points,
            begin.saturating_add(way.saturating_mul(2)),
            target,
        );
    }
}

fn push(points: &mut VecDeque<Point>, at: u64, offset: i64) {
    if points.len() == MAX_POINTS {
        points.pop_front();
    }
    points.push_back(Point { at, offset });
}

fn offset(points: &VecDeque<Point>, position: u64) -> i64 {
    let after = points.partition_point(|point| point.at <= position);
    let Some(before) = after.checked_sub(1).and_then(|index| points.get(index)) else {
        return points.front().map_or(0, |first| first.offset);
    };
    let Some(next) = points.get(after) else {
        return before.offset;
    };
    let way = i128::from(next.offset) - i128::from(before.offset);
    let part = i128::from(position - before.at) * way;
    before.offset + (part / i128::from(next.at - before.at)) as i64
}

/// PTS of a run that begins at some position of a clock.
#[derive(Clone, Debug)]
pub struct RunTimes {
    clock: Arc<RunClock>,
    /// Counted nanoseconds.
    begin: u64,
}

impl RunTimes {
    /// For a run that begins at a position of `clock`, in counted nanoseconds.
    pub fn new(clock: Arc<RunClock>, begin: u64) -> Self {
        Self { clock, begin }
    }

    /// For a run whose first sample is at `base`, by its own clock.
    pub fn counted_from(base: ClockTime) -> Self {
        Self::new(Arc::new(RunClock::new(base)), 0)
    }

    /// PTS of what is so far behind the first sample.
    pub fn pts(&self, offset: Duration) -> ClockTime {
        let offset = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
        self.clock.pts(self.begin.saturating_add(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// PTS in ms of positions in ms.
    fn read(clock: &RunClock, positions: &[u64]) -> Vec<u64> {
        let pts = |position: &u64| clock.pts(position * MS).mseconds();
        positions.iter().map(pts).collect()
    }

    #[test]
    fn later_times_hold_from_where_the_hole_began() {
        let clock = RunClock::new(ClockTime::from_seconds(10));
        clock.correct(300 * MS as i64, 1000 * MS, 2000 * MS);
        assert_eq!(
            read(&clock, &[0, 999, 1000, 2000, 9000]),
            [10_000, 10_999, 11_300, 12_300, 19_300]
        );
    }

    #[test]
    fn earlier_times_are_approached_at_half_the_speed() {
        let clock = RunClock::new(ClockTime::from_seconds(10));
        clock.correct(-300 * MS as i64, 1000 * MS, 2000 * MS);
        assert_eq!(
            read(&clock, &[1000, 2000, 2200, 2600, 3000]),
            [11_000, 12_000, 12_100, 12_300, 12_700]
        );
    }

    #[test]
    fn approach_under_way_turns_from_where_it_is() {
        let clock = RunClock::new(ClockTime::ZERO);
        clock.correct(-300 * MS as i64, 0, 1000 * MS);
        clock.correct(100 * MS as i64, 0, 1200 * MS);
        assert_eq!(
            read(&clock, &[1000, 1199, 1200, 2000]),
            [1000, 1099, 1300, 2100]
        );
        clock.correct(0, 0, 2000 * MS);
        clock.correct(-100 * MS as i64, 0, 2100 * MS);
        assert_eq!(
            read(&clock, &[2000, 2100, 2400, 3000]),
            [2100, 2150, 2300, 2900]
        );
    }

    #[test]
    fn clock_never_runs_backwards_nor_moves_a_time_back() {
        let mut random = fastrand::Rng::with_seed(1);
        let clock = RunClock::new(ClockTime::from_seconds(100));
        let (mut now, mut read) = (0, ClockTime::ZERO);
        for _ in 0..2000 {
            let at = clock.pts(now);
            assert!(at >= read);
            read = at;
            let since = random.u64(0..=now);
            clock.correct(random.i64(-900..900) * MS as i64, since, now);
            assert!(clock.pts(now) >= read);
            let next = now + random.u64(1..3000) * MS;
            let times = (now..next).step_by(MS as usize * 7).map(|at| clock.pts(at));
            assert!(times.is_sorted_by(|one, two| one < two));
            now = next;
        }
    }

    #[test]
    fn times_saturate_at_the_ends() {
        let clock = RunClock::new(ClockTime::MAX);
        clock.correct(i64::MAX, 0, u64::MAX);
        assert_eq!(clock.pts(u64::MAX), ClockTime::MAX);
        let clock = RunClock::new(ClockTime::ZERO);
        clock.correct(-500, 0, 0);
        assert_eq!(clock.pts(100), ClockTime::from_nseconds(50));
    }
}
