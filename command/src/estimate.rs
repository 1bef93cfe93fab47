// SPDX-License-Identifier: MPL-2.0
//! How fast it goes, and how long it takes.

use std::time::{Duration, Instant};

/// Progress of one file.
pub struct Estimate {
    began: Instant,
    /// Audio that is done, and since when.
    done: Duration,
    at: Instant,
}

impl Estimate {
    /// Nothing is done at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            done: Duration::ZERO,
            at: now,
        }
    }

    /// So much audio is done at `now`.
    pub fn advance(&mut self, done: Duration, now: Instant) {
        if done > self.done {
            self.done = done;
            self.at = now;
        }
    }

    /// Seconds of audio a second, once some is done.
    ///
    /// Audio is done in steps of up to two minutes, so that only what ends with a step counts.
    pub fn speed(&self) -> Option<f64> {
        let time = self.at.saturating_duration_since(self.began).as_secs_f64();
        (time > 0.0).then(|| self.done.as_secs_f64() / time)
    }

    /// Time until all of `total` is done.
    pub fn left(&self, total: Duration, now: Instant) -> Option<Duration> {
        let speed = self.speed()?;
        let audio = total.saturating_sub(self.done).as_secs_f64();
        let left = Duration::try_from_secs_f64(audio / speed).ok()?;
        Some(left.saturating_sub(now.saturating_duration_since(self.at)))
    }
}

/// A time as people write it: `1:02:03` or `2:03`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_is_said_before_anything_is_done() {
        let now = Instant::now();
        let mut estimate = Estimate::new(now);
        assert_eq!(estimate.speed(), None);
        assert_eq!(estimate.left(secs(60), now + secs(5)), None);
        estimate.advance(Duration::ZERO, now + secs(5));
        assert_eq!(estimate.left(secs(60), now + secs(5)), None);
    }

    #[test]
    fn time_left_is_right_from_the_first_step() {
        let now = Instant::now();
        let mut estimate = Estimate::new(now);
        estimate.advance(secs(60), now + secs(2));
        assert_eq!(estimate.speed(), Some(30.0));
        assert_eq!(estimate.left(secs(3600), now + secs(2)), Some(secs(118)));
        // Between steps time goes by, and the speed stays.
        assert_eq!(estimate.left(secs(3600), now + secs(5)), Some(secs(115)));
        assert_eq!(estimate.left(secs(3600), now + secs(500)), Some(secs(0)));
        assert_eq!(estimate.speed(), Some(30.0));
    }

    #[test]
    fn time_left_is_never_negative() {
        let now = Instant::now();
        let mut estimate = Estimate::new(now);
        estimate.advance(secs(61), now + secs(2));
        assert_eq!(estimate.left(secs(60), now + secs(2)), Some(secs(0)));
    }

    #[test]
    fn clock_has_hours_only_if_there_are_some() {
        assert_eq!(clock(secs(7)), "0:07");
        assert_eq!(clock(secs(725)), "12:05");
        assert_eq!(clock(secs(3_600 * 25 + 61)), "25:01:01");
    }
}
