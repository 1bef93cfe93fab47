// SPDX-License-Identifier: MPL-2.0
//! The overlay's contract in numbers, which the instruction generator and the simulator follow.
//!
//! It is the interface of a public overlay that runs on XDNA2: `kernels/bfp16_gemm` of ggml-xdna
//! (<https://github.com/Cyronius/ggml-xdna>, commit 354ec56). `kernels/aie2p/CONTRACT.md` says it
//! in words. Offsets and sizes are in bytes unless their names say otherwise.

use super::device::NpuError;
use super::txn::{Channel, Direction};

/// Columns of the array. The overlay uses all of them.
pub const COLUMNS: usize = 8;
/// Rows of cores: core (r, c) is the tile at column c, row [`FIRST_CORE_ROW`] + r.
pub const ROWS: usize = 4;
/// The array row of the first row of cores, above one row of shims and one of memory tiles.
pub const FIRST_CORE_ROW: usize = 2;

/// Rows of a tile of A and C.
pub const TILE_ROWS: usize = 128;
/// Columns of a tile of B and C, and depth of a tile of A and B.
pub const TILE: usize = 64;
/// Rows of C that all cores together compute in one pass.
pub const PASS_ROWS: usize = ROWS * TILE_ROWS;
/// Columns of C that all cores together compute in one pass.
pub const PASS_COLUMNS: usize = COLUMNS * TILE;

/// Edge of a sub-tile, and length of a bfp16ebs8 block.
pub const SUB: usize = 8;
/// Size of a block: the shared exponent, then a signed byte for each value.
pub const BLOCK_BYTES: usize = 1 + SUB;

/// Size of a tile of A.
pub const A_TILE_BYTES: usize = TILE_ROWS * TILE / SUB * BLOCK_BYTES;
/// Size of a tile of B.
pub const B_TILE_BYTES: usize = TILE * TILE / SUB * BLOCK_BYTES;
/// Size of a tile of C, whatever its [`Output`].
pub const C_TILE_BYTES: usize = TILE_ROWS * TILE * 4;

/// The order of a dispatch's data buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// `[M, K]` as [`super::pack`] packs it.
    A = 0,
    /// Bᵀ, `[N, K]`, as [`super::pack`] packs it.
    B = 1,
    /// `[M, N]` in tiles, see [`MatMul::c_offset`].
    C = 2,
}

/// What the cores make of a finished tile of f32 sums. The public overlay has a third mode, SiLU of
/// one half times the other, which Whisper has no use for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Output {
    /// Nothing: C is f32.
    #[default]
    F32 = 0,
    /// bf16, rounded to even, in the first half of the tile. The other half keeps old sums.
    Bf16 = 1,
}

/// A core's run-time parameters: 32-bit words at [`Parameters::ADDRESS`] of its data memory. A core
/// reads them for each tile of C, after it got the first tile of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Tiles in depth after the first: K / 64 - 1.
    pub more_k_tiles: u32,
    /// An [`Output`].
    pub output: u32,
}

impl Parameters {
    /// Address of the first word in a core's data memory.
    pub const ADDRESS: u32 = 0xfc00;
    /// Number of words.
    pub const WORDS: usize = 2;

    /// The parameters in the order in which they lie in memory.
    pub fn words(&self) -> [u32; Self::WORDS] {
        [self.more_k_tiles, self.output]
    }
}

/// Shim column and channel (MM2S) that feed each row of cores with A.
pub const A_SHIMS: [(u32, u32); ROWS] = [(0, 0), (2, 0), (4, 0), (6, 0)];
/// Shim column and channel (MM2S) that feed each column of cores with B.
pub const B_SHIMS: [(u32, u32); COLUMNS] = [
    (3, 0),
    (3, 1),
    (2, 1),
    (4, 1),
    (5, 0),
    (5, 1),
    (6, 1),
    (1, 0),
];
/// Shim column that drains C of each column of cores, by its channel 0 (S2MM).
pub const C_SHIMS: [u32; COLUMNS] = [3, 2, 4, 1, 5, 6, 7, 0];

/// The channel that feeds row `row` of cores with A.
pub const fn a_channel(row: usize) -> Channel {
    fed_by(A_SHIMS[row])
}

/// The channel that feeds column `column` of cores with B.
pub const fn b_channel(column: usize) -> Channel {
    fed_by(B_SHIMS[column])
}

const fn fed_by((column, channel): (u32, u32)) -> Channel {
    Channel {
        column,
        direction: Direction::FromMemory,
        channel,
    }
}

/// The channel that drains C of column `column` of cores.
pub const fn c_channel(column: usize) -> Channel {
    Channel {
        column: C_SHIMS[column],
        direction: Direction::ToMemory,
        channel: 0,
    }
}

/// Buffer descriptors of a shim tile.
pub const SHIM_BDS: u32 = 16;
/// Tasks that the queue of a shim channel holds.
pub const QUEUE_DEPTH: usize = 4;
/// Most passes over the columns: A is sent as often, by a task's repeat count.
pub const MAX_COLUMN_PASSES: usize = 64;
/// Values of C from which on a drain takes one block of rows instead of two: the public overlay's
/// generator keeps to the stride that a row-major C would need.
const MAX_DRAINED: usize = 1 << 20;

