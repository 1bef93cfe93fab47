// SPDX-License-Identifier: MPL-2.0
//! Streams against the published generator, the program of the array against its emulation.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod overlay;
mod streams;
