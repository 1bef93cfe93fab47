// SPDX-License-Identifier: MPL-2.0
//! Samples as they lie in memory.

/// One channel of samples where they lie: numbers, or bytes of a mapped buffer at any alignment.
/// Nothing is copied or converted ahead of use.
///
/// Bytes after the last whole sample are left out. Full scale is ±1.
///
/// ```
/// use whisper_frontend::Samples;
///
/// let bytes = 16_384_i16.to_le_bytes();
/// assert_eq!(Samples::S16Le(&bytes).get(0), Some(0.5));
/// assert_eq!(Samples::from(&[0.25_f32, -0.5]).get(1), Some(-0.5));
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// Signed 16-bit little endian; 32768 is full scale.
    S16Le(&'a [u8]),
    /// 32-bit IEEE 754 little endian.
    F32Le(&'a [u8]),
    /// Signed 16-bit numbers; 32768 is full scale.
    S16(&'a [i16]),
    /// Floating-point numbers.
    F32(&'a [f32]),
    /// So many samples of digital silence, with no bytes behind them.
    Silence(usize),
}

impl<'a> Samples<'a> {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match *self {
            Self::S16Le(bytes) => bytes.len() / size_of::<i16>(),
            Self::F32Le(bytes) => bytes.len() / size_of::<f32>(),
            Self::S16(samples) => samples.len(),
            Self::F32(samples) => samples.len(),
            Self::Silence(len) => len,
        }
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `at` samples and the rest; `at` beyond the end leaves the rest empty.
    pub fn split_at(self, at: usize) -> (Self, Self) {
        let at = at.min(self.len());
        match self {
            Self::S16Le(bytes) => {
                let (head, tail) = bytes.split_at(at * size_of::<i16>());
                (Self::S16Le(head), Self::S16Le(tail))
            }
            Self::F32Le(bytes) => {
                let (head, tail) = bytes.split_at(at * size_of::<f32>());
                (Self::F32Le(head), Self::F32Le(tail))
            }
            Self::S16(samples) => {
                let (head, tail) = samples.split_at(at);
                (Self::S16(head), Self::S16(tail))
            }
            Self::F32(samples) => {
                let (head, tail) = samples.split_at(at);
                (Self::F32(head), Self::F32(tail))
            }
            Self::Silence(len) => (Self::Silence(at), Self::Silence(len - at)),
        }
    }

    /// The sample at `index`, if there is one. Float samples come as they are, NaN and infinities
    /// included.
    pub fn get(&self, index: usize) -> Option<f32> {
        match *self {
            Self::S16Le(bytes) => bytes.as_chunks().0.get(index).map(from_s16),
            Self::F32Le(bytes) => bytes.as_chunks().0.get(index).map(from_f32),
            Self::S16(samples) => samples.get(index).map(scale_s16),
            Self::F32(samples) => samples.get(index).copied(),
            Self::Silence(len) => (index < len).then_some(0.0),
        }
    }

    /// Writes the first samples to `to`, as many as both have, the way [`get`](Self::get) gives
    /// them.
    pub(crate) fn copy_to(self, to: &mut [f32]) {
        fn copy(from: impl Iterator<Item = f32>, to: &mut [f32]) {
            for (to, from) in to.iter_mut().zip(from) {
                *to = from;
            }
        }
        match self {
            Self::S16Le(bytes) => copy(decode_s16(bytes), to),
            Self::F32Le(bytes) => copy(decode_f32(bytes), to),
            Self::S16(samples) => copy(samples.iter().map(scale_s16), to),
            Self::F32(samples) => copy(samples.iter().copied(), to),
            Self::Silence(len) => copy(std::iter::repeat_n(0.0, len), to),
        }
    }

    /// All samples in order, as [`get`](Self::get) gives them.
    pub fn iter(self) -> impl ExactSizeIterator<Item = f32> + 'a {
        // `get` cannot fail below `len`.
        (0..self.len()).map(move |index| self.get(index).unwrap_or_default())
    }
}

/// From slices, arrays and vectors of numbers.
macro_rules! from_numbers {
    ($number:ty, $variant:ident) => {
        impl<'a> From<&'a [$number]> for Samples<'a> {
            fn from(samples: &'a [$number]) -> Self {
                Self::$variant(samples)
            }
        }

        impl<'a> From<&'a Vec<$number>> for Samples<'a> {
            fn from(samples: &'a Vec<$number>) -> Self {
                Self::$variant(samples)
            }
        }

        impl<'a, const N: usize> From<&'a [$number; N]> for Samples<'a> {
            fn from(samples: &'a [$number; N]) -> Self {
                Self::$variant(samples)
            }
        }
    };
}

