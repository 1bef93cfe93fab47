// SPDX-License-Identifier: MPL-2.0
//! The overlay's contract in numbers: the one source that the instruction generator, the device model, the budget
//! check and (by `kernels/aie2p/contract.h`, which a test compares) the core program follow.
//!
//! `kernels/aie2p/CONTRACT.md` says it in words. All offsets and sizes are bytes unless they say otherwise.

/// The order of a dispatch's data buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A, (M, K) bf16, row-major.
    Left = 0,
    /// B and its bias as [`super::weights`] packs them.
    Right = 1,
    /// C, (M, N) bf16, row-major.
    Product = 2,
}

/// What the cores do with a finished tile of f32 sums before they round it to bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epilogue {
    None = 0,
    /// x Φ(x).
    Gelu = 1,
}
