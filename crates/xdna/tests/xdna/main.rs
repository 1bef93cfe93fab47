// SPDX-License-Identifier: MPL-2.0
//! The program of the array against its emulation.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod overlay;
