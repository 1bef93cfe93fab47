// SPDX-License-Identifier: MPL-2.0
//! The cores: their parameters and start locks, and the streams of a pass.

use super::compute::{CoreArithmetic, Pass};
use super::shim_tile::ShimTile;
use super::{Fault, Memory};
use crate::contract::{
    A_CHANNEL, A_TILE_BYTES, B_CHANNEL, B_TILE_BYTES, C_CHANNEL, COLUMNS, Epilogue, MAX_ITERATIONS,
    PASS_ROWS, Parameters, ROWS, TILE, a_column,
};
use crate::txn::Direction;

/// Deeper than any product can be; a parameter beyond it is garbage.
const MAX_TILES: u32 = 1 << 10;

#[derive(Clone, Copy, Default)]
struct Core {
    words: [u32; Parameters::WORDS],
    started: bool,
}

/// The product that all cores compute.
struct Work {
    k_tiles: usize,
    epilogue: Epilogue,
    own_passes: [usize; COLUMNS],
    m_passes: usize,
    /// Passes done, the rows' within the columns'.
    done: usize,
    passes: usize,
}

/// All cores and the memory of their streams.
pub struct Grid {
    cores: [[Core; COLUMNS]; ROWS],
    work: Option<Work>,
    arithmetic: Box<dyn CoreArithmetic>,
    a: [Vec<u8>; ROWS],
    b: [Vec<u8>; COLUMNS],
    c: [Vec<u8>; COLUMNS],
}

impl Grid {
    pub fn new(arithmetic: Box<dyn CoreArithmetic>) -> Self {
        Self {
            cores: Default::default(),
            work: None,
            arithmetic,
            a: Default::default(),
            b: Default::default(),
            c: Default::default(),
        }
    }

    /// Stops all cores and forgets their parameters.
    pub fn reset(&mut self) {
        self.cores = Default::default();
        self.work = None;
    }

    fn core(&mut self, row: usize, column: usize) -> Result<&mut Core, Fault> {
        if self.work.is_some() {
            return Fault::violation("a core's parameters change while it works");
        }
        let core = self.cores.get_mut(row).and_then(|row| row.get_mut(column));
        core.ok_or_else(|| Fault::Violation(format!("no core {row}, {column}")))
    }

    pub fn set_parameters(
        &mut self,
        row: usize,
        column: usize,
        words: &[u32],
    ) -> Result<(), Fault> {
        let core = self.core(row, column)?;
        if core.started {
            return Fault::violation("a core's parameters change after its start");
        }
        core.words = words
            .try_into()
            .map_err(|_| Fault::Violation("a part of a core's parameters is written".into()))?;
        Ok(())
    }

    pub fn start(&mut self, row: usize, column: usize, value: u32) -> Result<(), Fault> {
        if value != 1 {
            return Fault::violation(format!("a start lock is set to {value}"));
        }
        self.core(row, column)?.started = true;
        Ok(())
    }

    /// The cores have nothing to do and nothing was begun.
    pub fn rests(&self) -> bool {
        self.work.is_none() && self.cores.iter().flatten().all(|core| !core.started)
    }

