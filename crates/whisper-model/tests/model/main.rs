// SPDX-License-Identifier: MPL-2.0
//! Model files: every format, installed models, hostile ones.

mod fetch;
mod formats;
mod installed;
mod quantized;
