// SPDX-License-Identifier: MPL-2.0
//! From mapped GstBuffers to samples: formats, alignment, discontinuities.
