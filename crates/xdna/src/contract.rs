// SPDX-License-Identifier: MPL-2.0
//! The overlay's contract in numbers, which the instruction generator and the device model follow.
//!
//! `kernels/aie2p/CONTRACT.md` says it in words. Offsets and sizes are in bytes unless they say otherwise.

use std::ops::Range;

use super::device::NpuError;

/// Columns of the array, all of which the overlay uses.
pub const COLUMNS: usize = 8;
/// Core rows; tile (column, [`FIRST_CORE_ROW`] + r) is core (r, column).
pub const ROWS: usize = 4;
pub const FIRST_CORE_ROW: usize = 2;

/// Rows, columns and depth of what a core multiplies at once.
pub const TILE: usize = 64;
/// Rows of C that all cores compute in one pass.
pub const PASS_ROWS: usize = ROWS * TILE;

/// Sub-tiles are 8 × 8, and so long is a block of bfp16ebs8.
pub const SUB: usize = 8;
/// A block: the shared exponent, then a signed byte for each value.
pub const BLOCK_BYTES: usize = 1 + SUB;
/// Eight blocks one after another, of eight columns of B.
pub const SUB_TILE_BYTES: usize = SUB * BLOCK_BYTES;

/// A tile of A: bf16.
pub const LEFT_BYTES: usize = TILE * TILE * 2;
/// A tile of B: sub-tiles, then the bias of its columns in f32, of which the first tile in depth is used.
pub const RIGHT_BYTES: usize = RIGHT_VALUES + RIGHT_BIAS;
pub const RIGHT_VALUES: usize = TILE * TILE / SUB * BLOCK_BYTES;
pub const RIGHT_BIAS: usize = TILE * 4;
/// A tile of C: bf16.
pub const PRODUCT_BYTES: usize = TILE * TILE * 2;

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
    /// x Φ(x), as [`super::arithmetic::gelu`] computes it.
    Gelu = 1,
}

/// A core's run-time parameters: 32-bit words from [`Parameters::ADDRESS`] on in its data memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Tiles in depth: K / 64.
    pub k_tiles: u32,
    /// Passes over the rows: M / 256.
    pub m_passes: u32,
    /// Passes over the columns: N / 512, rounded up.
    pub n_passes: u32,
    /// Passes over the columns in which the core's column has a tile to compute; in those after them it takes its
    /// tiles of A and drops them.
    pub own_passes: u32,
    /// An [`Epilogue`].
    pub epilogue: u32,
}

impl Parameters {
    pub const ADDRESS: u32 = 0x0800;
    pub const WORDS: usize = 5;

    pub fn words(&self) -> [u32; Self::WORDS] {
        [
            self.k_tiles,
            self.m_passes,
            self.n_passes,
            self.own_passes,
            self.epilogue,
        ]
    }
}

/// The lock of a core's memory that starts it: the stream sets it to 1 once the parameters are written, the core
/// takes it, and reads the parameters before anything else.
pub const START_LOCK: u32 = 15;
/// Value register of lock 0 of a core tile; the others follow 16 bytes apart.
pub const LOCK_VALUE: u32 = 0x1_F000;
pub const LOCK_STRIDE: u32 = 0x10;

/// Which shim column feeds the rows of cores with A: row r has column 2 r.
pub const fn left_column(row: usize) -> usize {
    2 * row
}

/// Shim channels: B and A go in on two MM2S channels, C comes out on an S2MM channel.
pub const RIGHT_CHANNEL: u32 = 0;
pub const LEFT_CHANNEL: u32 = 1;
pub const PRODUCT_CHANNEL: u32 = 0;

/// Buffer descriptors of a shim tile: C, A, and one for each of the column's tiles of B.
pub const PRODUCT_BD: u32 = 0;
pub const LEFT_BD: u32 = 1;
pub const FIRST_RIGHT_BD: u32 = 2;

/// What shim tiles have: descriptors, tasks in a channel's queue, values of the fields.
pub const SHIM_BDS: u32 = 16;
pub const QUEUE_DEPTH: usize = 4;
pub const MOST_ITERATIONS: usize = 64;
pub const MOST_REPEATS: usize = 256;
pub const MOST_STRIDE: usize = 1 << 20;

/// C[M, N] = epilogue(A[M, K] · B[K, N] + bias).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// M
    pub rows: usize,
    /// K
    pub depth: usize,
    /// N
    pub columns: usize,
    pub epilogue: Epilogue,
}

