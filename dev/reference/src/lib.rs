// SPDX-License-Identifier: MPL-2.0
//! Whisper's encoder and decoder in f32 on candle-core, as plain as the paper: what the kernels are measured against.

mod decoder;
mod encoder;
mod nn;

pub use decoder::ReferenceDecoder;
pub use encoder::ReferenceEncoder;
