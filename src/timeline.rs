// SPDX-License-Identifier: MPL-2.0
//! Timestamps of buffers against the count of their samples.
//!
//! Within a run, time is counted: sample n is at base + n / 16000 s. Timestamps only correct the
//! count. They may be off by [`TOLERANCE`], since sources jitter and clocks drift. Beyond that, a
//! hole is filled with silence, or another run begins. So each sample stays within the tolerance of
//! its buffer's timestamp, however long the run is.

use gst::ClockTime;

use whisper_engine::SAMPLE_RATE;

/// Deviation of a timestamp from the count that is taken for jitter: 40 ms, the default of
/// `alignment-threshold` in GStreamer's audio sinks.
pub const TOLERANCE: ClockTime = ClockTime::from_mseconds(40);
/// Longest hole that is filled with silence. Speech does not go on over a longer one.
pub const LONGEST_FILL: ClockTime = ClockTime::from_seconds(1);

/// 62.5 µs, exactly.
const NS_PER_SAMPLE: u64 = 1_000_000_000 / SAMPLE_RATE as u64;

/// Where a buffer's samples belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Right behind the samples before.
    Continue,
    /// Behind this many samples of silence, at least one.
    Fill(usize),
    /// At the start of another run, whose first sample is at `base`.
    NewRun { base: ClockTime },
}

/// Places buffers on one run after another. All times are buffer timestamps.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Start of a run whose first buffer has no timestamp.
    origin: ClockTime,
    run: Option<CountedRun>,
}

#[derive(Clone, Copy, Debug)]
struct CountedRun {
    base: ClockTime,
    /// Samples so far, silence that was filled in included.
    samples: u64,
}

impl Timeline {
    /// A timeline without a run. `origin`, the segment's start, is the time of a first buffer
    /// without a timestamp.
    pub fn new(origin: ClockTime) -> Self {
        Self { origin, run: None }
    }

    /// Places a buffer of `samples` samples. Without `pts` it continues.
    ///
    /// The DISCONT flag does not matter: a hole shows in the timestamps, and a lost packet must not
    /// cut a sentence in two.
    pub fn buffer(&mut self, pts: Option<ClockTime>, samples: usize) -> Placement {
        let placement = match self.run {
            None => self.begin(pts.unwrap_or(self.origin)),
            Some(run) => match pts {
                None => Placement::Continue,
                Some(pts) => self.place(run, pts),
            },
        };
        self.count(samples);
        placement
    }

    /// Places the time of a GAP event.
    ///
    /// The silence of [`Placement::Fill`] takes the gap's place. A gap that is longer than
    /// [`LONGEST_FILL`], or outside a run, ends in an empty run.
    pub fn gap(&mut self, pts: Option<ClockTime>, duration: Option<ClockTime>) -> Placement {
        let begin = pts.or_else(|| self.end()).unwrap_or(self.origin);
        let end = begin.saturating_add(duration.unwrap_or(ClockTime::ZERO));
        let Some(run) = self.run else {
            return self.begin(end);
        };
        let ahead = run.ahead(end);
        if run.ahead(begin) < -signed(TOLERANCE) || ahead > signed(LONGEST_FILL) || run.samples == 0
        {
            return self.begin(end);
        }
        self.fill(ahead)
    }

    /// Forgets the run, after a flush or with a new segment. The next one starts at `origin` if its
    /// first buffer has no timestamp.
    pub fn reset(&mut self, origin: ClockTime) {
        *self = Self::new(origin);
    }

    /// Time right after the last sample of the run.
    pub fn end(&self) -> Option<ClockTime> {
        self.run.map(|run| time_of(run.base, run.samples))
    }

    fn place(&mut self, run: CountedRun, pts: ClockTime) -> Placement {
        let ahead = run.ahead(pts);
        if ahead.abs() <= signed(TOLERANCE) {
            return Placement::Continue;
        }
        if ahead < 0 || ahead > signed(LONGEST_FILL) || run.samples == 0 {
            return self.begin(pts);
        }
        self.fill(ahead)
    }

