// SPDX-License-Identifier: MPL-2.0
//! The program of the array against its emulation.

mod overlay;
