// SPDX-License-Identifier: MPL-2.0
//! Keeps the house: which crate may depend on which, where GStreamer may be used, how files of a
//! crate use each other, and how tests are named and ignored.

mod circles;
mod manifests;
mod source;
mod tests_of_tests;
