// SPDX-License-Identifier: MPL-2.0
//! The command as its users see it: the real program on real files.

mod failures;
mod formats;
mod interruptions;
mod live;
mod models;
mod mux;
mod support;
