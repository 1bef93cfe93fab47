// SPDX-License-Identifier: MPL-2.0
//! Model files of any supported format to dimensions, weights and tokenizer.
