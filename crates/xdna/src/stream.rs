// SPDX-License-Identifier: MPL-2.0
//! The instruction stream of a matmul.
//!
//! The outer loop passes over the columns, the inner one over the rows. So each shim tile has one
//! task for A (its iterations pass over the rows, and the task repeats for each pass over the
//! columns), one task for C (its iterations pass over the columns), and for B one task per tile of
//! its array column, repeated for each pass over the rows. A queue holds four tasks: before the
//! fifth task of B and each later one the stream waits for an earlier one to end.

use super::contract::{
    A_BD, A_CHANNEL, Argument, B_CHANNEL, B_TILE_BYTES, C_BD, C_CHANNEL, COLUMNS, FIRST_B_BD,
    FIRST_CORE_ROW, LOCK_STRIDE, LOCK_VALUE, MatMul, PASS_ROWS, Parameters, QUEUE_DEPTH, ROWS,
    START_LOCK, TILE, a_column,
};
use super::dma::{CONTROLLER, CONTROLLER_MASK, Pattern, Task, descriptor_address};
use super::txn::{Channel, Direction, Instruction, Writer, address};

/// Words of 32 bits in a row of a tile of bf16.
const ROW_WORDS: usize = TILE / 2;

/// The instructions that compute `matmul`.
pub fn instructions(matmul: &MatMul) -> Vec<u32> {
    let mut writer = Writer::default();
    start_cores(&mut writer, matmul);
    let columns = || (0..COLUMNS).filter(|column| matmul.own_passes(*column) > 0);
    for column in columns() {
        drain_c(&mut writer, matmul, column);
    }
    for row in 0..ROWS {
        feed_a(&mut writer, matmul, row);
    }
    for pass in 0..matmul.n_passes() {
        for column in columns().filter(|column| pass < matmul.own_passes(*column)) {
            feed_b(&mut writer, matmul, column, pass);
        }
    }
    for column in columns() {
        writer.push(Instruction::Wait(c_channel(column)));
    }
    writer.finish()
}

const fn c_channel(column: usize) -> Channel {
    Channel {
        column: column as u32,
        direction: Direction::ToMemory,
        channel: C_CHANNEL,
    }
}

const fn a_channel(row: usize) -> Channel {
    Channel {
        column: a_column(row) as u32,
        direction: Direction::FromMemory,
        channel: A_CHANNEL,
    }
}

const fn b_channel(column: usize) -> Channel {
    Channel {
        column: column as u32,
        direction: Direction::FromMemory,
        channel: B_CHANNEL,
    }
}

/// Parameters first, then the lock that lets the core read them.
fn start_cores(writer: &mut Writer, matmul: &MatMul) {
    for column in 0..COLUMNS {
        let parameters = matmul.parameters(column).words();
        for row in FIRST_CORE_ROW..FIRST_CORE_ROW + ROWS {
            let at = |offset| address(column as u32, row as u32, offset);
            writer.push(Instruction::Block {
                address: at(Parameters::ADDRESS),
                values: &parameters,
            });
            writer.push(Instruction::Write {
                address: at(LOCK_VALUE + LOCK_STRIDE * START_LOCK),
                value: 1,
            });
        }
    }
}

/// Lets array column `column` write C: passes of 256 rows of 64 values, then the same for the next
/// tile of the column.
fn drain_c(writer: &mut Writer, matmul: &MatMul, column: usize) {
    let row = matmul.columns / 2;
    let pattern = Pattern {
        length: matmul.rows * ROW_WORDS,
        size: [ROW_WORDS, PASS_ROWS],
        stride: [1, row, PASS_ROWS * row],
        iteration: (matmul.own_passes(column), COLUMNS * ROW_WORDS),
    };
    let transfer = Transfer {
        channel: c_channel(column),
        descriptor: C_BD,
        pattern,
        argument: Argument::C,
        offset: column * TILE * 2,
        repeats: matmul.own_passes(column),
        token: true,
    };
    transfer.write(writer);
}

/// Sends A to core row `row`: its 64 rows of each pass, tile after tile in depth, and all of that
/// again for each pass over the columns.
fn feed_a(writer: &mut Writer, matmul: &MatMul, row: usize) {
    let words = matmul.depth / 2;
    let pattern = Pattern {
        length: TILE * words,
        size: [ROW_WORDS, TILE],
        stride: [1, words, ROW_WORDS],
        iteration: (matmul.m_passes(), PASS_ROWS * words),
    };
    let transfer = Transfer {
        channel: a_channel(row),
        descriptor: A_BD,
        pattern,
        argument: Argument::A,
        offset: row * TILE * matmul.depth * 2,
        repeats: matmul.m_passes() * matmul.n_passes(),
        token: false,
    };
    transfer.write(writer);
}

/// Sends tile `pass` of array column `column` in all its depth, again for each pass over the rows.
fn feed_b(writer: &mut Writer, matmul: &MatMul, column: usize, pass: usize) {
    let channel = b_channel(column);
    if pass >= QUEUE_DEPTH {
        writer.push(Instruction::Wait(channel));
    }
    let bytes = matmul.k_tiles() * B_TILE_BYTES;
    let transfer = Transfer {
        channel,
        descriptor: FIRST_B_BD + pass as u32,
        pattern: Pattern::linear(bytes / 4),
        argument: Argument::B,
        offset: matmul.b_range(column).start + pass * bytes,
        repeats: matmul.m_passes(),
        token: pass + QUEUE_DEPTH < matmul.own_passes(column),
    };
    transfer.write(writer);
}

/// A descriptor and the task that executes it.
struct Transfer {
    channel: Channel,
    descriptor: u32,
    pattern: Pattern,
    argument: Argument,
    /// Bytes from the beginning of the argument.
    offset: usize,
    repeats: usize,
    token: bool,
}

impl Transfer {
    fn write(&self, writer: &mut Writer) {
        let at = descriptor_address(self.channel.column, self.descriptor);
        writer.push(Instruction::Block {
            address: at,
            values: &self.pattern.words(),
        });
        writer.push(Instruction::Patch {
            register: at + 4,
            argument: self.argument as u32,
            offset: self.offset as u32,
        });
        if self.token {
            writer.push(Instruction::Mask {
                address: self.channel.control(),
                value: CONTROLLER,
                mask: CONTROLLER_MASK,
            });
        }
        let task = Task {
            descriptor: self.descriptor,
            repeats: self.repeats,
            token: self.token,
        };
        writer.push(Instruction::Write {
            address: self.channel.queue(),
            value: task.word(),
        });
    }
}
