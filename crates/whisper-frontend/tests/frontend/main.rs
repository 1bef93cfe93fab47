// SPDX-License-Identifier: MPL-2.0
//! The front end on real and hostile samples.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod mel;
mod vad;
