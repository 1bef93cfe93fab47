// SPDX-License-Identifier: MPL-2.0
//! Interprets instructions.

use super::compute::CoreArithmetic;
use super::cores::Grid;
use super::shim_tile::ShimTile;
use super::{Argument, Fault, Memory};
use crate::contract::{COLUMNS, FIRST_CORE_ROW, Parameters};
use crate::dma::Register;
use crate::txn::{Channel, Direction, Instruction, Reader, located};

/// Work of an array since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Streams that reached their end.
    pub streams: u64,
    /// Instructions of all streams.
    pub instructions: u64,
    /// Passes of all cores.
    pub passes: u64,
}

/// The array with the overlay loaded. Its registers keep what one stream wrote for the next one.
pub struct Array {
    shims: [ShimTile; COLUMNS],
    grid: Grid,
    totals: Totals,
}

impl Array {
    /// An array whose cores compute as `arithmetic` does.
    pub fn new(arithmetic: Box<dyn CoreArithmetic>) -> Self {
        Self {
            shims: Default::default(),
            grid: Grid::new(arithmetic),
            totals: Totals::default(),
        }
    }

    /// Work since the array was made.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Executes a stream to its end, on the data buffers `arguments`, which lie in `memory`.
    ///
    /// # Errors
    ///
    /// A [`Fault`]. After it the array is in disorder until [`Array::reset`].
    pub fn execute(
        &mut self,
        instructions: &[u32],
        arguments: &[Argument],
        memory: &mut dyn Memory,
    ) -> Result<(), Fault> {
        for instruction in Reader::new(instructions)? {
            self.totals.instructions += 1;
            match instruction? {
                Instruction::Write { address, value } => self.write(address, value)?,
                Instruction::Block { address, values } => self.write_block(address, values)?,
                Instruction::Mask {
                    address,
                    value,
                    mask,
                } => self.write_masked(address, value, mask)?,
                Instruction::Wait(channel) => self.wait(channel, memory)?,
                Instruction::Patch {
                    register,
                    argument,
                    offset,
                } => {
                    let argument = arguments.get(argument as usize).copied();
                    let argument = argument
                        .ok_or_else(|| Fault::Violation("a patch with no such argument".into()))?;
                    self.patch(register, argument, offset)?;
                }
            }
        }
        self.come_to_rest(memory)?;
        self.totals.streams += 1;
        Ok(())
    }

    /// Resets everything but the totals.
    pub fn reset(&mut self) {
        self.shims = Default::default();
        self.grid.reset();
    }

    fn shim(&mut self, column: u32) -> Result<&mut ShimTile, Fault> {
        let shim = self.shims.get_mut(column as usize);
        shim.ok_or_else(|| Fault::Violation(format!("the array has no column {column}")))
    }

    fn write(&mut self, address: u32, value: u32) -> Result<(), Fault> {
        match located(address) {
            (column, 0, offset) => match Register::at(offset) {
                Some(Register::Queue(direction, channel)) => {
                    self.shim(column)?.start(direction, channel, value)
                }
                _ => unknown(address),
            },
            (column, row, at @ Parameters::ADDRESS..) if row as usize >= FIRST_CORE_ROW => {
                if self.shims.iter().any(ShimTile::is_busy) {
                    return Fault::violation("a core's parameters change while it works");
                }
                let word = (at - Parameters::ADDRESS) as usize / 4;
                let (row, column) = (row as usize - FIRST_CORE_ROW, column as usize);
                self.grid.set_parameter(row, column, word, value)
            }
            _ => unknown(address),
        }
    }

    fn write_block(&mut self, address: u32, values: &[u32]) -> Result<(), Fault> {
        match located(address) {
            (column, 0, offset) => match Register::at(offset) {
                Some(Register::Descriptor {
                    descriptor,
                    word: 0,
                }) => self.shim(column)?.set_descriptor(descriptor, values),
                _ => unknown(address),
            },
            _ => unknown(address),
        }
    }

    fn write_masked(&mut self, address: u32, value: u32, mask: u32) -> Result<(), Fault> {
        match located(address) {
            (column, 0, offset) => match Register::at(offset) {
                Some(Register::Control(direction, channel)) => self
                    .shim(column)?
                    .queue(direction, channel)?
                    .control(value, mask),
                _ => unknown(address),
            },
            _ => unknown(address),
        }
    }

    fn patch(&mut self, register: u32, argument: Argument, offset: u32) -> Result<(), Fault> {
        match located(register) {
            (column, 0, at) => match Register::at(at) {
                Some(Register::Descriptor {
                    descriptor,
                    word: 1,
                }) => self.shim(column)?.patch(descriptor, argument, offset),
                _ => unknown(register),
            },
            _ => unknown(register),
        }
    }

    fn step(&mut self, memory: &mut dyn Memory) -> Result<Result<(), String>, Fault> {
        let step = self.grid.step(&mut self.shims, memory)?;
        self.totals.passes += u64::from(step.is_ok());
        Ok(step)
    }

    fn wait(&mut self, channel: Channel, memory: &mut dyn Memory) -> Result<(), Fault> {
        loop {
            let queue = self.shim(channel.column)?;
            if queue
                .queue(channel.direction, channel.channel)?
                .take_token()
            {
                return Ok(());
            }
            if let Err(why) = self.step(memory)? {
                let column = channel.column;
                return Err(Fault::Hang(format!("shim {column} gives no token: {why}")));
            }
        }
    }

    /// The end of a stream: all that it began must end, and the stream must have waited for it. What
    /// is left over would be the next stream's.
    fn come_to_rest(&mut self, memory: &mut dyn Memory) -> Result<(), Fault> {
        while self.step(memory)?.is_ok() {}
        for (column, shim) in self.shims.iter_mut().enumerate() {
            for direction in [Direction::ToMemory, Direction::FromMemory] {
                for channel in 0..2 {
                    if let Some(what) = shim.queue(direction, channel)?.leftover() {
                        return Fault::violation(format!(
                            "the stream ends, but at shim {column}, channel {channel} {direction:?}, {what}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The overlay has no such register.
fn unknown(address: u32) -> Result<(), Fault> {
    Fault::violation(format!("the overlay has nothing at {address:#010x}"))
}
