// SPDX-License-Identifier: MPL-2.0
//! Vectors of f32 and the integer products beside them, as every instruction set offers them.

/// f32 arithmetic on vectors of [`SimdF32::LANES`] elements.
///
/// A value of an implementing type proves that this machine has the instructions: only the type's
/// `detect` makes one. The methods are always inlined. They become single instructions inside
/// [`GemmKernel::dispatch`](crate::GemmKernel::dispatch), which compiles a [`SimdOp`] with the
/// instruction set enabled, and stay function calls elsewhere.
pub trait SimdF32: Copy + Send + Sync + 'static {
    /// A register of [`SimdF32::LANES`] f32.
    type Vector: Copy;
    /// Elements of a vector.
    const LANES: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::Vector;
    /// The first [`SimdF32::LANES`] elements of `from`.
    ///
    /// # Panics
    /// When `from` is shorter.
    fn load(self, from: &[f32]) -> Self::Vector;
    /// Writes the first [`SimdF32::LANES`] elements of `to`.
    ///
    /// # Panics
    /// When `to` is shorter.
    fn store(self, x: Self::Vector, to: &mut [f32]);
    /// `a + b`
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a b`
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a / b`
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a b + c`, rounded once where the instruction set has a fused instruction, else twice.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger of `a` and `b`, lane by lane.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `x - ⌊x⌋` for x in [-126, 128); 0 or 1 for whole numbers.
    fn fraction(self, x: Self::Vector) -> Self::Vector;
    /// `p 2^⌊x⌋` for the same x, with the same notion of ⌊x⌋ as [`SimdF32::fraction`].
    fn scale_by_exp2(self, p: Self::Vector, x: Self::Vector) -> Self::Vector;
    /// The sum of all lanes. Each instruction set adds them in its own order.
    fn reduce_sum(self, x: Self::Vector) -> f32;
    /// The largest of all lanes.
    fn reduce_max(self, x: Self::Vector) -> f32;
}

/// Dot products of pairs of 16-bit integers, summed in 32 bits: exact, so equal on all machines.
///
/// They multiply 16-bit activations by 8-bit weights, which are widened when they are loaded
/// ([`w8a16`](crate::w8a16)).
pub trait DotI16: SimdF32 {
    /// A register of [`SimdF32::LANES`] sums of 32 bits.
    type Sums: Copy;
    /// A register of [`SimdF32::LANES`] pairs of 16-bit integers.
    type Pairs: Copy;

    /// Zero in every lane.
    fn zero_sums(self) -> Self::Sums;
    /// 2 LANES bytes, widened to pairs of 16-bit integers.
    ///
    /// # Safety
    /// 2 LANES bytes must be readable at `from`.
    unsafe fn load_pairs(self, from: *const i8) -> Self::Pairs;
    /// One pair in every lane.
    ///
    /// # Safety
    /// Two integers must be readable at `from`.
    unsafe fn broadcast_pair(self, from: *const i16) -> Self::Pairs;
    /// `sums`, to each lane of which the dot product of that lane's pairs in `a` and `b` is added.
    fn dot_pairs(self, sums: Self::Sums, a: Self::Pairs, b: Self::Pairs) -> Self::Sums;
    /// `a + b`
    fn add_sums(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// The sums as f32, rounded to nearest.
    fn sums_to_f32(self, sums: Self::Sums) -> Self::Vector;
    /// Rounds numbers that 16 bits hold to the nearest integers, ties to even, and writes them to
    /// the first LANES elements of `to`.
    ///
    /// # Panics
    /// When `to` is shorter.
    fn round_to_i16(self, x: Self::Vector, to: &mut [i16]);
}

/// A loop nest that [`GemmKernel::dispatch`](crate::GemmKernel::dispatch) compiles for one
/// instruction set.
///
/// ```
/// use whisper_kernels::{EncoderKernel, ForKernel, Isa, SimdF32, SimdOp};
///
/// struct SumOfSquares<'a>(&'a [f32]);
///
/// impl<K: SimdF32> SimdOp<K> for SumOfSquares<'_> {
///     type Output = f32;
///
///     #[inline(always)]
///     fn eval(self, kernel: K) -> f32 {
///         let vectors = self.0.chunks_exact(K::LANES);
///         let tail: f32 = vectors.remainder().iter().map(|x| x * x).sum();
///         let mut sums = kernel.splat(0.0);
///         for x in vectors {
///             let x = kernel.load(x);
///             sums = kernel.mul_add(x, x, sums);
///         }
///         kernel.reduce_sum(sums) + tail
///     }
/// }
///
/// // From the instruction set that this machine turns out to have, to a type, to compiled code.
/// impl ForKernel for SumOfSquares<'_> {
///     type Output = f32;
///
///     fn run<K: EncoderKernel>(self, kernel: K) -> f32 {
///         kernel.dispatch(self)
///     }
/// }
///
/// let kernel = Isa::choose()?.detect()?;
/// assert_eq!(kernel.dispatch(SumOfSquares(&[3.0; 20])), 180.0);
/// # Ok::<(), whisper_kernels::UnknownIsa>(())
/// ```
pub trait SimdOp<K> {
    /// What the operation returns.
    type Output;
    /// Evaluates the operation with the vectors of `kernel`.
    ///
    /// Mark every implementation `#[inline(always)]`: only what is inlined into `dispatch` is
    /// compiled with the instruction set enabled.
    fn eval(self, kernel: K) -> Self::Output;
}
