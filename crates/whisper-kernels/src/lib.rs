// SPDX-License-Identifier: MPL-2.0
//! Arithmetic of transformer networks on the CPU: matrix products, attention, layer normalisation
//! and quantisation.
//!
//! Every loop is written once, generic over a kernel: a type that stands for an instruction set.
//! The crate compiles the loops for all instruction sets of the architecture, and chooses one when
//! the program runs. Nothing here allocates while it computes, spawns threads or does I/O: callers
//! bring the memory and split the work.
//!
//! ## Example
//!
//! `GELU(x Wᵀ + b)` with the fastest instruction set of this machine:
//!
//! ```
//! use whisper_kernels::epilogue::StoreGeluF32;
//! use whisper_kernels::gemm::{Gemm, Rows};
//! use whisper_kernels::pack::PackedB;
//! use whisper_kernels::{EncoderKernel, ForKernel, Isa, UnknownIsa, mr};
//!
//! struct Layer<'a> {
//!     /// `[rows, depth]`
//!     x: &'a [f32],
//!     /// `[outputs, depth]`
//!     weight: &'a [f32],
//!     bias: &'a [f32],
//!     depth: usize,
//! }
//!
//! impl ForKernel for Layer<'_> {
//!     type Output = Vec<Vec<f32>>;
//!
//!     fn run<K: EncoderKernel>(self, kernel: K) -> Self::Output {
//!         // Pack the weights: a program does this once.
//!         let packed = PackedB::<K>::new(self.weight, self.bias, self.depth, 1.0);
//!         let right = packed.view();
//!
//!         // Round the rows to the kernel's values, padded to whole tiles of whole k-groups.
//!         let (rows, stride) = (self.x.len() / self.depth, right.depth);
//!         let mut left = vec![K::Value::default(); rows.next_multiple_of(mr::<K>()) * stride];
//!         for (to, from) in left.chunks_exact_mut(stride).zip(self.x.chunks_exact(self.depth)) {
//!             to.iter_mut().zip(from).for_each(|(to, x)| *to = K::value(*x));
//!         }
//!
//!         // Multiply. The epilogue applies GELU to each tile while it is in registers.
//!         let width = right.columns;
//!         let mut out = vec![0.0; rows * width];
//!         kernel.dispatch(Gemm {
//!             left: Rows { values: &left, stride, count: rows },
//!             right,
//!             epilogue: StoreGeluF32 { out: &mut out, width },
//!         });
//!
//!         // Panels are padded to NR outputs: leave those out.
//!         let outputs = self.weight.len() / self.depth;
//!         out.chunks_exact(width).map(|row| row[..outputs].to_vec()).collect()
//!     }
//! }
//!
//! # fn main() -> Result<(), UnknownIsa> {
//! let kernel = Isa::choose()?.detect()?;
//! let y = kernel.dispatch(Layer {
//!     x: &[1.0, 2.0, -0.5, 4.0],
//!     weight: &[1.0, 1.0, 0.5, -2.0, 0.0, 1.0],
//!     bias: &[0.0, 0.5, -1.0],
//!     depth: 2,
//! });
//! // GELU(3), GELU(-3), GELU(1)
//! assert!((y[0][0] - 2.9960).abs() < 1e-3);
//! assert!((y[0][1] + 0.0040).abs() < 1e-3);
//! assert!((y[0][2] - 0.8413).abs() < 1e-3);
//! # Ok(())
//! # }
//! ```
//!
//! ## Roles
//!
//! | role | who plays it | what it does |
//! |---|---|---|
//! | [`Isa`] | an enum of names | [`Isa::choose`] takes the fastest or what the environment names; [`Isa::detect`] proves it |
//! | kernel | the types in [`arch`] | proves an instruction set and offers its operations: [`SimdF32`], [`DotI16`], [`GemmKernel`], [`DotI8`] |
//! | [`EncoderKernel`] | every kernel | names the fastest formats for layers over long sequences |
//! | [`ForKernel`], [`ForF32Kernel`] | callers | work that is generic over the kernel, entered once: loading a model, say |
//! | [`SimdOp`] | [`gemm`], [`w8a16`], [`layer_norm`], attention, callers | a loop nest that [`GemmKernel::dispatch`] compiles for the kernel |
//! | [`Epilogue`](gemm::Epilogue) | [`epilogue`], callers | takes each finished tile of a product |
//!
//! A value of a kernel's type exists only where its instructions do, so safe methods may use them.
//! A `SimdOp` becomes fast code because `dispatch` is a function with the instruction set enabled,
//! into which `eval` and every method of the kernel are inlined. Hence `#[inline(always)]` on all
//! that a `SimdOp` calls.
//!
//! ## Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | tile | the part of a product whose sums stay in registers together: MR rows, NR columns |
//! | MR, NR | rows and columns of a tile: [`mr`], [`GemmKernel::NR`] (two vectors) |
//! | depth, k | the axis that a product sums over |
//! | k-group | values adjacent in depth that one instruction multiplies and adds in a lane: [`GemmKernel::K_GROUP`], pairs of 16-bit integers, quads of bytes |
//! | k-alignment | what depth is padded to a multiple of: [`GemmKernel::K_ALIGN`] |
//! | panel | NR columns of a right operand, over its whole depth |
//! | pack | to rearrange a right operand into panels, in the order in which the micro-kernel reads it ([`pack`]) |
//! | micro-kernel | the innermost loop: one tile, k-group by k-group ([`micro_kernel`]) |
//! | epilogue | what becomes of a tile while it is in registers: bias, activation, residual, rounding ([`epilogue`]) |
//! | dispatch | to enter code that is compiled for one instruction set |
//! | value | an element of a matrix in memory, f32 or bf16: [`GemmKernel::Value`] |
//! | W8A8, W8A16 | weights of 8 bits times activations of 8 or 16 ([`w8a8`], [`w8a16`]) |
//! | quantise | to round to integers with a scale, here of each row or group of weights ([`quantize`]) |
//!
//! Left operands are activations, `[rows, depth]`; right operands are weights, keys or values.
//! Buffers are row-major, and shapes are written `[outer, inner]`.
//!
//! ## Instruction sets
//!
//! | [`Isa`] | lanes | values, k-group | tile MR × NR | linear layers | attention |
//! |---|---|---|---|---|---|
//! | `portable` | 4 | f32, 1 | 4 × 8 | f32 | f32 |
//! | `neon` | 4 | f32, 1 | 12 × 8 | f32 | f32 |
//! | `avx2` | 8 | f32, 1 | 6 × 16 | f32 | f32 |
//! | `avx2-vnni` | 8 | f32, 1 | 6 × 16 | W8A8 | 8 bits |
//! | `avx512` | 16 | f32, 1 | 12 × 32 | f32 | f32 |
//! | `avx512-bf16` | 16 | bf16, 2 | 12 × 32 | W8A8 | 8 bits |
//! | `amx` | 16 | bf16, 2 (k-alignment 32) | 32 × 32 | W8A8 | bf16 |
//!
//! The last two columns are the formats of [`EncoderKernel`]. All kernels have W8A16, for products
//! of few rows. The integer products are exact, so W8A8 and W8A16 sums do not depend on the
//! instruction set. f32 and bf16 products do, in the order of their additions.
//!
//! ## Modules, from the ground up
//!
//! | module | what it has |
//! |---|---|
//! | [`buffer`], [`memory`], [`element`], [`micro_kernel`] | aligned memory; freed memory, back to the system; memory of f32 or bf16, told apart at run time; the innermost loop |
//! | [`arch`] | a file per instruction set, the portable twin among them |
//! | [`vecmath`], [`layer_norm`] | 2^x, GELU, sigmoid and tanh with their error bounds; layer normalisation |
//! | [`pack`], [`gemm`], [`epilogue`] | products of values |
//! | [`quantize`], [`w8a16`], [`w8a8`], [`linear`] | products of integers; a linear layer whatever its format |
//! | [`decoder_attention`], [`encoder_attention`] | attention of few queries; of a whole sequence |

pub mod arch;
pub mod buffer;
pub mod decoder_attention;
pub mod element;
pub mod encoder_attention;
mod encoder_kernel;
pub mod epilogue;
pub mod gemm;
mod isa;
mod kernel;
pub mod layer_norm;
pub mod linear;
pub mod memory;
pub mod micro_kernel;
pub mod pack;
pub mod quantize;
mod simd;
pub mod vecmath;
pub mod w8a16;
pub mod w8a8;

pub use arch::portable::Portable;
pub use encoder_kernel::EncoderKernel;
pub use isa::{Detected, ForF32Kernel, ForKernel, ISA_VARIABLE, Isa, UnknownIsa};
pub use kernel::{DotI8, GemmKernel, MAX_MR, MAX_NR, QUAD, QuadDot, ValueDot, mr};
pub use simd::{DotI16, SimdF32, SimdOp};

#[cfg(test)]
mod tests;
