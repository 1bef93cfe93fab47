// SPDX-License-Identifier: MPL-2.0
//! Model files: every format, installed models, hostile ones.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod fetch;
mod formats;
mod installed;
mod quantized;
