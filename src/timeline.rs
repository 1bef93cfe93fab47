// SPDX-License-Identifier: MPL-2.0
//! Time stamps of buffers against the count of their samples.
//!
//! Within a run, samples are the clock: sample n is at base + n / 16000 s. Time stamps that jitter,
//! are rounded or step back a little do not touch the samples. Only where they differ lastingly, the
//! run's clock follows ([`RunClock`]), so that words keep their time while clocks drift and packets
//! get lost. A jump that no jitter explains is a hole, filled with silence, or begins another run.

mod deviations;
mod repeats;
mod run_clock;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use gst::ClockTime;

use deviations::Deviations;
pub use repeats::Fingerprint;
use repeats::LatestBuffers;
use run_clock::RunClock;
pub use run_clock::RunTimes;
use whisper_engine::SAMPLE_RATE;

/// Deviation of a time stamp that is not worth a word: 40 ms, the default of
/// `alignment-threshold` in GStreamer's audio sinks.
pub const TOLERANCE: ClockTime = ClockTime::from_mseconds(40);
/// Largest deviation that is taken for jitter where upstream says otherwise. Time stamps that are
/// off by 100 ms either way differ by 200.
const MAX_JITTER: ClockTime = ClockTime::from_mseconds(250);
/// Longest hole within a run, and longest way that a run's clock follows. Speech does not go on over
/// a longer one.
pub const MAX_SHIFT: ClockTime = ClockTime::from_seconds(1);

/// Nanoseconds by which time stamps that were exact so far do not change without a reason.
const MAX_EXACT_STEP: i64 = 5_000_000;

/// 62.5 µs, exactly.
const NS_PER_SAMPLE: u64 = 1_000_000_000 / SAMPLE_RATE as u64;

/// A buffer that came in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    pub pts: Option<ClockTime>,
    pub samples: usize,
    /// Whether upstream says that it does not follow the buffer before.
    pub discont: bool,
    pub fingerprint: Option<Fingerprint>,
}

/// Where a buffer's samples belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Right behind the samples before.
    Continue,
    /// Behind this many samples of silence, at least one.
    Fill(usize),
    /// At the start of another run, whose first sample is at `base`.
    NewRun { base: ClockTime },
    /// Nowhere: they came before.
    Repeat,
}

/// What was wrong with time stamps so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Irregularities {
    /// Time stamps off by more than [`TOLERANCE`], or a step back among exact ones.
    pub off: u64,
    /// Buffers that came twice.
    pub repeated: u64,
    /// Holes of up to [`MAX_SHIFT`] that no GAP event announced.
    pub holes: u64,
    /// Lasting changes that a run's clock followed.
    pub corrections: u64,
    /// The largest deviation that was taken for jitter.
    pub largest: ClockTime,
}

/// Places buffers on one run after another. All times are buffer timestamps.
#[derive(Debug)]
pub struct Timeline {
    /// Start of a run whose first buffer has no timestamp.
    origin: ClockTime,
    run: Option<CountedRun>,
    deviations: Deviations,
    latest: LatestBuffers,
    irregularities: Irregularities,
}

#[derive(Debug)]
struct CountedRun {
    base: ClockTime,
    /// Samples so far, silence that was filled in included.
    samples: u64,
    /// Nanoseconds from the count to the time stamps, as far as that lasts.
    offset: i64,
    clock: Arc<RunClock>,
}

impl Timeline {
    /// A timeline without a run. `origin`, the segment's start, is the time of a first buffer
    /// without a timestamp.
    pub fn new(origin: ClockTime) -> Self {
        Self {
            origin,
            run: None,
            deviations: Deviations::new(),
            latest: LatestBuffers::default(),
            irregularities: Irregularities::default(),
        }
    }