    /// Fills `ahead` nanoseconds, to the nearest sample.
    fn fill(&mut self, ahead: i128) -> Placement {
        let samples = (ahead + i128::from(NS_PER_SAMPLE / 2)) / i128::from(NS_PER_SAMPLE);
        match usize::try_from(samples) {
            Err(_) | Ok(0) => Placement::Continue,
            Ok(samples) => {
                self.count(samples);
                Placement::Fill(samples)
            }
        }
    }

    fn begin(&mut self, base: ClockTime) -> Placement {
        self.run = Some(CountedRun { base, samples: 0 });
        Placement::NewRun { base }
    }

    fn count(&mut self, samples: usize) {
        if let Some(run) = &mut self.run {
            run.samples = run.samples.saturating_add(samples as u64);
        }
    }
}

impl CountedRun {
    /// Nanoseconds from the run's end to `time`; no two times overflow an `i128`.
    fn ahead(&self, time: ClockTime) -> i128 {
        let counted = i128::from(self.samples) * i128::from(NS_PER_SAMPLE);
        signed(time) - signed(self.base) - counted
    }
}

/// Time of a sample of a run that starts at `base`; saturates at the latest time there is.
pub fn time_of(base: ClockTime, sample: u64) -> ClockTime {
    let offset = sample
        .saturating_mul(NS_PER_SAMPLE)
        .min(ClockTime::MAX.nseconds());
    base.saturating_add(ClockTime::from_nseconds(offset))
}

fn signed(time: ClockTime) -> i128 {
    time.nseconds().into()
}

#[cfg(test)]
mod tests {
    use super::Placement::{Continue, Fill, NewRun};
    use super::*;

    const BUFFER: usize = 1600;

    fn ms(ms: u64) -> ClockTime {
        ClockTime::from_mseconds(ms)
    }

    /// A timeline that has taken one second from 10 s on.
    fn after_a_second() -> Timeline {
        let mut timeline = Timeline::new(ClockTime::ZERO);
        assert_eq!(
            timeline.buffer(Some(ms(10_000)), 16_000),
            NewRun { base: ms(10_000) }
        );
        timeline
    }

    #[test]
    fn first_buffer_begins_a_run_at_its_time_or_origin() {
        let first = |pts| Timeline::new(ms(7)).buffer(pts, BUFFER);
        assert_eq!(first(Some(ms(500))), NewRun { base: ms(500) });
        assert_eq!(first(None), NewRun { base: ms(7) });
    }

    #[test]
    fn jitter_within_the_tolerance_continues() {
        for pts in [10_960, 10_999, 11_000, 11_040] {
            let placement = after_a_second().buffer(Some(ms(pts)), BUFFER);
            assert_eq!(placement, Continue);
        }
    }

    #[test]
    fn buffers_without_a_timestamp_continue() {
        let mut timeline = after_a_second();
        assert_eq!(timeline.buffer(None, BUFFER), Continue);
        assert_eq!(timeline.end(), Some(ms(11_100)));
        assert_eq!(timeline.buffer(Some(ms(11_100)), BUFFER), Continue);
    }

    #[test]
    fn holes_of_up_to_a_second_are_filled() {
        for (pts, samples) in [(11_041, 656), (11_500, 8_000), (12_000, 16_000)] {
            let mut timeline = after_a_second();
            assert_eq!(timeline.buffer(Some(ms(pts)), BUFFER), Fill(samples));
            assert_eq!(timeline.end(), Some(ms(pts + 100)));
        }
    }

    #[test]
    fn holes_of_more_than_a_second_begin_a_run() {
        for pts in [12_001, 10_959, 10_500, 0] {
            let placement = after_a_second().buffer(Some(ms(pts)), BUFFER);
            assert_eq!(placement, NewRun { base: ms(pts) }, "{pts}");
        }
    }

