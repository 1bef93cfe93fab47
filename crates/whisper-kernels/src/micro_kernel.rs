// SPDX-License-Identifier: MPL-2.0
//! The innermost loop of every matrix product: a tile of sums in registers, one k-group at a time.
//!
//! The loop is written once. [`DotStep`] says what one step multiplies: f32 or bf16, 16-bit
//! activations by 8-bit weights, or bytes by bytes.

/// The sums of a tile: rows of two vectors.
pub trait Tile<V>: Copy {
    /// MR: rows of the tile.
    const ROWS: usize;
    /// A tile whose rows are all `x`.
    fn splat(x: [V; 2]) -> Self;
    /// The rows.
    fn rows(&self) -> &[[V; 2]];
    /// The rows, to be changed.
    fn rows_mut(&mut self) -> &mut [[V; 2]];
}

impl<V: Copy, const ROWS: usize> Tile<V> for [[V; 2]; ROWS] {
    const ROWS: usize = ROWS;

    #[inline(always)]
    fn splat(x: [V; 2]) -> Self {
        [x; ROWS]
    }

    #[inline(always)]
    fn rows(&self) -> &[[V; 2]] {
        self
    }

    #[inline(always)]
    fn rows_mut(&mut self) -> &mut [[V; 2]] {
        self
    }
}

/// Where the operands of one tile lie in memory.
///
/// Row r of the left operand begins at `a + r a_stride`; its k-groups are adjacent. K-group g of
/// the right operand's two vectors of columns begins at `b + g b_stride`.
#[derive(Debug)]
pub struct Operands<A, B> {
    /// The left operand's first row.
    pub a: *const A,
    /// From one row of the left operand to the next, in elements.
    pub a_stride: usize,
    /// The right operand's first k-group, in the tile's first column.
    pub b: *const B,
    /// From one k-group of the right operand to the next, in elements.
    pub b_stride: usize,
    /// How many k-groups are summed.
    pub k_groups: usize,
}

// Not derived: a pointer is `Copy` whatever it points to.
impl<A, B> Clone for Operands<A, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, B> Copy for Operands<A, B> {}

/// One multiply-accumulate step of the micro-kernel.
pub trait DotStep: Copy {
    /// An element of the left operand.
    type Left;
    /// An element of the right operand.
    type Right;
    /// A register of LANES k-groups.
    type Groups: Copy;
    /// A register of LANES sums.
    type Sum: Copy;
    /// Elements of a lane that one step multiplies and adds.
    const K_GROUP: usize;
    /// Lanes of a register.
    const LANES: usize;

    /// LANES adjacent k-groups of the right operand.
    ///
    /// # Safety
    /// `LANES * K_GROUP` elements must be readable at `from`.
    unsafe fn load(self, from: *const Self::Right) -> Self::Groups;
    /// One k-group of the left operand, in every lane.
    ///
    /// # Safety
    /// `K_GROUP` elements must be readable at `from`.
    unsafe fn broadcast(self, from: *const Self::Left) -> Self::Groups;
    /// `sum`, to each lane of which the dot product of that lane's groups is added.
    fn dot(self, sum: Self::Sum, a: Self::Groups, b: Self::Groups) -> Self::Sum;
}

/// `start + a b`: the sums of a tile that begin with `start` in each row.
///
/// # Safety
/// For each row r of the tile `k_groups * K_GROUP` elements must be readable from
/// `a + r a_stride`, and for each k-group g `2 LANES * K_GROUP` elements from `b + g b_stride`.
#[inline(always)]
pub unsafe fn multiply<D: DotStep, T: Tile<D::Sum>>(
    step: D,
    start: [D::Sum; 2],
    operands: Operands<D::Left, D::Right>,
) -> T {
    let Operands {
        a,
        a_stride,
        b,
        b_stride,
        k_groups,
    } = operands;
    let mut tile = T::splat(start);
    for group in 0..k_groups {
        // SAFETY: within what the caller promises for this k-group and these columns.
        let columns = unsafe {
            let b = b.add(group * b_stride);
            [step.load(b), step.load(b.add(D::LANES * D::K_GROUP))]
        };
        for (row, sums) in tile.rows_mut().iter_mut().enumerate() {
            // SAFETY: within what the caller promises for this row.
            let left = unsafe { step.broadcast(a.add(row * a_stride + group * D::K_GROUP)) };
            sums[0] = step.dot(sums[0], left, columns[0]);
            sums[1] = step.dot(sums[1], left, columns[1]);
        }
    }
    tile
}
