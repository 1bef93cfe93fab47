// SPDX-License-Identifier: MPL-2.0
//! The overlay's contract in numbers, which the instruction generator and the simulator follow.
//!
//! `kernels/aie2p/CONTRACT.md` says it in words. Offsets and sizes are in bytes unless their names
//! say otherwise.

use std::ops::Range;

use super::device::NpuError;

/// Columns of the array. The overlay uses all of them.
pub const COLUMNS: usize = 8;
/// Rows of cores: core (r, c) is the tile at column c, row [`FIRST_CORE_ROW`] + r.
pub const ROWS: usize = 4;
/// The array row of the first row of cores, above one row of shims and one of memory tiles.
pub const FIRST_CORE_ROW: usize = 2;

/// Rows, columns and depth of the tile that a core multiplies at once.
pub const TILE: usize = 64;
/// Rows of C that all cores together compute in one pass.
pub const PASS_ROWS: usize = ROWS * TILE;

/// Edge of a sub-tile, and length of a bfp16ebs8 block.
pub const SUB: usize = 8;
/// Size of a block: the shared exponent, then a signed byte for each value.
pub const BLOCK_BYTES: usize = 1 + SUB;
/// Size of a sub-tile of B: eight blocks, of eight adjacent columns.
pub const SUB_TILE_BYTES: usize = SUB * BLOCK_BYTES;

/// Size of a tile of A in bf16.
pub const A_TILE_BYTES: usize = TILE * TILE * 2;
/// Size of a tile of B: its sub-tiles, then the bias of its columns.
pub const B_TILE_BYTES: usize = B_VALUE_BYTES + B_BIAS_BYTES;
/// Size of the sub-tiles of a tile of B.
pub const B_VALUE_BYTES: usize = TILE * TILE / SUB * BLOCK_BYTES;
/// Size of the bias of a tile of B, in f32. The cores read that of the first tile in depth.
pub const B_BIAS_BYTES: usize = TILE * 4;
/// Size of a tile of C in bf16.
pub const C_TILE_BYTES: usize = TILE * TILE * 2;

/// The order of a dispatch's data buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// `[M, K]` bf16, row-major.
    A = 0,
    /// B and its bias as [`super::weights`] packs them.
    B = 1,
    /// `[M, N]` bf16, row-major.
    C = 2,
}

/// What the cores do with a finished tile of f32 sums before they round it to bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epilogue {
    /// Nothing.
    None = 0,
    /// x Φ(x), as [`super::arithmetic::gelu`] computes it.
    Gelu = 1,
}

/// A core's run-time parameters: 32-bit words at [`Parameters::ADDRESS`] of its data memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Tiles in depth: K / 64.
    pub k_tiles: u32,
    /// Passes over the rows: M / 256.
    pub m_passes: u32,
    /// Passes over the columns: N / 512, rounded up.
    pub n_passes: u32,
    /// Passes over the columns in which the core's array column has a tile to compute. In the
    /// passes after them the core takes its tiles of A and drops them.
    pub own_passes: u32,
    /// An [`Epilogue`].
    pub epilogue: u32,
}

impl Parameters {
    /// Address of the first word in a core's data memory.
    pub const ADDRESS: u32 = 0x0800;
    /// Number of words.
    pub const WORDS: usize = 5;

    /// The parameters in the order in which a core reads them.
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

/// The lock that starts a core: the stream sets it to 1 after it has written the parameters, the
/// core takes it, and reads the parameters before anything else.
pub const START_LOCK: u32 = 15;
/// Value register of lock 0 of a core tile.
pub const LOCK_VALUE: u32 = 0x1_F000;
/// Distance from the value register of one lock to that of the next.
pub const LOCK_STRIDE: u32 = 0x10;

/// The shim column that feeds core row `row` with A.
pub const fn a_column(row: usize) -> usize {
    2 * row
}

/// Shim channel (MM2S) of A.
pub const A_CHANNEL: u32 = 1;
/// Shim channel (MM2S) of B.
pub const B_CHANNEL: u32 = 0;
/// Shim channel (S2MM) of C.
pub const C_CHANNEL: u32 = 0;

/// Shim buffer descriptor of C.
pub const C_BD: u32 = 0;
/// Shim buffer descriptor of A.
pub const A_BD: u32 = 1;
/// First shim buffer descriptor of B: each tile of the array column has its own.
pub const FIRST_B_BD: u32 = 2;

/// Buffer descriptors of a shim tile.
pub const SHIM_BDS: u32 = 16;
/// Tasks that the queue of a shim channel holds.
pub const QUEUE_DEPTH: usize = 4;
/// Largest iteration size of a descriptor.
pub const MAX_ITERATIONS: usize = 64;
/// Largest repeat count of a task.
pub const MAX_REPEATS: usize = 256;
/// Largest stride of a descriptor, in words of 32 bits.
pub const MAX_STRIDE: usize = 1 << 20;

/// A matrix product that the overlay can compute: `C[M, N] = epilogue(A[M, K] · B[K, N] + bias)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatMul {
    /// M, the rows of A and C.
    pub rows: usize,
    /// K, the columns of A and rows of B.
    pub depth: usize,
    /// N, the columns of B and C.
    pub columns: usize,
    /// What happens to each sum.
    pub epilogue: Epilogue,
}

