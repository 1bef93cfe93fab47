// SPDX-License-Identifier: MPL-2.0
//! Speech to timed words with Whisper.

pub mod decoder;
pub mod encoder;
pub mod engine;
pub mod stream;
pub mod voice;
mod weights;
