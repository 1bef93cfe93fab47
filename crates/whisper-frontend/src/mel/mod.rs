// SPDX-License-Identifier: MPL-2.0
//! Whisper's log-mel spectrogram (openai/whisper `audio.py`), computed as audio arrives.
//!
//! [`MelAnalyzer`] turns samples into rows of log10 powers, one every 10 ms, and writes each at its
//! final place in a [`MelRing`]. [`MelRing::pack_window`] applies Whisper's normalisation, which
//! depends on the whole window, on the way to the encoder. Overlapping windows thus share their
//! rows: no frame is transformed twice.

mod analyzer;
mod filterbank;
mod frames;
mod log10;
mod ring;
mod window;

pub use analyzer::MelAnalyzer;
pub use ring::{MelRing, MelRingMemory};

use crate::MelFrame;

/// Samples per second that Whisper hears.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples that one frame covers: 25 ms.
pub const N_FFT: usize = 400;
/// Samples from one frame's centre to the next one's: 10 ms.
pub const HOP: usize = 160;
/// The encoder's window: 30 s.
pub const WINDOW: MelFrame = MelFrame::from_secs(30);
/// Rows of [`WINDOW`], as a dimension of matrices.
pub const WINDOW_FRAMES: usize = WINDOW.to_usize();

/// A mel row's value in digital silence: log10 of the smallest power that is told from none, 1e-10.
pub const SILENCE: f32 = -10.0;

// A row begins at every hop.
const _: () = assert!(MelFrame::PER_SECOND * HOP as u64 == SAMPLE_RATE as u64);
