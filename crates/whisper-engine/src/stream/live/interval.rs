// SPDX-License-Identifier: MPL-2.0
//! How often to update.

use std::time::Duration;

/// Share of the time that updates may take: an update that took T is followed by at least this many T.
const BREATH: f64 = 1.5;
const LONGEST: Duration = Duration::from_secs(5);

/// The interval between updates: as asked for, longer while updates take long.
pub struct UpdateInterval {
    wanted: Duration,
    current: Duration,
    adapts: bool,
}

impl UpdateInterval {
    /// With `adapts` false the interval stays as `wanted`, however long updates take.
    pub fn new(wanted: Duration, adapts: bool) -> Self {
        Self {
            wanted,
            current: wanted,
            adapts,
        }
    }

    /// Frames of 10 ms from one update to the next.
    pub fn interval(&self) -> u64 {
        frames(self.current)
    }

    /// Updates that were due within so many frames and are made as one.
    pub fn coalesced(&self, frames_since_update: u64) -> u64 {
        (frames_since_update / frames(self.wanted)).saturating_sub(1)
    }

    /// An update took so long, waiting for other streams included. Grows at once, shrinks by halves.
    pub fn took(&mut self, time: Duration) {
        if !self.adapts {
            return;
        }
        let needed = time
            .mul_f64(BREATH)
            .clamp(self.wanted, LONGEST.max(self.wanted));
        self.current = needed.max((self.current + needed) / 2);
    }
}

fn frames(time: Duration) -> u64 {
    (time.as_millis() as u64 / 10).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_interval_grows_with_the_work_and_recovers() {
        let mut pace = UpdateInterval::new(MS(500), true);
        assert_eq!(pace.interval(), 50);
        pace.took(MS(1000));
        assert_eq!(pace.interval(), 150);
        pace.took(MS(60_000));
        assert_eq!(pace.interval(), 500);
        for _ in 0..12 {
            pace.took(MS(100));
        }
        assert_eq!(pace.interval(), 50);
    }

    #[test]
    fn updates_that_came_too_late_are_counted() {
        let pace = UpdateInterval::new(MS(500), true);
        assert_eq!(
            [10, 50, 99, 100, 260].map(|frames| pace.coalesced(frames)),
            [0, 0, 0, 1, 4]
        );
    }

    #[test]
    fn a_fixed_pace_stays() {
        let mut pace = UpdateInterval::new(MS(1), false);
        pace.took(MS(9999));
        assert_eq!(pace.interval(), 1);
    }
}
