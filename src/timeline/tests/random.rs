// SPDX-License-Identifier: MPL-2.0
//! Random faults of upstream: what becomes of the samples of half a minute.

use fastrand::Rng;

use super::*;

/// Half a minute of audio with these faults. Times are milliseconds.
#[derive(Debug)]
struct Faults {
    /// Length of a buffer.
    buffer: u64,
    /// Time stamps are off by up to so much, either way.
    jitter: i64,
    /// Time stamps are rounded to a multiple of this.
    rounding: i64,
    /// Chance that a time stamp steps back by up to 100 ms.
    steps_back: f64,
    /// Chance that a buffer comes twice, or never.
    repeated: f64,
    missing: f64,
}

impl Faults {
    /// Each kind alone and all mixtures.
    fn of(seed: u64, rng: &mut Rng) -> Self {
        let kind = |bit: u64| (seed % 32) >> bit & 1 == 1;
        let buffer = [10, 20, 40, 100][rng.usize(0..4)];
        Self {
            buffer,
            jitter: if kind(0) { rng.i64(1..=100) } else { 0 },
            rounding: if kind(1) { rng.i64(2..=200) } else { 1 },
            steps_back: if kind(2) { 0.05 } else { 0.0 },
            repeated: if kind(3) { 0.03 } else { 0.0 },
            missing: if kind(4) { 0.01 } else { 0.0 },
        }
    }

    /// What the faults may do to a time stamp at the worst.
    fn amplitude(&self) -> u64 {
        let step = if self.steps_back > 0.0 { 100 } else { 0 };
        let missing = if self.missing > 0.0 {
            2 * self.buffer
        } else {
            0
        };
        self.jitter.unsigned_abs() + self.rounding.unsigned_abs() / 2 + step + missing
    }

    fn stamp(&self, time: u64, rng: &mut Rng) -> ClockTime {
        let mut stamp = time as i64 + rng.i64(-self.jitter..=self.jitter);
        if rng.f64() < self.steps_back {
            stamp -= rng.i64(0..=100);
        }
        let half = self.rounding / 2;
        ms((stamp + half).div_euclid(self.rounding).max(0) as u64 * self.rounding as u64)
    }
}

/// What became of the audio.
#[derive(Default)]
struct Outcome {
    /// True time and PTS of each buffer that was kept, in milliseconds.
    times: Vec<(u64, u64)>,
    repeats_kept: u64,
    missing: u64,
    irregularities: Irregularities,
}

fn play(seed: u64) -> (Faults, Outcome) {
    let mut rng = Rng::with_seed(seed);
    let faults = Faults::of(seed, &mut rng);
    let mut outcome = Outcome::default();
    let samples = 16 * faults.buffer as usize;
    let mut timeline = Timeline::new(ClockTime::ZERO);
    let (mut taken, mut kept) = (0, Vec::new());
    for index in 0..30_000 / faults.buffer {
        let time = 5_000 + index * faults.buffer;
        if index > 0 && rng.f64() < faults.missing {
            outcome.missing += 1;
            continue;
        }
        let content = [index.to_le_bytes(); 20];
        let copies = 1 + u64::from(rng.f64() < faults.repeated);
        for copy in 0..copies {
            let buffer = Arrival {
                fingerprint: Fingerprint::of(content),
                ..arrival(Some(faults.stamp(time, &mut rng)), samples)
            };
            match timeline.buffer(&buffer) {
                Repeat => {
                    assert_eq!(copy, 1, "seed {seed}: samples are lost, {faults:?}");
                    continue;
                }
                NewRun { .. } => assert_eq!(index, 0, "seed {seed}: another run, {faults:?}"),
                Continue => {}
                Fill(silence) => taken += silence,
            }
            outcome.repeats_kept += copy;
            kept.push((time, taken));
            taken += samples;
        }
    }
    for (time, at) in kept {
        outcome.times.push((time, timeline.back(taken - at)));
    }
    outcome.irregularities = timeline.irregularities();
    (faults, outcome)
}

#[test]
fn faulty_timestamps_lose_no_sample_and_keep_times() {
    let (mut worst, mut sum, mut count, mut repeats_kept) = (0, 0, 0, 0);
    for seed in 0..1000 {
        let (faults, outcome) = play(seed);
        assert!(outcome.times.is_sorted(), "seed {seed}: {faults:?}");
        let errors = || outcome.times.iter().map(|&(time, pts)| time.abs_diff(pts));
        let largest = errors().max().unwrap_or(0);
        let bound = 40 + faults.amplitude();
        assert!(
            largest <= bound,
            "seed {seed}: {largest} ms off, {faults:?}"
        );
        worst = worst.max(largest);
        sum += errors().sum::<u64>();
        count += outcome.times.len() as u64;
        repeats_kept += outcome.repeats_kept;
        let Irregularities {
            off,
            repeated,
            holes,
            ..
        } = outcome.irregularities;
        let is_faulty = faults.jitter > 60 || faults.rounding > 120 || outcome.missing > 0;
        assert!(off + repeated + holes > 0 || !is_faulty, "{faults:?}");
        assert_eq!(repeated > 0, faults.repeated > 0.0, "{faults:?}");
    }
    println!(
        "worst {worst} ms, mean {} ms, {repeats_kept} kept",
        sum / count
    );
    assert!(sum / count <= 25, "{} ms off", sum / count);
    assert!(
        repeats_kept < 60,
        "{repeats_kept} repeated buffers were kept"
    );
}

/// Any time stamps, of hostile ones too: what is placed adds up.
#[test]
fn hostile_timestamps_are_placed_consistently() {
    for seed in 1..=300u64 {
        let mut rng = Rng::with_seed(seed);
        let mut timeline = Timeline::new(ClockTime::ZERO);
        // Every third sequence starts near the end of time.
        let mut now = if seed.is_multiple_of(3) {
            u64::MAX - 30_000_000_000
        } else {
            seed * 1_000_000_000
        };
        let (mut added, mut end) = (0u64, ClockTime::ZERO);
        for _ in 0..200 {
            let samples = rng.usize(0..4_000);
            let jump = match rng.u8(0..8) {
                0 => rng.i64(-3_000_000_000..3_000_000_000),
                1 | 2 => rng.i64(-90_000_000..90_000_000),
                _ => rng.i64(0..200_000),
            };
            now = now
                .saturating_add_signed(jump)
                .min(ClockTime::MAX.nseconds());
            let pts = ClockTime::from_nseconds(now);
            let is_gap = rng.u8(0..10) == 0;
            let placement = if is_gap {
                timeline.gap(Some(pts), Some(duration_of(samples as u64)))
            } else {
                let buffer = arrival((rng.u8(0..10) > 0).then_some(pts), samples);
                let discont = rng.u8(0..10) == 0;
                timeline.buffer(&Arrival { discont, ..buffer })
            };
            match placement {
                Continue => {}
                Fill(silence) => {
                    assert!((1..=16_001).contains(&silence));
                    added += silence as u64;
                }
                NewRun { base } => (added, end) = (0, base),
                Repeat => panic!("nothing repeats"),
            }
            added += if is_gap { 0 } else { samples as u64 };
            let run = timeline.run.as_ref().expect("a run");
            assert_eq!(run.samples, added);
            assert!(timeline.end() >= Some(end), "time goes on");
            end = timeline.end().expect("a run");
            now = now.saturating_add(nanoseconds(samples as u64));
        }
    }
}
