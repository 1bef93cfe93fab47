// SPDX-License-Identifier: MPL-2.0
//! Recognition: the networks against their references, and words of real speech.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod decoder;
mod encoder;
mod golden;
mod library;
mod live;
mod npu;
mod npu_device;
mod offline;
mod trust;
mod words;

/// Clips of the collection in which nobody speaks or sings.
const NONSPEECH: [&str; 7] = [
    "music-vibe-ace",
    "music-sugar-plum",
    "whale",
    "ambience-a",
    "room-tone",
    "silence",
    "pink-30db",
];
