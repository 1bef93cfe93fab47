// SPDX-License-Identifier: MPL-2.0
//! Samples to log-mel rows and voice activity.

mod audio_run;
pub mod mel;
pub mod pool;
mod samples;
pub mod units;
pub mod vad;

pub use audio_run::{AudioRun, Wake, track_counters};
pub use samples::Samples;
pub(crate) use samples::{decode_f32, decode_s16};
pub use units::{EncoderFrame, MelFrame};
pub use vad::VoiceDetector;
