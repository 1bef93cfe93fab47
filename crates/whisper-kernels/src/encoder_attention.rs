// SPDX-License-Identifier: MPL-2.0
//! Attention of one head over a whole sequence: an encoder's.
//!
//! Some queries go through the keys block by block. Their scores against one block stay in the
//! first-level cache, and a softmax whose maximum may yet grow joins the blocks, so the matrix
//! `[queries, keys]` of all scores never exists. For each query and block:
//!
//! 1. The scores s of the block, and their maximum m'.
//! 2. The weights w = 2^(s - m'), rounded to the block's format.
//! 3. With m = max(m_before, m'): the sum of weights and the accumulated values are multiplied by
//!    2^(m_before - m), those of this block by 2^(m' - m), and added.
//!
//! In the end the values are divided by the sum. Softmax has base 2 here: queries carry the factor
//! log2 e / √(head width).
//!
//! Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
//! "FlashAttention", 2022.

mod block;
mod float;
mod int8;
mod online;

pub use block::AttentionBlock;
pub use float::{FloatAttention, FloatWeights};
pub use int8::Int8Attention;
pub use online::{EncoderAttention, Scratch};
