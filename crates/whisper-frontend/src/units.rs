// SPDX-License-Identifier: MPL-2.0
//! Time as Whisper counts it: [`MelFrame`] before the encoder, [`EncoderFrame`] behind it.
//!
//! A value is a position, counted from the start of a run or a window, or a length: as with
//! [`Duration`], one type serves both. The encoder halves the rate, so an encoder frame is two mel
//! frames. That step is a conversion by name and never a bare `/ 2`:
//!
//! ```
//! use std::time::Duration;
//! use whisper_frontend::{EncoderFrame, MelFrame};
//!
//! let end = MelFrame::from_duration(Duration::from_millis(1_230));
//! assert_eq!(end, MelFrame::new(123));
//! assert_eq!(end.to_encoder(), EncoderFrame::new(61));
//! assert_eq!(MelFrame::from(end.to_encoder()), MelFrame::new(122));
//! assert_eq!((end + MelFrame::ONE).to_duration(), Duration::from_millis(1_240));
//! ```

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};
use std::time::Duration;

/// Frames of 10 ms: a row of the mel spectrogram, or a number of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MelFrame(u64);

/// Frames of 20 ms: a row of the encoder's output, or a number of rows. Two mel frames each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncoderFrame(u64);

/// Mel frames in an encoder frame: the stride of the encoder's second convolution.
const MEL_PER_ENCODER: u64 = 2;

impl MelFrame {
    /// The encoder frame that this position lies in, or the whole encoder frames in this length.
    pub const fn to_encoder(self) -> EncoderFrame {
        EncoderFrame(self.0 / MEL_PER_ENCODER)
    }
}

impl From<EncoderFrame> for MelFrame {
    /// The first mel frame of an encoder frame, or the mel frames in this length.
    fn from(frame: EncoderFrame) -> Self {
        frame.to_mel()
    }
}

impl EncoderFrame {
    /// The first mel frame of this encoder frame, or the mel frames in this length.
    pub const fn to_mel(self) -> MelFrame {
        MelFrame(self.0 * MEL_PER_ENCODER)
    }
}

/// What both units have in common.
macro_rules! frames {
    ($frame:ident, $milliseconds:literal) => {
        impl $frame {
            /// The start, or no time at all.
            pub const ZERO: Self = Self(0);
            /// A single frame.
            pub const ONE: Self = Self(1);
            /// Beyond the end of any run.
            pub const MAX: Self = Self(u64::MAX);
            /// How long one frame is.
            pub const DURATION: Duration = Duration::from_millis($milliseconds);
            /// Frames in a second.
            pub const PER_SECOND: u64 = 1_000 / $milliseconds;

            /// From a plain number of frames.
            pub const fn new(frames: u64) -> Self {
                Self(frames)
            }

            /// From an index or a length in memory.
            pub const fn from_usize(frames: usize) -> Self {
                Self(frames as u64)
            }

            /// From seconds.
            pub const fn from_secs(seconds: u64) -> Self {
                Self(seconds * Self::PER_SECOND)
            }

            /// The frame at this time, or the whole frames in this length.
            pub const fn from_duration(time: Duration) -> Self {
                Self((time.as_nanos() / Self::DURATION.as_nanos()) as u64)
            }

            /// The frame whose start is nearest to this time.
            pub const fn nearest(time: Duration) -> Self {
                let half = Self::DURATION.as_nanos() / 2;
                Self(((time.as_nanos() + half) / Self::DURATION.as_nanos()) as u64)
            }

            /// The plain number of frames.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// As an index or a length in memory.
            pub const fn to_usize(self) -> usize {
                self.0 as usize
            }

            /// Where this frame starts, or how long so many frames are. Saturates after half a
            /// billion years.
            pub const fn to_duration(self) -> Duration {
                Duration::from_millis(self.0.saturating_mul($milliseconds))
            }

            /// [`to_duration`](Self::to_duration) in seconds.
            pub const fn as_secs_f32(self) -> f32 {
                self.0 as f32 * ($milliseconds as f32 / 1_000.0)
            }

            /// The sum, at most [`MAX`](Self::MAX).
            pub const fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// The difference, or zero where `other` is larger.
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// The difference, or `None` where `other` is larger.
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }

            /// How far the two are apart.
            pub const fn abs_diff(self, other: Self) -> Self {
                Self(self.0.abs_diff(other.0))
            }

            /// The frames from this one up to `end`, which is not among them.
            pub fn until(self, end: Self) -> impl DoubleEndedIterator<Item = Self> + Clone {
                (self.0..end.0).map(Self)
            }
        }

        impl From<u64> for $frame {
            fn from(frames: u64) -> Self {
                Self(frames)
            }
        }

        impl From<$frame> for u64 {
            fn from(frames: $frame) -> Self {
                frames.0
            }
        }

        impl From<$frame> for Duration {
            fn from(frames: $frame) -> Self {
                frames.to_duration()
            }
        }

        impl Add for $frame {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl Sub for $frame {
            type Output = Self;

            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl AddAssign for $frame {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl SubAssign for $frame {
            fn sub_assign(&mut self, other: Self) {
                self.0 -= other.0;
            }
        }

        impl Mul<u64> for $frame {
            type Output = Self;

            fn mul(self, times: u64) -> Self {
                Self(self.0 * times)
            }
        }

        impl Sum for $frame {
            fn sum<I: Iterator<Item = Self>>(frames: I) -> Self {
                Self(frames.map(|frames| frames.0).sum())
            }
        }
    };
}

frames!(MelFrame, 10);
frames!(EncoderFrame, 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_frame_is_two_mel_frames() {
        assert_eq!(EncoderFrame::DURATION, MelFrame::DURATION * 2);
        for (mel, encoder) in [(0, 0), (1, 0), (2, 1), (2_999, 1_499), (3_000, 1_500)] {
            assert_eq!(MelFrame::new(mel).to_encoder(), EncoderFrame::new(encoder));
        }
        assert_eq!(MelFrame::from(EncoderFrame::new(7)), MelFrame::new(14));
    }

    #[test]
    fn times_round_down_or_to_the_nearest_frame() {
        let time = Duration::from_micros(29_999);
        assert_eq!(MelFrame::from_duration(time), MelFrame::new(2));
        assert_eq!(MelFrame::nearest(time), MelFrame::new(3));
        assert_eq!(EncoderFrame::from_duration(time), EncoderFrame::ONE);
        assert_eq!(MelFrame::nearest(MelFrame::DURATION / 2), MelFrame::ONE);
        assert_eq!(EncoderFrame::new(50).to_duration(), Duration::from_secs(1));
        assert_eq!(EncoderFrame::new(1).as_secs_f32(), 0.02);
        assert_eq!(MelFrame::from_secs(30), MelFrame::new(3_000));
        assert_eq!(MelFrame::MAX.saturating_add(MelFrame::ONE), MelFrame::MAX);
    }

    #[test]
    fn frames_count_up_to_an_end_and_no_further() {
        let frames = |from, end| MelFrame::new(from).until(MelFrame::new(end));
        assert!(frames(3, 6).eq([3, 4, 5].map(MelFrame::new)));
        assert_eq!(frames(6, 3).next(), None);
        assert_eq!(frames(3, 6).sum::<MelFrame>(), MelFrame::new(12));
    }
}
