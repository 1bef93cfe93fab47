// SPDX-License-Identifier: MPL-2.0
//! Whisper's front end: samples become log-mel rows, and each row learns whether it holds a voice.
//!
//! | type | role |
//! |---|---|
//! | [`Samples`] | one channel of 16 kHz audio where it lies, as S16LE or F32LE |
//! | [`mel::MelAnalyzer`] | samples to mel rows, as they arrive |
//! | [`VoiceDetector`] | the same samples to the probability of a voice |
//! | [`mel::MelRing`] | the rows of one run, in a ring; packs the encoder's windows |
//! | [`AudioRun`] | a ring between two threads, with waiting and cancellation |
//! | [`MelFrame`], [`EncoderFrame`] | frames of 10 and 20 ms |
//! | [`pool::Pool`] | buffers that streams share |
//!
//! Analysis allocates nothing once a stream runs, and how a stream is cut into buffers does not
//! change a bit of its rows. There is no unsafe code here.
//!
//! # Examples
//!
//! Two seconds of a tone, analysed in buffers of 20 ms, then packed as the encoder's window:
//!
//! ```
//! use ndarray::Array2;
//! use whisper_frontend::mel::{MelAnalyzer, MelRing, MelRingMemory, WINDOW, WINDOW_FRAMES};
//! use whisper_frontend::pool::Pool;
//! use whisper_frontend::{MelFrame, Samples, VoiceDetector};
//!
//! let tone = (0..32_000).map(|n| (f64::from(n) * 0.17).sin() as f32 / 2.0);
//! let bytes: Vec<u8> = tone.flat_map(f32::to_le_bytes).collect();
//!
//! let pool = Pool::new(1, || MelRingMemory::new(WINDOW_FRAMES, 80));
//! let mut ring = MelRing::new(pool.acquire(), 80);
//! let mut analyzer = MelAnalyzer::new(80);
//! let mut detector = VoiceDetector::earshot();
//! for buffer in bytes.chunks(320 * size_of::<f32>()) {
//!     analyzer.push(Samples::F32Le(buffer), &mut ring);
//!     detector.push(Samples::F32Le(buffer), &mut ring);
//! }
//! analyzer.finish(&mut ring);
//! detector.finish(&mut ring);
//!
//! assert_eq!(ring.end(), MelFrame::from_secs(2));
//! let voice = ring.voice(MelFrame::from_secs(1));
//! assert!((0.0..=1.0).contains(&voice));
//!
//! let mut window = Array2::zeros((WINDOW_FRAMES, 80));
//! ring.pack_window(&[ring.start()..ring.start() + WINDOW], window.view_mut());
//! assert!(window.iter().all(|x| x.abs() <= 2.0));
//! ```

#![forbid(unsafe_code)]

mod audio_run;
mod fft;
pub mod mel;
pub mod pool;
mod samples;
pub mod units;
pub mod vad;

pub use audio_run::{AudioRun, StreamShare, Wake};
pub use samples::Samples;
pub(crate) use samples::{decode_f32, decode_s16, scale_s16};
pub use units::{EncoderFrame, MelFrame};
pub use vad::VoiceDetector;
