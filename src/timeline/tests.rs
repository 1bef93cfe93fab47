// SPDX-License-Identifier: MPL-2.0
use std::time::Duration;

use super::Placement::{Continue, Fill, NewRun, Repeat};
use super::*;

mod random;

const BUFFER: usize = 1600;

fn ms(ms: u64) -> ClockTime {
    ClockTime::from_mseconds(ms)
}

fn arrival(pts: Option<ClockTime>, samples: usize) -> Arrival {
    Arrival {
        pts,
        samples,
        ..Arrival::default()
    }
}

impl Timeline {
    /// Places a buffer without flag or fingerprint, at `pts` milliseconds.
    fn take(&mut self, pts: u64, samples: usize) -> Placement {
        self.buffer(&arrival(Some(ms(pts)), samples))
    }

    /// PTS of what lies so many samples before the end, in milliseconds.
    fn back(&self, samples: usize) -> u64 {
        let times = self.times_before_end(samples).expect("a run");
        times.pts(Duration::ZERO).mseconds()
    }
}

/// A timeline that has taken one second from 10 s on, in exact buffers of 100 ms.
fn after_a_second() -> Timeline {
    let mut timeline = Timeline::new(ClockTime::ZERO);
    assert_eq!(timeline.take(10_000, BUFFER), NewRun { base: ms(10_000) });
    for index in 1..10 {
        assert_eq!(timeline.take(10_000 + 100 * index, BUFFER), Continue);
    }
    timeline
}

/// The same, with time stamps that jitter by 60 ms.
fn after_a_jittery_second() -> Timeline {
    let mut timeline = after_a_second();
    timeline.reset(ClockTime::ZERO);
    for index in 0..10 {
        timeline.take(10_000 + 100 * index + 60 * (index % 2), BUFFER);
    }
    timeline
}

#[test]
fn first_buffer_begins_a_run_at_its_time_or_origin() {
    let first = |pts| Timeline::new(ms(7)).buffer(&arrival(pts, BUFFER));
    assert_eq!(first(Some(ms(500))), NewRun { base: ms(500) });
    assert_eq!(first(None), NewRun { base: ms(7) });
}

#[test]
fn buffers_without_a_timestamp_continue() {
    let mut timeline = after_a_second();
    assert_eq!(timeline.buffer(&arrival(None, BUFFER)), Continue);
    assert_eq!(timeline.end(), Some(ms(11_100)));
    assert_eq!(timeline.take(11_100, BUFFER), Continue);
}

#[test]
fn jitter_leaves_samples_and_times_alone() {
    for pts in [10_750, 10_959, 10_999, 11_000, 11_040, 11_250] {
        let mut timeline = after_a_jittery_second();
        assert_eq!(timeline.take(pts, BUFFER), Continue, "{pts}");
        assert_eq!(timeline.end(), Some(ms(11_100)));
        let off = u64::from(pts.abs_diff(11_000) > 40);
        assert_eq!(timeline.irregularities().off, 5 + off, "{pts}");
    }
}

#[test]
fn hole_in_exact_timestamps_is_kept_in_time_at_once() {
    // A short one is heard as if nothing were missing, a longer one as silence.
    for (pts, placement) in [(11_041, Continue), (11_250, Continue)] {
        let mut timeline = after_a_second();
        assert_eq!(timeline.take(pts, BUFFER), placement);
        assert_eq!(timeline.end(), Some(ms(pts + 100)));
        assert_eq!(timeline.irregularities().holes, 1);
    }
    for (pts, samples) in [(11_251, 4016), (11_500, 8_000), (12_000, 16_000)] {
        let mut timeline = after_a_second();
        assert_eq!(timeline.take(pts, BUFFER), Fill(samples));
        assert_eq!(timeline.end(), Some(ms(pts + 100)));
        assert_eq!(timeline.irregularities().holes, 1);
    }
}

#[test]
fn hole_among_jitter_is_filled_at_once_only_with_discont() {
    let buffer = Arrival {
        discont: true,
        ..arrival(Some(ms(11_500)), BUFFER)
    };
    assert_eq!(after_a_jittery_second().buffer(&buffer), Fill(8_000));
    assert_eq!(after_a_jittery_second().take(11_500, BUFFER), Continue);
}

#[test]
fn hole_among_jitter_is_kept_in_time_once_it_lasts() {
    let mut timeline = after_a_jittery_second();
    for index in 10..30 {
        let pts = 10_500 + 100 * index + 60 * (index % 2);
        assert_eq!(timeline.take(pts, BUFFER), Continue);
    }
    assert_eq!(timeline.irregularities().corrections, 1);
    // From where it was on: a second before, and after.
    let times = [21 * BUFFER, 20 * BUFFER, 10 * BUFFER, 0].map(|samples| timeline.back(samples));
    let expected = [10_900u64, 11_530, 12_530, 13_530];
    for (time, expected) in times.into_iter().zip(expected) {
        assert!(time.abs_diff(expected) <= 30, "{times:?}");
    }
}

#[test]
fn step_back_is_followed_once_it_lasts() {
    for step in [50, 300, 900] {
        let mut timeline = after_a_second();
        for index in 10..50 {
            assert_eq!(timeline.take(10_000 + 100 * index - step, BUFFER), Continue);
            let error = timeline.back(0).abs_diff(10_100 + 100 * index - step);
            assert!(index < 20 || error < step + 20 && (index < 45 || error < 5));
        }
        assert_eq!(timeline.irregularities().corrections, 1);
        assert!(timeline.irregularities().off > 0);
    }
}

