// SPDX-License-Identifier: MPL-2.0
//! The front end on real and hostile samples.

mod mel;
mod vad;
