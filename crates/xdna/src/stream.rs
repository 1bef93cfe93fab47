// SPDX-License-Identifier: MPL-2.0
//! The instruction stream of a matmul: word for word what AMD's toolchain makes for the public
//! overlay, by the rules that its repository publishes (`src/npu/bfp16_insts.h`).
//!
//! First all cores get their parameters. Then block after block of 512 rows is set in motion: each
//! array column drains its part of C, each row of cores gets its rows of A once per pass over the
//! columns, each column its part of B. The stream waits for the drains of the first two groups of
//! blocks together, and for those of each later group alone, and then uses their descriptors again.

use super::contract::{
    A_TILE_BYTES, Argument, B_TILE_BYTES, COLUMNS, FIRST_CORE_ROW, MatMul, PASS_ROWS, Parameters,
    ROWS, SHIM_BDS, TILE, a_channel, b_channel, c_channel,
};
use super::dma::{CONTROLLER, CONTROLLER_MASK, Task, descriptor, descriptor_address};
use super::txn::{Channel, Direction, Instruction, Writer, address};

/// The instructions that compute `matmul`.
pub fn instructions(matmul: &MatMul) -> Vec<u32> {
    let mut stream = Stream::default();
    stream.set_parameters(matmul.parameters());
    let blocks = matmul.m_passes();
    for (group, first) in (0..blocks).step_by(matmul.drained_passes()).enumerate() {
        let last = blocks.min(first + matmul.drained_passes());
        for column in 0..COLUMNS {
            stream.drain_c(matmul, column, first, last - first);
            for block in first..last {
                if column < ROWS {
                    stream.feed_a(matmul, column, block);
                }
                stream.feed_b(matmul, column);
            }
        }
        if group > 0 {
            stream.wait();
        }
    }
    stream.wait();
    stream.writer.finish()
}

/// A stream under way.
#[derive(Default)]
struct Stream {
    writer: Writer,
    /// Descriptors that are in use since the last wait, a bit each, for each shim.
    used: [u32; COLUMNS],
    /// Drains since then.
    drains: Vec<Channel>,
}

/// A run of a data buffer.
struct Run {
    argument: Argument,
    /// Bytes from the buffer's beginning.
    offset: usize,
    bytes: usize,
    repeats: usize,
}

impl Stream {
    fn set_parameters(&mut self, parameters: Parameters) {
        for column in 0..COLUMNS {
            for row in FIRST_CORE_ROW..FIRST_CORE_ROW + ROWS {
                for (word, value) in (0..).zip(parameters.words()) {
                    let at = Parameters::ADDRESS + 4 * word;
                    self.writer.push(Instruction::Write {
                        address: address(column as u32, row as u32, at),
                        value,
                    });
                }
            }
        }
    }

    /// Drains `blocks` blocks of rows of C, from block `first` on.
    fn drain_c(&mut self, matmul: &MatMul, column: usize, first: usize, blocks: usize) {
        let run = Run {
            argument: Argument::C,
            offset: matmul.c_offset(first * PASS_ROWS, column * TILE),
            bytes: blocks * matmul.n_passes() * PASS_ROWS * TILE * 4,
            repeats: 1,
        };
        self.transfer(c_channel(column), run);
    }

    fn feed_a(&mut self, matmul: &MatMul, row: usize, block: usize) {
        let bytes = matmul.k_tiles() * A_TILE_BYTES;
        let run = Run {
            argument: Argument::A,
            offset: (block * ROWS + row) * bytes,
            bytes,
            repeats: matmul.n_passes(),
        };
        self.transfer(a_channel(row), run);
    }

    fn feed_b(&mut self, matmul: &MatMul, column: usize) {
        let bytes = matmul.n_passes() * matmul.k_tiles() * B_TILE_BYTES;
        let run = Run {
            argument: Argument::B,
            offset: column * bytes,
            bytes,
            repeats: 1,
        };
        self.transfer(b_channel(column), run);
    }

    /// A descriptor, the patch of its address, and the task that executes it. A drain gives a token.
    fn transfer(&mut self, channel: Channel, run: Run) {
        let used = &mut self.used[channel.column as usize];
        let number = used.trailing_ones();
        debug_assert!(number < SHIM_BDS, "too many descriptors at once");
        *used |= 1 << number;
        let at = descriptor_address(channel.column, number);
        let offset = run.offset as u32;
        self.writer.push(Instruction::Block {
            address: at,
            values: &descriptor(run.bytes / 4, offset),
        });
        self.writer.push(Instruction::Patch {
            register: at + 4,
            argument: run.argument as u32,
            offset,
        });
        let token = channel.direction == Direction::ToMemory;
        if token {
            self.writer.push(Instruction::Mask {
                address: channel.control(),
                value: CONTROLLER,
                mask: CONTROLLER_MASK,
            });
            self.drains.push(channel);
        }
        let task = Task {
            descriptor: number,
            repeats: run.repeats,
            token,
        };
        self.writer.push(Instruction::Write {
            address: channel.queue(),
            value: task.word(),
        });
    }

    /// Waits for the drains, after which all transfers are done.
    fn wait(&mut self) {
        for channel in self.drains.drain(..) {
            self.writer.push(Instruction::Wait(channel));
        }
        self.used = [0; COLUMNS];
    }
}