from_numbers!(i16, S16);
from_numbers!(f32, F32);

/// Reads S16LE sample by sample.
pub(crate) fn decode_s16(bytes: &[u8]) -> impl ExactSizeIterator<Item = f32> + '_ {
    bytes.as_chunks().0.iter().map(from_s16)
}

/// Reads F32LE sample by sample.
pub(crate) fn decode_f32(bytes: &[u8]) -> impl ExactSizeIterator<Item = f32> + '_ {
    bytes.as_chunks().0.iter().map(from_f32)
}

fn from_s16(sample: &[u8; 2]) -> f32 {
    scale_s16(&i16::from_le_bytes(*sample))
}

/// Exact, so that all formats give the same spectrum.
pub(crate) fn scale_s16(sample: &i16) -> f32 {
    f32::from(*sample) / 32768.0
}

fn from_f32(sample: &[u8; 4]) -> f32 {
    f32::from_le_bytes(*sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_give_the_same_samples() {
        let s16 = [0, 1, -1, i16::MAX, i16::MIN];
        let f32s = s16.map(|s| f32::from(s) / 32768.0);
        for offset in 0..4 {
            let mut short = vec![0u8; offset];
            let mut long = vec![0u8; offset];
            short.extend(s16.iter().flat_map(|s| s.to_le_bytes()));
            long.extend(f32s.iter().flat_map(|s| s.to_le_bytes()));
            assert!(Samples::S16Le(&short[offset..]).iter().eq(f32s));
            assert!(Samples::F32Le(&long[offset..]).iter().eq(f32s));
        }
        assert!(Samples::from(&s16).iter().eq(f32s));
        assert!(Samples::from(&f32s).iter().eq(f32s));
    }

    #[test]
    fn bytes_after_the_last_whole_sample_are_left_out() {
        let bytes = [0u8; 7];
        assert_eq!(Samples::S16Le(&bytes).len(), 3);
        assert_eq!(Samples::F32Le(&bytes).len(), 1);
        assert_eq!(Samples::F32Le(&bytes[..3]).len(), 0);
        assert_eq!(Samples::S16Le(&bytes).iter().count(), 3);
    }

    #[test]
    fn splitting_keeps_every_sample_in_order() {
        let numbers: Vec<i16> = (0..10).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|s| s.to_le_bytes()).collect();
        for whole in [Samples::S16Le(&bytes), Samples::from(&numbers)] {
            for at in 0..12 {
                let (head, tail) = whole.split_at(at);
                assert_eq!(head.len(), at.min(10));
                assert!(head.iter().chain(tail.iter()).eq(whole.iter()));
            }
        }
        let (head, tail) = Samples::Silence(5).split_at(3);
        assert_eq!((head.len(), tail.len()), (3, 2));
    }

    #[test]
    fn there_is_no_sample_beyond_the_end() {
        assert_eq!(Samples::S16Le(&[0, 64, 9]).get(0), Some(0.5));
        assert_eq!(Samples::S16Le(&[0, 64, 9]).get(1), None);
        assert_eq!(Samples::Silence(1).get(1), None);
        assert!(Samples::Silence(0).is_empty());
    }
}