/// A matrix product that the overlay can compute: `C[M, N] = A[M, K] · B[K, N]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatMul {
    /// M, the rows of A and C.
    pub rows: usize,
    /// K, the columns of A and rows of B.
    pub depth: usize,
    /// N, the columns of B and C.
    pub columns: usize,
    /// What C is.
    pub output: Output,
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
        output: Output,
    ) -> Result<Self, NpuError> {
        let matmul = Self {
            rows,
            depth,
            columns,
            output,
        };
        let refuse = |why: &str| {
            Err(NpuError::Unsuited(format!(
                "a product of {rows} × {depth} × {columns}: {why}"
            )))
        };
        if rows == 0 || columns == 0 {
            return refuse("it is empty");
        }
        if !rows.is_multiple_of(PASS_ROWS) || !columns.is_multiple_of(PASS_COLUMNS) {
            return refuse("rows and columns come in 512");
        }
        if !depth.is_multiple_of(TILE) || depth < 2 * TILE {
            return refuse("depth comes in 64, and is at least 128");
        }
        if matmul.n_passes() > MAX_COLUMN_PASSES {
            return refuse("too many columns for a task's repeat count");
        }
        let largest = matmul.a_bytes().max(matmul.b_bytes()).max(matmul.c_bytes());
        if u32::try_from(largest).is_err() {
            return refuse("a buffer that 32 bits do not address");
        }
        Ok(matmul)
    }

    /// Tiles in depth: K / 64.
    pub fn k_tiles(&self) -> usize {
        self.depth / TILE
    }

    /// Passes over the rows: M / 512.
    pub fn m_passes(&self) -> usize {
        self.rows / PASS_ROWS
    }

    /// Passes over the columns: N / 512. Array column c computes tile c, and each eighth after it.
    pub fn n_passes(&self) -> usize {
        self.columns / PASS_COLUMNS
    }

    /// Passes over the rows whose part of C one task drains.
    pub fn drained_passes(&self) -> usize {
        match PASS_ROWS * self.columns > MAX_DRAINED {
            true => 1,
            false => 2,
        }
    }

    /// Size of A.
    pub fn a_bytes(&self) -> usize {
        self.rows * self.depth / SUB * BLOCK_BYTES
    }

    /// Size of B.
    pub fn b_bytes(&self) -> usize {
        self.columns * self.depth / SUB * BLOCK_BYTES
    }

    /// Size of C.
    pub fn c_bytes(&self) -> usize {
        self.rows * self.columns * 4
    }

    /// Where C has the f32 at (`row`, `column`).
    ///
    /// Each array column writes one run: pass after pass over the rows, in it the column's tiles in
    /// turn, in each of these 512 rows of 64 values.
    pub fn c_offset(&self, row: usize, column: usize) -> usize {
        let (tile, column) = (column / TILE, column % TILE);
        let (array_column, n_pass) = (tile % COLUMNS, tile / COLUMNS);
        let (m_pass, row) = (row / PASS_ROWS, row % PASS_ROWS);
        let run = (array_column * self.m_passes() + m_pass) * self.n_passes() + n_pass;
        4 * ((run * PASS_ROWS + row) * TILE + column)
    }

    /// Parameters of all cores.
    pub fn parameters(&self) -> Parameters {
        Parameters {
            more_k_tiles: self.k_tiles() as u32 - 1,
            output: self.output as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matmul_names_the_limit_that_it_breaks() {
        let why = |rows, depth, columns| {
            let matmul = MatMul::new(rows, depth, columns, Output::F32);
            matmul.unwrap_err().to_string()
        };
        assert!(why(1500, 512, 512).contains("512"));
        assert!(why(256, 2048, 1024).contains("512"));
        assert!(why(512, 2048, 896).contains("512"));
        assert!(why(512, 96, 1024).contains("64"));
        assert!(why(512, 64, 1024).contains("128"));
        assert!(why(512, 2048, 33_280).contains("repeat"));
        assert!(why(1 << 16, 128, 1 << 15).contains("32 bits"));
        assert!(why(0, 128, 512).contains("empty"));
    }

    #[test]
    fn c_offset_names_each_value_once() {
        let matmul = MatMul::new(1024, 128, 1024, Output::F32).unwrap();
        let mut seen = vec![false; matmul.c_bytes() / 4];
        for row in 0..matmul.rows {
            for column in 0..matmul.columns {
                let at = matmul.c_offset(row, column) / 4;
                assert!(!std::mem::replace(&mut seen[at], true));
            }
        }
        // Column 65 is in array column 1; column 512 in the second tile of array column 0.
        assert_eq!(matmul.c_offset(0, 65), 4 * (1024 * 128 + 1));
        assert_eq!(matmul.c_offset(513, 512), 4 * (1024 * 64 + 512 * 64 + 64));
    }
}
