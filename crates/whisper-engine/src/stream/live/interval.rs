// SPDX-License-Identifier: MPL-2.0
//! How often to update.

use std::time::Duration;

use whisper_frontend::MelFrame;

/// An update that took T is followed by the next one after at least this many T.
const REST_FACTOR: f64 = 1.5;
const MAX_INTERVAL: Duration = Duration::from_secs(5);

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

    /// From one update to the next.
    pub fn frames(&self) -> MelFrame {
        frames(self.current)
    }

    /// How many updates were due since the last one, but for the one that is made now.
    pub fn coalesced(&self, since_update: MelFrame) -> u64 {
        (since_update.get() / frames(self.wanted).get()).saturating_sub(1)
    }

    /// An update took so long, waiting for other streams included. Grows at once, shrinks by
    /// halves.
    pub fn took(&mut self, time: Duration) {
        if !self.adapts {
            return;
        }
        let needed = time
            .mul_f64(REST_FACTOR)
            .clamp(self.wanted, MAX_INTERVAL.max(self.wanted));
        self.current = needed.max((self.current + needed) / 2);
    }
}

fn frames(time: Duration) -> MelFrame {
    MelFrame::from_duration(time).max(MelFrame::ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_interval_grows_with_the_work_and_recovers() {
        let mut interval = UpdateInterval::new(MS(500), true);
        assert_eq!(interval.frames().get(), 50);
        interval.took(MS(1000));
        assert_eq!(interval.frames().get(), 150);
        interval.took(MS(60_000));
        assert_eq!(interval.frames().get(), 500);
        for _ in 0..12 {
            interval.took(MS(100));
        }
        assert_eq!(interval.frames().get(), 50);
    }

    #[test]
    fn updates_that_came_too_late_are_counted() {
        let interval = UpdateInterval::new(MS(500), true);
        assert_eq!(
            [10, 50, 99, 100, 260].map(|frames| interval.coalesced(MelFrame::new(frames))),
            [0, 0, 0, 1, 4]
        );
    }

    #[test]
    fn a_fixed_interval_stays() {
        let mut interval = UpdateInterval::new(MS(1), false);
        interval.took(MS(9999));
        assert_eq!(interval.frames().get(), 1);
    }
}
