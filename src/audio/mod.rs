// SPDX-License-Identifier: MPL-2.0
//! From mapped GstBuffers to samples: formats, alignment, discontinuities.

mod samples;
mod timeline;
mod vad;

pub use samples::Samples;
pub(crate) use samples::{decode_f32, decode_s16};
pub use timeline::{LONGEST_FILL, Placement, TOLERANCE, Timeline, time_of};
pub use vad::VoiceDetector;