impl Product {
    /// A product that the overlay can compute; says which of its limits another one breaks.
    pub fn new(
        rows: usize,
        depth: usize,
        columns: usize,
        epilogue: Epilogue,
    ) -> Result<Self, NpuError> {
        let product = Self {
            rows,
            depth,
            columns,
            epilogue,
        };
        let refuse = |why: &str| {
            Err(NpuError::Unsuited(format!(
                "a product of {rows} × {depth} × {columns}: {why}"
            )))
        };
        if rows == 0 || depth == 0 || columns == 0 {
            return refuse("it is empty");
        }
        if !rows.is_multiple_of(PASS_ROWS) {
            return refuse("rows come in 256");
        }
        if !depth.is_multiple_of(TILE) || !columns.is_multiple_of(TILE) {
            return refuse("depth and columns come in 64");
        }
        if product.m_passes() > MOST_ITERATIONS {
            return refuse("too many rows for a descriptor's iterations");
        }
        if product.m_passes() * product.n_passes() > MOST_REPEATS {
            return refuse("too many passes for a task's repeat count");
        }
        if product.n_passes() > (SHIM_BDS - FIRST_RIGHT_BD) as usize {
            return refuse("too many columns for a shim tile's descriptors");
        }
        if PASS_ROWS * depth.max(columns) / 2 > MOST_STRIDE {
            return refuse("rows too long for a descriptor's stride");
        }
        Ok(product)
    }

    pub fn k_tiles(&self) -> usize {
        self.depth / TILE
    }

    pub fn m_passes(&self) -> usize {
        self.rows / PASS_ROWS
    }

    pub fn n_passes(&self) -> usize {
        self.columns.div_ceil(COLUMNS * TILE)
    }

    /// Column tiles that array column `column` computes: number `column`, and each eighth after it.
    pub fn own_passes(&self, column: usize) -> usize {
        (self.columns / TILE + COLUMNS - 1 - column) / COLUMNS
    }

    /// Where the tiles of array column `column` lie in B.
    pub fn right_of(&self, column: usize) -> Range<usize> {
        let before = |column| (0..column).map(|c| self.own_passes(c)).sum::<usize>();
        let bytes = |tiles| tiles * self.k_tiles() * RIGHT_BYTES;
        bytes(before(column))..bytes(before(column + 1))
    }

    pub fn left_bytes(&self) -> usize {
        self.rows * self.depth * 2
    }

    pub fn right_bytes(&self) -> usize {
        self.columns / TILE * self.k_tiles() * RIGHT_BYTES
    }

    pub fn product_bytes(&self) -> usize {
        self.rows * self.columns * 2
    }

    pub fn parameters(&self, column: usize) -> Parameters {
        Parameters {
            k_tiles: self.k_tiles() as u32,
            m_passes: self.m_passes() as u32,
            n_passes: self.n_passes() as u32,
            own_passes: self.own_passes(column) as u32,
            epilogue: self.epilogue as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_share_all_tiles_of_b() {
        for columns in (64..=7168).step_by(64) {
            let product = Product::new(256, 64, columns, Epilogue::None).unwrap();
            let own = |c| product.own_passes(c);
            assert_eq!((0..COLUMNS).map(own).sum::<usize>(), columns / TILE);
            assert!((0..COLUMNS).all(|c| own(c) <= product.n_passes()));
            assert_eq!(own(0), product.n_passes());
            assert_eq!(product.right_of(COLUMNS - 1).end, product.right_bytes());
        }
    }

    #[test]
    fn a_product_beyond_the_overlay_is_refused_with_its_limit() {
        let why = |rows, depth, columns| {
            let product = Product::new(rows, depth, columns, Epilogue::None);
            product.unwrap_err().to_string()
        };
        assert!(why(1500, 512, 512).contains("256"));
        assert!(why(1536, 500, 512).contains("64"));
        assert!(why(256, 512, 7232).contains("descriptors"));
        assert!(why(256 * 65, 64, 64).contains("iterations"));
        assert!(why(256 * 43, 64, 3072).contains("repeat"));
        assert!(why(256, 8256, 64).contains("stride"));
        assert!(why(0, 64, 64).contains("empty"));
    }

    #[test]
    fn every_whisper_encoder_fits() {
        for d in [384, 512, 768, 1024, 1280] {
            for (depth, columns) in [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)] {
                Product::new(1536, depth, columns, Epilogue::None).unwrap();
            }
        }
    }
}