    #[test]
    fn drift_is_corrected_beyond_the_tolerance() {
        // A source whose 100 ms buffers are stamped 100.1 ms apart: 1000 ppm.
        let mut timeline = Timeline::new(ClockTime::ZERO);
        let mut corrections = 0;
        for n in 0..2000u64 {
            let pts = ClockTime::from_useconds(n * 100_100);
            corrections += u32::from(matches!(timeline.buffer(Some(pts), BUFFER), Fill(_)));
        }
        assert_eq!(corrections, 4, "200 ms in steps of just over 40 ms");
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
        assert_eq!(gap(10_970, 20), (Continue, Some(11_000)));
        assert_eq!(gap(5_000, 100), (NewRun { base: ms(5_100) }, Some(5_100)));
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
        assert_eq!(
            timeline.buffer(Some(ms(1_300)), BUFFER),
            NewRun { base: ms(1_300) }
        );
    }

    #[test]
    fn reset_timeline_starts_over() {
        let mut timeline = after_a_second();
        timeline.reset(ms(60_000));
        assert_eq!(timeline.end(), None);
        assert_eq!(timeline.buffer(None, BUFFER), NewRun { base: ms(60_000) });
    }

    /// Marsaglia's xorshift64.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn samples_stay_within_the_tolerance_of_their_pts() {
        for seed in 1..=300u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut timeline = Timeline::new(ClockTime::ZERO);
            // Every third sequence starts near the end of time.
            let mut now = if seed.is_multiple_of(3) {
                u64::MAX - 30_000_000_000
            } else {
                seed * 1_000_000_000
            };
            // The run as a caller sees it: base, and samples added so far.
            let (mut base, mut added) = (ClockTime::ZERO, 0u64);
            for _ in 0..200 {
                let samples = (random(&mut state) % 4_000) as usize;
                let jump = match random(&mut state) % 8 {
                    0 => random(&mut state) % 3_000_000_000,
                    1 => (random(&mut state) % 3_000_000_000).wrapping_neg(),
                    2 => random(&mut state) % 90_000_000,
                    3 => (random(&mut state) % 90_000_000).wrapping_neg(),
                    _ => random(&mut state) % 200_000,
                };
                now = now
                    .saturating_add_signed(jump as i64)
                    .min(ClockTime::MAX.nseconds());
                let pts = ClockTime::from_nseconds(now);
                let stamped = !random(&mut state).is_multiple_of(10);
                let is_gap = random(&mut state).is_multiple_of(10);
                let placement = if is_gap {
                    timeline.gap(Some(pts), Some(time_of(ClockTime::ZERO, samples as u64)))
                } else {
                    timeline.buffer(stamped.then_some(pts), samples)
                };
                match placement {
                    Continue => {}
                    Fill(silence) => {
                        assert!((1..=16_000).contains(&silence));
                        added += silence as u64;
                    }
                    NewRun { base: new } => (base, added) = (new, 0),
                }
                if !is_gap {
                    if stamped {
                        let deviation = time_of(base, added).absdiff(pts);
                        assert!(deviation <= TOLERANCE, "seed {seed}: {deviation}");
                    }
                    added += samples as u64;
                }
                assert_eq!(timeline.end(), Some(time_of(base, added)));
                now = now.saturating_add(samples as u64 * NS_PER_SAMPLE);
            }
        }
    }

    #[test]
    fn end_of_time_overflows_nothing() {
        let mut timeline = Timeline::new(ClockTime::MAX);
        timeline.buffer(None, usize::MAX);
        timeline.buffer(Some(ClockTime::MAX), usize::MAX);
        timeline.buffer(Some(ClockTime::ZERO), usize::MAX);
        timeline.gap(Some(ClockTime::MAX), Some(ClockTime::MAX));
        timeline.gap(None, Some(ClockTime::MAX));
        assert_eq!(time_of(ClockTime::MAX, u64::MAX), ClockTime::MAX);
    }
}