impl MatMul {
    /// The product of these dimensions.
    ///
    /// # Errors
    ///
    /// [`NpuError::Unsuited`], which names the limit of the overlay that the dimensions break.
    pub fn new(
        rows: usize,
        depth: usize,
        columns: usize,
        epilogue: Epilogue,
    ) -> Result<Self, NpuError> {
        let matmul = Self {
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
        if matmul.m_passes() > MAX_ITERATIONS {
            return refuse("too many rows for a descriptor's iterations");
        }
        if matmul.m_passes() * matmul.n_passes() > MAX_REPEATS {
            return refuse("too many passes for a task's repeat count");
        }
        if matmul.n_passes() > (SHIM_BDS - FIRST_B_BD) as usize {
            return refuse("too many columns for a shim tile's descriptors");
        }
        if PASS_ROWS * depth.max(columns) / 2 > MAX_STRIDE {
            return refuse("rows too long for a descriptor's stride");
        }
        Ok(matmul)
    }

    /// Tiles in depth: K / 64.
    pub fn k_tiles(&self) -> usize {
        self.depth / TILE
    }

    /// Passes over the rows: M / 256.
    pub fn m_passes(&self) -> usize {
        self.rows / PASS_ROWS
    }

    /// Passes over the columns: N / 512, rounded up.
    pub fn n_passes(&self) -> usize {
        self.columns.div_ceil(COLUMNS * TILE)
    }

    /// Number of column tiles that array column `column` computes: tile `column`, and each eighth
    /// tile after it.
    pub fn own_passes(&self, column: usize) -> usize {
        (self.columns / TILE + COLUMNS - 1 - column) / COLUMNS
    }

    /// Bytes of packed B that hold the tiles of array column `column`.
    pub fn b_range(&self, column: usize) -> Range<usize> {
        let before = |column| (0..column).map(|c| self.own_passes(c)).sum::<usize>();
        let bytes = |tiles| tiles * self.k_tiles() * B_TILE_BYTES;
        bytes(before(column))..bytes(before(column + 1))
    }

    /// Size of A in bytes.
    pub fn a_bytes(&self) -> usize {
        self.rows * self.depth * 2
    }

    /// Size of B in bytes, packed with its bias.
    pub fn b_bytes(&self) -> usize {
        self.columns / TILE * self.k_tiles() * B_TILE_BYTES
    }

    /// Size of C in bytes.
    pub fn c_bytes(&self) -> usize {
        self.rows * self.columns * 2
    }

    /// Parameters of the cores in array column `column`.
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
    fn array_columns_share_all_tiles_of_b() {
        for columns in (64..=7168).step_by(64) {
            let matmul = MatMul::new(256, 64, columns, Epilogue::None).unwrap();
            let own = |c| matmul.own_passes(c);
            assert_eq!((0..COLUMNS).map(own).sum::<usize>(), columns / TILE);
            assert!((0..COLUMNS).all(|c| own(c) <= matmul.n_passes()));
            assert_eq!(own(0), matmul.n_passes());
            assert_eq!(matmul.b_range(COLUMNS - 1).end, matmul.b_bytes());
        }
    }

    #[test]
    fn matmul_names_the_limit_that_it_breaks() {
        let why = |rows, depth, columns| {
            let matmul = MatMul::new(rows, depth, columns, Epilogue::None);
            matmul.unwrap_err().to_string()
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
    fn matmul_of_transformer_layers_fits() {
        for width in [384, 512, 768, 1024, 1280] {
            let shapes = [
                (width, 3 * width),
                (width, width),
                (width, 4 * width),
                (4 * width, width),
            ];
            for (depth, columns) in shapes {
                MatMul::new(1536, depth, columns, Epilogue::None).unwrap();
            }
        }
    }
}
