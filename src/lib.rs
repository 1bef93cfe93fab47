// SPDX-License-Identifier: MPL-2.0
//! `whispernpu`: timed subtitles from speech, as a GStreamer element.
//!
//! `docs/architecture.md` shows the way of one sample through these rooms.

pub mod audio;
pub mod caption;
pub mod mel;
pub mod model;
pub mod pool;
