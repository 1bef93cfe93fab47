// SPDX-License-Identifier: MPL-2.0
//! Samples as they lie in buffers.

use gst_audio::AudioFormat;

use crate::timeline::Fingerprint;
use whisper_engine::Samples;

/// What tells the samples of `buffer` from those of others, read where they lie.
pub fn fingerprint(buffer: &gst::BufferRef) -> Option<Fingerprint> {
    if buffer.flags().contains(gst::BufferFlags::GAP) {
        return None;
    }
    let memories = buffer.iter_memories();
    Fingerprint::of(memories.map_while(|memory| memory.map_readable().ok()))
}

/// Size of a sample; `None` if the format cannot be read.
pub fn bytes_per_sample(format: AudioFormat) -> Option<usize> {
    match format {
        AudioFormat::S16le => Some(2),
        AudioFormat::F32le => Some(4),
        _ => None,
    }
}

/// The samples in `bytes`.
pub fn samples(format: AudioFormat, bytes: &[u8]) -> Samples<'_> {
    if format == AudioFormat::S16le {
        Samples::S16Le(bytes)
    } else {
        Samples::F32Le(bytes)
    }
}