#[test]
fn jump_of_more_than_a_second_begins_a_run() {
    for timeline in [after_a_second, after_a_jittery_second] {
        for pts in [12_001, 9_999, 9_000, 0, 3_600_000] {
            assert_eq!(timeline().take(pts, BUFFER), NewRun { base: ms(pts) });
        }
    }
}

#[test]
fn discont_lets_a_smaller_step_back_begin_a_run() {
    let taken = |pts| {
        let buffer = arrival(Some(ms(pts)), BUFFER);
        after_a_jittery_second().buffer(&Arrival {
            discont: true,
            ..buffer
        })
    };
    assert_eq!(taken(10_700), NewRun { base: ms(10_700) });
    assert_eq!(taken(10_900), Continue);
}

#[test]
fn repeated_buffer_is_dropped() {
    let mut timeline = after_a_second();
    let mut take = |content: u8, pts| {
        let bytes: Vec<u8> = (0..2 * BUFFER).map(|byte| byte as u8 ^ content).collect();
        let buffer = Arrival {
            fingerprint: Fingerprint::of([bytes]),
            ..arrival(Some(ms(pts)), BUFFER)
        };
        timeline.buffer(&buffer)
    };
    assert_eq!(take(1, 11_000), Continue);
    assert_eq!(take(1, 11_000), Repeat);
    assert_eq!(take(2, 11_100), Continue);
    assert_eq!(take(1, 11_000), Repeat, "behind the next one");
    assert_eq!(take(2, 11_200), Continue, "a tone goes on, says its time");
    assert_eq!(take(3, 11_230), Continue, "other samples");
    assert_eq!(take(1, 5_000), NewRun { base: ms(5_000) });
    assert_eq!(timeline.irregularities().repeated, 2);
}

/// Takes buffers of 100 ms that are stamped so many microseconds apart, for two hours.
fn drift(apart: u64) {
    let mut timeline = Timeline::new(ClockTime::ZERO);
    let mut worst = ClockTime::ZERO;
    for index in 0..72_000u64 {
        let pts = ClockTime::from_useconds(index * apart);
        let placement = timeline.buffer(&arrival(Some(pts), BUFFER));
        assert_eq!(placement == Continue, index > 0);
        let time = timeline
            .times_before_end(BUFFER)
            .map(|times| times.pts(Duration::ZERO));
        worst = worst.max(time.expect("a run").absdiff(pts));
    }
    assert!(worst <= TOLERANCE, "{worst}");
    let irregularities = timeline.irregularities();
    assert_eq!((irregularities.off, irregularities.holes), (0, 0));
}

#[test]
fn drift_is_followed_either_way() {
    drift(100_100);
    drift(99_900);
    drift(100_005);
}

#[test]
fn gaps_of_up_to_a_second_are_filled() {
    let gap = |pts, duration| {
        let mut timeline = after_a_second();
        let placement = timeline.gap(Some(ms(pts)), Some(ms(duration)));
        (placement, timeline.end().map(ClockTime::mseconds))
    };
    assert_eq!(gap(11_000, 300), (Fill(4_800), Some(11_300)));
    assert_eq!(gap(11_200, 800), (Fill(16_000), Some(12_000)));
    assert_eq!(
        gap(11_000, 1_001),
        (NewRun { base: ms(12_001) }, Some(12_001))
    );
    assert_eq!(gap(11_000, 0), (Continue, Some(11_000)));
    assert_eq!(gap(10_800, 100), (Continue, Some(11_000)));
    assert_eq!(gap(5_000, 100), (NewRun { base: ms(5_100) }, Some(5_100)));
}

#[test]
fn gap_among_jitter_is_as_long_as_it_says() {
    for pts in [10_940, 11_000, 11_060] {
        let gap = after_a_jittery_second().gap(Some(ms(pts)), Some(ms(20)));
        assert_eq!(gap, Fill(320));
    }
}

#[test]
fn gap_without_time_or_duration_is_placed() {
    assert_eq!(after_a_second().gap(None, Some(ms(500))), Fill(8_000));
    assert_eq!(after_a_second().gap(Some(ms(11_500)), None), Fill(8_000));
    assert_eq!(after_a_second().gap(None, None), Continue);
    assert_eq!(
        Timeline::new(ms(3)).gap(None, Some(ms(4))),
        NewRun { base: ms(7) }
    );
}

#[test]
fn empty_run_moves_instead_of_being_filled() {
    let mut timeline = Timeline::new(ClockTime::ZERO);
    timeline.gap(Some(ms(0)), Some(ms(500)));
    assert_eq!(
        timeline.gap(Some(ms(500)), Some(ms(500))),
        NewRun { base: ms(1_000) }
    );
    assert_eq!(timeline.take(1_300, BUFFER), NewRun { base: ms(1_300) });
}

#[test]
fn reset_timeline_starts_over() {
    let mut timeline = after_a_second();
    timeline.reset(ms(60_000));
    assert_eq!(timeline.end(), None);
    assert_eq!(
        timeline.buffer(&arrival(None, BUFFER)),
        NewRun { base: ms(60_000) }
    );
}

#[test]
fn end_of_time_overflows_nothing() {
    let mut timeline = Timeline::new(ClockTime::MAX);
    timeline.buffer(&arrival(None, usize::MAX));
    timeline.buffer(&arrival(Some(ClockTime::MAX), usize::MAX));
    timeline.buffer(&arrival(Some(ClockTime::ZERO), usize::MAX));
    timeline.gap(Some(ClockTime::MAX), Some(ClockTime::MAX));
    timeline.gap(None, Some(ClockTime::MAX));
    assert_eq!(duration_of(u64::MAX), ClockTime::MAX);
}
