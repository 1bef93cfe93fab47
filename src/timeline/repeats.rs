// SPDX-License-Identifier: MPL-2.0
//! Buffers that come twice.

use std::hash::{DefaultHasher, Hasher};

use gst::ClockTime;

/// Buffers that a repeated one is looked for among.
const REMEMBERED: usize = 8;
/// Shorter buffers may be equal by chance.
const MIN_BYTES: usize = 160;

/// What tells the samples of a buffer from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of the bytes of a buffer, part by part. `None` if they tell nothing: silence, or too few.
    pub fn of<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut hasher = DefaultHasher::new();
        let (mut first, mut varied, mut size) = (None, false, 0);
        for part in parts {
            let bytes = part.as_ref();
            let first = *first.get_or_insert(bytes.first().copied());
            varied |= bytes.iter().any(|&byte| Some(byte) != first);
            size += bytes.len();
            hasher.write(bytes);
        }
        (varied && size >= MIN_BYTES).then(|| Self(hasher.finish()))
    }
}

/// The latest buffers.
#[derive(Clone, Debug, Default)]
pub struct LatestBuffers {
    latest: [Option<(Fingerprint, ClockTime)>; REMEMBERED],
    next: usize,
}

impl LatestBuffers {
    pub fn remember(&mut self, fingerprint: Fingerprint, pts: ClockTime) {
        self.latest[self.next] = Some((fingerprint, pts));
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// PTS of the last buffer with the same samples.
    pub fn twin(&self, fingerprint: Fingerprint) -> Option<ClockTime> {
        let latest = (1..=REMEMBERED).map(|back| (self.next + REMEMBERED - back) % REMEMBERED);
        latest
            .filter_map(|index| self.latest[index])
            .find_map(|(other, pts)| (other == fingerprint).then_some(pts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_tells_samples_apart_and_silence_has_none() {
        let noise: Vec<u8> = (0..640u32).map(|index| (index * index) as u8).collect();
        let mut other = noise.clone();
        other[639] ^= 1;
        assert_eq!(Fingerprint::of([&noise]), Fingerprint::of([&noise]));
        assert_ne!(Fingerprint::of([&noise]), Fingerprint::of([&other]));
        let (one, two) = noise.split_at(320);
        assert!(Fingerprint::of([one, two]).is_some());
        assert_eq!(Fingerprint::of([[0; 640]]), None);
        assert_eq!(Fingerprint::of([&noise[..100]]), None);
        assert_eq!(Fingerprint::of::<&[u8]>([]), None);
    }

    #[test]
    fn twin_is_found_among_the_latest() {
        let mut latest = LatestBuffers::default();
        for second in 0..10 {
            latest.remember(Fingerprint(second), ClockTime::from_seconds(second));
        }
        latest.remember(Fingerprint(9), ClockTime::from_seconds(20));
        assert_eq!(
            latest.twin(Fingerprint(9)),
            Some(ClockTime::from_seconds(20))
        );
        assert_eq!(
            latest.twin(Fingerprint(4)),
            Some(ClockTime::from_seconds(4))
        );
        assert_eq!(latest.twin(Fingerprint(1)), None);
    }
}
