// SPDX-License-Identifier: MPL-2.0
//! Silero's voice activity detector, version 6 at 16 kHz: a Fourier transform, four convolutions,
//! an LSTM.
//!
//! Source: snakers4/silero-vad. The weights are not part of this repository (MIT, Python package
//! `silero-vad`, `silero_vad_16k.safetensors`).

mod lstm;
mod network;
#[cfg(test)]
mod plain;
mod spectrum;
mod tensors;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use whisper_kernels::{Detected, Isa};

use network::{Network, Pack};
use tensors::Tensors;

pub use network::State;
pub use tensors::SileroError;

/// Samples in a block, 32 ms.
pub const BLOCK: usize = 512;
/// Blocks that are computed together, where so many are there: enough rows for any kernel's tile.
pub const BATCH: usize = 12;
/// Samples of the block before that the network takes again.
const CONTEXT: usize = 64;
/// Samples after the block, its end reflected.
const REFLECTED: usize = 64;
const FFT: usize = 256;
const HOP: usize = 128;
const BINS: usize = FFT / 2 + 1;
/// Spectra in a block.
const STEPS: usize = (CONTEXT + BLOCK + REFLECTED - FFT) / HOP + 1;
/// Channels of the first convolution, the last one, and the LSTM.
const WIDE: usize = 128;
/// Channels of the convolutions in the middle.
const NARROW: usize = 64;
/// Width of the convolutions; all are padded by one step of zeros.
const TAPS: usize = 3;

/// Bytes beyond which a file is not read: the weights have 1.2 MB.
const MAX_FILE: u64 = 16 << 20;

/// The weights of Silero's network, as the Python package `silero-vad` version 6 has them.
///
/// ```no_run
/// use std::sync::Arc;
/// use whisper_frontend::VoiceDetector;
/// use whisper_frontend::vad::SileroWeights;
///
/// let weights = SileroWeights::open("silero_vad_16k.safetensors".as_ref())?;
/// let detector = VoiceDetector::silero(Arc::new(weights));
/// # Ok::<(), whisper_frontend::vad::SileroError>(())
/// ```
pub struct SileroWeights(Box<dyn Network>);

impl SileroWeights {
    /// Reads the weights from a file of 1.2 MB: not on a streaming thread.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn open(path: &Path) -> Result<Self, SileroError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
            .map_err(|source| SileroError::Io {
                path: path.to_owned(),
                source,
            })?;
        Self::from_bytes(&bytes)
    }

    /// The weights from the bytes of such a file, packed for the fastest instruction set of this
    /// machine.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SileroError> {
        Self::pack(&Tensors::from_bytes(bytes)?, Isa::choose()?.detect()?)
    }

    fn pack(tensors: &Tensors, kernel: Detected) -> Result<Self, SileroError> {
        kernel.dispatch_f32(Pack(tensors)).map(Self)
    }

    /// The state of a stream before its first block.
    pub(super) fn state(&self) -> State {
        self.0.state()
    }

    /// The probability of a voice in each of up to [`BATCH`] blocks, full scale ±1. Each is
    /// multiplied by its gain.
    pub(super) fn probabilities(
        &self,
        state: &mut State,
        blocks: &[f32],
        gains: &[f32],
        out: &mut [f32],
    ) {
        debug_assert!(gains.len() <= BATCH && blocks.len() == gains.len() * BLOCK);
        self.0.probabilities(state, blocks, gains, out);
    }
}