    /// Places a buffer. Without a time stamp it continues.
    ///
    /// The DISCONT flag alone means nothing: a lost packet must not cut a sentence in two. It only
    /// tells a hole from jitter.
    pub fn buffer(&mut self, buffer: &Arrival) -> Placement {
        let placement = match (&self.run, buffer.pts) {
            (None, pts) => self.begin(pts.unwrap_or(self.origin)),
            (Some(_), None) => Placement::Continue,
            (Some(run), Some(pts)) => {
                let ahead = run.ahead(pts);
                if self.is_repeat(ahead, pts, buffer) {
                    self.irregularities.repeated += 1;
                    return Placement::Repeat;
                }
                self.place(ahead, pts, buffer.discont)
            }
        };
        if let (Some(fingerprint), Some(pts)) = (buffer.fingerprint, buffer.pts) {
            self.latest.remember(fingerprint, pts);
        }
        self.count(buffer.samples);
        placement
    }

    /// Places the time of a GAP event.
    ///
    /// The silence of [`Placement::Fill`] takes the gap's place. A gap that is longer than
    /// [`MAX_SHIFT`], or outside a run, ends in an empty run.
    pub fn gap(&mut self, pts: Option<ClockTime>, duration: Option<ClockTime>) -> Placement {
        let duration = duration.unwrap_or(ClockTime::ZERO);
        let begin = pts.or_else(|| self.end()).unwrap_or(self.origin);
        let end = begin.saturating_add(duration);
        let Some(run) = &self.run else {
            return self.begin(end);
        };
        let (ahead, jitter) = (run.ahead(begin), self.jitter());
        let until = if ahead.abs() <= jitter {
            signed(duration)
        } else {
            run.ahead(end)
        };
        let is_far = ahead < -signed(MAX_SHIFT) || until > signed(MAX_SHIFT);
        if is_far || run.samples == 0 {
            return self.begin(end);
        }
        self.fill(until)
    }

    /// Forgets the run, after a flush or with a new segment. The next one starts at `origin` if its
    /// first buffer has no timestamp.
    pub fn reset(&mut self, origin: ClockTime) {
        self.origin = origin;
        self.run = None;
        self.deviations.clear();
        self.latest = LatestBuffers::default();
    }

    /// Time right after the last sample of the run.
    pub fn end(&self) -> Option<ClockTime> {
        let run = self.run.as_ref()?;
        Some(run.clock.pts(nanoseconds(run.samples)))
    }

    /// Times of the run, from its first sample on.
    pub fn times(&self) -> Option<RunTimes> {
        let run = self.run.as_ref()?;
        Some(RunTimes::new(run.clock.clone(), 0))
    }

    /// Times of what begins so many samples before the end of the run.
    pub fn times_before_end(&self, samples: usize) -> Option<RunTimes> {
        let run = self.run.as_ref()?;
        let begin = run.samples.saturating_sub(samples as u64);
        Some(RunTimes::new(run.clock.clone(), nanoseconds(begin)))
    }

    /// What was wrong with time stamps so far.
    pub fn irregularities(&self) -> Irregularities {
        self.irregularities
    }

    /// Places a time stamp that is `ahead` nanoseconds from where the run ends.
    fn place(&mut self, ahead: i128, pts: ClockTime, is_discont: bool) -> Placement {
        let is_empty = self.run.as_ref().is_none_or(|run| run.samples == 0);
        if ahead.abs() > signed(MAX_SHIFT)
            || (is_empty && ahead.abs() > signed(TOLERANCE))
            || (is_discont && ahead < -signed(MAX_JITTER))
        {
            return self.begin(pts);
        }
        let step = self.exact_step(ahead);
        let placement = if ahead > signed(MAX_JITTER) && (step.is_some() || is_discont) {
            self.irregularities.holes += 1;
            self.fill(ahead)
        } else if let Some(step) = step.filter(|step| *step > MAX_EXACT_STEP) {
            self.irregularities.holes += 1;
            self.follow_hole(step);
            Placement::Continue
        } else {
            if step.is_some_and(|step| step < -MAX_EXACT_STEP) || ahead.abs() > signed(TOLERANCE) {
                self.irregularities.count_off(ahead);
            }
            Placement::Continue
        };
        self.observe(pts);
        placement
    }

