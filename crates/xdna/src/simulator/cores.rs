// SPDX-License-Identifier: MPL-2.0
//! The cores: parameters and start locks, and which streams a pass takes from and gives to.

use super::dma::Shim;
use super::{Fault, Memory};
use crate::contract::{
    COLUMNS, Epilogue, LEFT_BYTES, LEFT_CHANNEL, MOST_ITERATIONS, PASS_ROWS, PRODUCT_CHANNEL,
    Parameters, RIGHT_BYTES, RIGHT_CHANNEL, ROWS, TILE, left_column,
};
use crate::emulation::{Cores, Pass};
use crate::txn::Direction;

/// Deeper than any product can be; a parameter beyond it is garbage.
const MOST_TILES: u32 = 1 << 10;

#[derive(Clone, Copy, Default)]
struct Core {
    words: [u32; Parameters::WORDS],
    started: bool,
}

/// What all cores are at.
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
    arithmetic: Box<dyn Cores>,
    left: [Vec<u8>; ROWS],
    right: [Vec<u8>; COLUMNS],
    products: [Vec<u8>; COLUMNS],
}

impl Grid {
    pub fn new(arithmetic: Box<dyn Cores>) -> Self {
        Self {
            cores: Default::default(),
            work: None,
            arithmetic,
            left: Default::default(),
            right: Default::default(),
            products: Default::default(),
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

    /// All that the cores do at once where they can: one pass. Says what they wait for where they cannot.
    pub fn step(
        &mut self,
        shims: &mut [Shim; COLUMNS],
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
        for (row, left) in self.left.iter_mut().enumerate() {
            left.resize(work.k_tiles * LEFT_BYTES, 0);
            let shim = &mut shims[left_column(row)];
            shim.queue(Direction::FromMemory, LEFT_CHANNEL)?
                .read(memory, left)?;
        }
        for (column, right) in self.right.iter_mut().enumerate() {
            let tiles = if active(column) { work.k_tiles } else { 0 };
            right.resize(tiles * RIGHT_BYTES, 0);
            let queue = shims[column].queue(Direction::FromMemory, RIGHT_CHANNEL)?;
            queue.read(memory, right)?;
        }
        self.arithmetic.compute(&mut Pass {
            k_tiles: work.k_tiles,
            epilogue: work.epilogue,
            left: &self.left,
            right: &self.right,
            products: &mut self.products,
        });
        for column in (0..COLUMNS).filter(|column| active(*column)) {
            let queue = shims[column].queue(Direction::ToMemory, PRODUCT_CHANNEL)?;
            queue.write(memory, &self.products[column])?;
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

    /// What the cores' parameters make them do together, if they agree as the contract wants it.
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
        let most = MOST_ITERATIONS as u32;
        if !(1..=MOST_TILES).contains(&k_tiles)
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

/// The first stream that has not what a pass needs.
fn lacking(
    shims: &mut [Shim; COLUMNS],
    k_tiles: usize,
    active: impl Fn(usize) -> bool,
) -> Result<Option<String>, Fault> {
    let left = (0..ROWS).map(|row| {
        let need = k_tiles * LEFT_BYTES;
        (left_column(row), Direction::FromMemory, LEFT_CHANNEL, need)
    });
    let of_column = |column| {
        let right = (
            column,
            Direction::FromMemory,
            RIGHT_CHANNEL,
            k_tiles * RIGHT_BYTES,
        );
        let product = (
            column,
            Direction::ToMemory,
            PRODUCT_CHANNEL,
            PASS_ROWS * TILE * 2,
        );
        [right, product]
    };
    let columns = (0..COLUMNS)
        .filter(|column| active(*column))
        .flat_map(of_column);
    for (column, direction, channel, need) in left.chain(columns) {
        let there = shims[column].queue(direction, channel)?.waiting();
        if there < need {
            let what = match (direction, channel) {
                (Direction::ToMemory, _) => "room for C",
                (_, LEFT_CHANNEL) => "A",
                _ => "B",
            };
            return Ok(Some(format!(
                "the cores wait for {need} bytes of {what} at shim {column}, {there} are there"
            )));
        }
    }
    Ok(None)
}
