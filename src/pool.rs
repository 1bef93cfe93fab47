// SPDX-License-Identifier: MPL-2.0
//! A pool of large buffers, shared by all streams of the process.
