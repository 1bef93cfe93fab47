// SPDX-License-Identifier: MPL-2.0
//! The cores: their parameters, and the streams of a pass.

use super::compute::{CoreArithmetic, Pass};
use super::shim_tile::ShimTile;
use super::{Fault, Memory};
use crate::contract::{
    A_TILE_BYTES, B_TILE_BYTES, C_TILE_BYTES, COLUMNS, Output, Parameters, ROWS, a_channel,
    b_channel, c_channel,
};
use crate::txn::Channel;

/// Deeper than any product can be; a parameter beyond it is garbage.
const MAX_K_TILES: u32 = 1 << 10;

/// A core's parameters, as far as they were written.
type Core = [Option<u32>; Parameters::WORDS];

/// All cores and the memory of their streams.
pub struct Grid {
    cores: [[Core; COLUMNS]; ROWS],
    arithmetic: Box<dyn CoreArithmetic>,
    a: [Vec<u8>; ROWS],
    b: [Vec<u8>; COLUMNS],
    c: [Vec<u8>; COLUMNS],
}

impl Grid {
    pub fn new(arithmetic: Box<dyn CoreArithmetic>) -> Self {
        Self {
            cores: Default::default(),
            arithmetic,
            a: Default::default(),
            b: Default::default(),
            c: Default::default(),
        }
    }

    /// Makes all cores forget their parameters.
    pub fn reset(&mut self) {
        self.cores = Default::default();
    }

    pub fn set_parameter(
        &mut self,
        row: usize,
        column: usize,
        word: usize,
        value: u32,
    ) -> Result<(), Fault> {
        let core = self.cores.get_mut(row).and_then(|row| row.get_mut(column));
        let parameter = core.and_then(|core| core.get_mut(word));
        let Some(parameter) = parameter else {
            return Fault::violation(format!("no parameter {word} of a core {row}, {column}"));
        };
        *parameter = Some(value);
        Ok(())
    }

    /// Computes one pass, or says what the cores wait for. They begin when they have A and B.
    pub fn step(
        &mut self,
        shims: &mut [ShimTile; COLUMNS],
        memory: &mut dyn Memory,
    ) -> Result<Result<(), String>, Fault> {
        if let Some(why) = lacking(shims, A_TILE_BYTES, B_TILE_BYTES)? {
            return Ok(Err(why));
        }
        let (k_tiles, output) = self.agreed()?;
        if let Some(why) = lacking(shims, k_tiles * A_TILE_BYTES, k_tiles * B_TILE_BYTES)? {
            return Ok(Err(why));
        }
        for (row, a) in self.a.iter_mut().enumerate() {
            a.resize(k_tiles * A_TILE_BYTES, 0);
            queue(shims, a_channel(row))?.read(memory, a)?;
        }
        for (column, b) in self.b.iter_mut().enumerate() {
            b.resize(k_tiles * B_TILE_BYTES, 0);
            queue(shims, b_channel(column))?.read(memory, b)?;
        }
        self.arithmetic.compute(&mut Pass {
            k_tiles,
            output,
            a: &self.a,
            b: &self.b,
            c: &mut self.c,
        });
        for (column, c) in self.c.iter().enumerate() {
            queue(shims, c_channel(column))?.write(memory, c)?;
        }
        Ok(Ok(()))
    }

    /// Tiles in depth and kind of output by the cores' parameters, if they agree.
    fn agreed(&self) -> Result<(usize, Output), Fault> {
        let first = self.cores[0][0];
        if self.cores.iter().flatten().any(|core| *core != first) {
            return Fault::violation("the cores' parameters contradict each other");
        }
        let [Some(more_k_tiles), Some(output)] = first else {
            return Fault::violation("the cores get no parameters");
        };
        if !(1..MAX_K_TILES).contains(&more_k_tiles) {
            return Fault::violation("parameters beyond what the overlay can do");
        }
        let output = [Output::F32, Output::Bf16]
            .into_iter()
            .find(|known| *known as u32 == output)
            .ok_or_else(|| Fault::Violation(format!("no output {output}")))?;
        Ok((more_k_tiles as usize + 1, output))
    }
}

fn queue(
    shims: &mut [ShimTile; COLUMNS],
    channel: Channel,
) -> Result<&mut super::shim_tile::Queue, Fault> {
    shims[channel.column as usize].queue(channel.direction, channel.channel)
}

/// The first stream that lacks so many bytes, or room for a pass of C.
fn lacking(
    shims: &mut [ShimTile; COLUMNS],
    a_bytes: usize,
    b_bytes: usize,
) -> Result<Option<String>, Fault> {
    let a = (0..ROWS).map(|row| (a_channel(row), a_bytes, "A"));
    let columns = (0..COLUMNS).flat_map(|column| {
        let b = (b_channel(column), b_bytes, "B");
        [b, (c_channel(column), ROWS * C_TILE_BYTES, "room for C")]
    });
    for (channel, need, what) in a.chain(columns) {
        let there = queue(shims, channel)?.waiting();
        if there < need {
            let column = channel.column;
            return Ok(Some(format!(
                "the cores wait for {need} bytes of {what} at shim {column}, {there} are there"
            )));
        }
    }
    Ok(None)
}