    /// Computes one pass, or says what the cores wait for.
    pub fn step(
        &mut self,
        shims: &mut [ShimTile; COLUMNS],
        memory: &mut dyn Memory,
    ) -> Result<Result<(), String>, Fault> {
        if self.work.is_none() {
            if let Some(core) = self.cores.iter().flatten().position(|core| !core.started) {
                let (row, column) = (core / COLUMNS, core % COLUMNS);
                return Ok(Err(format!("core {row}, {column} was not started")));
            }
            self.work = Some(self.agreed()?);
        }
        let Some(work) = &self.work else {
            return Ok(Err("the cores have nothing to do".into()));
        };
        let own = work.done / work.m_passes;
        let active = |column: usize| own < work.own_passes[column];
        if let Some(why) = lacking(shims, work.k_tiles, active)? {
            return Ok(Err(why));
        }
        for (row, a) in self.a.iter_mut().enumerate() {
            a.resize(work.k_tiles * A_TILE_BYTES, 0);
            let shim = &mut shims[a_column(row)];
            shim.queue(Direction::FromMemory, A_CHANNEL)?
                .read(memory, a)?;
        }
        for (column, b) in self.b.iter_mut().enumerate() {
            let tiles = if active(column) { work.k_tiles } else { 0 };
            b.resize(tiles * B_TILE_BYTES, 0);
            let queue = shims[column].queue(Direction::FromMemory, B_CHANNEL)?;
            queue.read(memory, b)?;
        }
        self.arithmetic.compute(&mut Pass {
            k_tiles: work.k_tiles,
            epilogue: work.epilogue,
            a: &self.a,
            b: &self.b,
            c: &mut self.c,
        });
        for column in (0..COLUMNS).filter(|column| active(*column)) {
            let queue = shims[column].queue(Direction::ToMemory, C_CHANNEL)?;
            queue.write(memory, &self.c[column])?;
        }
        self.advance();
        Ok(Ok(()))
    }

    fn advance(&mut self) {
        if let Some(work) = &mut self.work {
            work.done += 1;
            if work.done == work.passes {
                self.work = None;
                self.cores
                    .iter_mut()
                    .flatten()
                    .for_each(|core| core.started = false);
            }
        }
    }

    /// The product that the cores' parameters describe, if they agree as the contract wants it.
    fn agreed(&self) -> Result<Work, Fault> {
        let [k_tiles, m_passes, n_passes, _, epilogue] = self.cores[0][0].words;
        let mut own_passes = [0; COLUMNS];
        for (column, own) in own_passes.iter_mut().enumerate() {
            let first = self.cores[0][column].words[3];
            *own = first as usize;
            let expected = [k_tiles, m_passes, n_passes, first, epilogue];
            if first > n_passes || self.cores.iter().any(|row| row[column].words != expected) {
                return Fault::violation(format!(
                    "the parameters of column {column} contradict others"
                ));
            }
        }
        let most = MAX_ITERATIONS as u32;
        if !(1..=MAX_TILES).contains(&k_tiles)
            || !(1..=most).contains(&m_passes)
            || !(1..=most).contains(&n_passes)
        {
            return Fault::violation("parameters beyond what the overlay can do");
        }
        let epilogue = [Epilogue::None, Epilogue::Gelu]
            .into_iter()
            .find(|known| *known as u32 == epilogue)
            .ok_or_else(|| Fault::Violation(format!("no epilogue {epilogue}")))?;
        Ok(Work {
            k_tiles: k_tiles as usize,
            epilogue,
            own_passes,
            m_passes: m_passes as usize,
            done: 0,
            passes: (m_passes * n_passes) as usize,
        })
    }
}

/// The first stream that lacks bytes for a pass.
fn lacking(
    shims: &mut [ShimTile; COLUMNS],
    k_tiles: usize,
    active: impl Fn(usize) -> bool,
) -> Result<Option<String>, Fault> {
    let a = (0..ROWS).map(|row| {
        let need = k_tiles * A_TILE_BYTES;
        (a_column(row), Direction::FromMemory, A_CHANNEL, need)
    });
    let of_column = |column| {
        let b = (
            column,
            Direction::FromMemory,
            B_CHANNEL,
            k_tiles * B_TILE_BYTES,
        );
        let c = (column, Direction::ToMemory, C_CHANNEL, PASS_ROWS * TILE * 2);
        [b, c]
    };
    let columns = (0..COLUMNS)
        .filter(|column| active(*column))
        .flat_map(of_column);
    for (column, direction, channel, need) in a.chain(columns) {
        let there = shims[column].queue(direction, channel)?.waiting();
        if there < need {
            let what = match (direction, channel) {
                (Direction::ToMemory, _) => "room for C",
                (_, A_CHANNEL) => "A",
                _ => "B",
            };
            return Ok(Some(format!(
                "the cores wait for {need} bytes of {what} at shim {column}, {there} are there"
            )));
        }
    }
    Ok(None)
}
