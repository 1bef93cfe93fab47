// SPDX-License-Identifier: MPL-2.0
//! The element as its users see it: between other elements, on real speech.

#[path = "../support/mod.rs"]
mod support;

mod errors;
mod input;
mod live;
mod negotiation;
mod peers;
mod pipelines;
mod stream;
