// SPDX-License-Identifier: MPL-2.0
//! Log-mel spectrogram as Whisper defines it (openai/whisper `audio.py`), computed as audio arrives.
//!
//! [`Analyzer`] turns samples into rows, one per 10 ms, at their final place in a [`MelRing`];
//! [`MelRing::pack_window`] applies Whisper's per-window normalisation on the way to the encoder.

mod analyzer;
mod filterbank;
mod frames;
mod log10;
mod ring;
mod window;

pub use analyzer::Analyzer;
pub use ring::{MelRing, MelRingMemory};

/// Samples per second that Whisper hears.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples that one frame covers: 25 ms.
pub const N_FFT: usize = 400;
/// Samples from one frame's centre to the next one's: 10 ms.
pub const HOP: usize = 160;
/// Frames, and so mel rows, per second.
pub const FRAMES_PER_SECOND: u64 = SAMPLE_RATE as u64 / HOP as u64;
/// Frames of the encoder's window: 30 s.
pub const WINDOW_FRAMES: usize = 3000;

/// A mel row's value in digital silence: log10 of the smallest power that is told from none, 1e-10.
pub const SILENCE: f32 = -10.0;
