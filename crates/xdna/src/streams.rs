// SPDX-License-Identifier: MPL-2.0
//! The instruction stream of a product.
//!
//! The passes over the columns are the outer loop, those over the rows the inner one. So per shim tile A is one task
//! (its iterations are the passes over the rows, repeated for each pass over the columns), C is one task (its
//! iterations are the passes over the columns), and B one task for each of the column's tiles, repeated for each pass
//! over the rows. A queue holds four tasks; before the fifth and each later one of B the stream waits for one to end.

use super::contract::{
    Argument, COLUMNS, FIRST_CORE_ROW, FIRST_RIGHT_BD, LEFT_BD, LEFT_CHANNEL, LOCK_STRIDE,
    LOCK_VALUE, PASS_ROWS, PRODUCT_BD, PRODUCT_CHANNEL, Parameters, Product, QUEUE_DEPTH,
    RIGHT_BYTES, RIGHT_CHANNEL, ROWS, START_LOCK, TILE, left_column,
};
use super::shim::{CONTROLLER, CONTROLLER_MASK, Pattern, Task, descriptor_address};
use super::txn::{Channel, Direction, Instruction, Writer, address};

/// Words of 32 bits in a row of a tile of bf16.
const ROW_WORDS: usize = TILE / 2;

/// The instructions that compute `product`.
pub fn instructions(product: &Product) -> Vec<u32> {
    let mut writer = Writer::default();
    start_cores(&mut writer, product);
    let columns = || (0..COLUMNS).filter(|column| product.own_passes(*column) > 0);
    for column in columns() {
        take_product(&mut writer, product, column);
    }
    for row in 0..ROWS {
        feed_left(&mut writer, product, row);
    }
    for own in 0..product.n_passes() {
        for column in columns().filter(|column| own < product.own_passes(*column)) {
            feed_right(&mut writer, product, column, own);
        }
    }
    for column in columns() {
        writer.push(Instruction::Wait(product_channel(column)));
    }
    writer.finish()
}

const fn product_channel(column: usize) -> Channel {
    Channel {
        column: column as u32,
        direction: Direction::ToMemory,
        channel: PRODUCT_CHANNEL,
    }
}

const fn left_channel(row: usize) -> Channel {
    Channel {
        column: left_column(row) as u32,
        direction: Direction::FromMemory,
        channel: LEFT_CHANNEL,
    }
}

const fn right_channel(column: usize) -> Channel {
    Channel {
        column: column as u32,
        direction: Direction::FromMemory,
        channel: RIGHT_CHANNEL,
    }
}

/// Parameters first, then the lock that lets the core read them.
fn start_cores(writer: &mut Writer, product: &Product) {
    for column in 0..COLUMNS {
        let parameters = product.parameters(column).words();
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

/// Passes of 256 rows of 64 values, a tile after a tile below it, then on to the column's next tile.
fn take_product(writer: &mut Writer, product: &Product, column: usize) {
    let row = product.columns / 2;
    let pattern = Pattern {
        length: product.rows * ROW_WORDS,
        size: [ROW_WORDS, PASS_ROWS],
        stride: [1, row, PASS_ROWS * row],
        iteration: (product.own_passes(column), COLUMNS * ROW_WORDS),
    };
    let transfer = Transfer {
        channel: product_channel(column),
        descriptor: PRODUCT_BD,
        pattern,
        argument: Argument::Product,
        offset: column * TILE * 2,
        repeats: product.own_passes(column),
        token: true,
    };
    transfer.write(writer);
}

/// The 64 rows of core row `row` in each pass, tile after tile in depth, again for each pass over the columns.
fn feed_left(writer: &mut Writer, product: &Product, row: usize) {
    let words = product.depth / 2;
    let pattern = Pattern {
        length: TILE * words,
        size: [ROW_WORDS, TILE],
        stride: [1, words, ROW_WORDS],
        iteration: (product.m_passes(), PASS_ROWS * words),
    };
    let transfer = Transfer {
        channel: left_channel(row),
        descriptor: LEFT_BD,
        pattern,
        argument: Argument::Left,
        offset: row * TILE * product.depth * 2,
        repeats: product.m_passes() * product.n_passes(),
        token: false,
    };
    transfer.write(writer);
}

/// The column's tile number `own` in all its depth, again for each pass over the rows.
fn feed_right(writer: &mut Writer, product: &Product, column: usize, own: usize) {
    let channel = right_channel(column);
    if own >= QUEUE_DEPTH {
        writer.push(Instruction::Wait(channel));
    }
    let bytes = product.k_tiles() * RIGHT_BYTES;
    let transfer = Transfer {
        channel,
        descriptor: FIRST_RIGHT_BD + own as u32,
        pattern: Pattern::linear(bytes / 4),
        argument: Argument::Right,
        offset: product.right_of(column).start + own * bytes,
        repeats: product.m_passes(),
        token: own + QUEUE_DEPTH < product.own_passes(column),
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