    /// Whether the samples came before. Speech never repeats itself to the bit, a tone may: so the
    /// time stamp has a say, as far as it is exact.
    fn is_repeat(&self, ahead: i128, pts: ClockTime, buffer: &Arrival) -> bool {
        let twin = buffer
            .fingerprint
            .and_then(|fingerprint| self.latest.twin(fingerprint));
        let half = nanoseconds(buffer.samples as u64) / 2;
        twin.is_some_and(|twin| pts.saturating_add(MAX_JITTER) >= twin)
            && ahead < i128::from(self.deviations.spread()) - i128::from(half)
    }

    /// How far time stamps may be off, as the latest show.
    fn jitter(&self) -> i128 {
        signed(TOLERANCE).max(self.deviations.spread().into())
    }

    /// Where upstream counts samples too: nanoseconds to this time stamp from where, by those
    /// before, it should be.
    fn exact_step(&self, ahead: i128) -> Option<i64> {
        let run = self.run.as_ref()?;
        let last = self.deviations.exact()?;
        i64::try_from(ahead + i128::from(run.offset) - i128::from(last)).ok()
    }

    /// Follows a hole in exact time stamps without silence for it: what is between two words, or
    /// within one, is heard best as if nothing were missing.
    fn follow_hole(&mut self, step: i64) {
        let Some(run) = &mut self.run else { return };
        run.correct(run.offset.saturating_add(step), run.samples);
        self.deviations.rebase(step);
    }

    /// Takes down a time stamp of the sample behind the run's end, and follows a lasting change.
    fn observe(&mut self, pts: ClockTime) {
        let Some(run) = &mut self.run else { return };
        let Ok(offset) = i64::try_from(run.ahead(pts) + i128::from(run.offset)) else {
            return;
        };
        self.deviations.push(run.samples, offset);
        if let Some(shift) = self.deviations.lasting(run.offset) {
            self.irregularities.corrections += 1;
            run.correct(shift.offset, shift.since);
            self.deviations.forget_before(shift.since);
        }
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
        self.run = Some(CountedRun {
            base,
            samples: 0,
            offset: 0,
            clock: Arc::new(RunClock::new(base)),
        });
        self.deviations.clear();
        self.deviations.push(0, 0);
        Placement::NewRun { base }
    }

    fn count(&mut self, samples: usize) {
        if let Some(run) = &mut self.run {
            run.samples = run.samples.saturating_add(samples as u64);
        }
    }
}

impl Irregularities {
    /// Counts a time stamp that is so many nanoseconds off.
    fn count_off(&mut self, by: i128) {
        self.off += 1;
        let size = ClockTime::from_nseconds(by.unsigned_abs() as u64);
        self.largest = self.largest.max(size);
    }
}

impl CountedRun {
    /// Nanoseconds from the run's end to `time`; no two times overflow an `i128`.
    fn ahead(&self, time: ClockTime) -> i128 {
        let counted = i128::from(self.samples) * i128::from(NS_PER_SAMPLE);
        signed(time) - signed(self.base) - counted - i128::from(self.offset)
    }

    /// Lets the clock follow: from sample `since` on, time stamps are `offset` from the count.
    fn correct(&mut self, offset: i64, since: u64) {
        self.offset = offset;
        let now = nanoseconds(self.samples);
        self.clock.correct(offset, nanoseconds(since), now);
    }
}

/// Duration of so many samples; saturates at the latest time there is.
pub fn duration_of(samples: u64) -> ClockTime {
    ClockTime::from_nseconds(nanoseconds(samples))
}

fn nanoseconds(samples: u64) -> u64 {
    samples
        .saturating_mul(NS_PER_SAMPLE)
        .min(ClockTime::MAX.nseconds())
}

fn signed(time: ClockTime) -> i128 {
    time.nseconds().into()
}
