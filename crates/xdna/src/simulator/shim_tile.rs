// SPDX-License-Identifier: MPL-2.0
//! The DMA of a shim tile: descriptors, the queues of its channels, and the tokens they give.

use std::collections::VecDeque;

use super::{Argument, Fault, Memory};
use crate::contract::{QUEUE_DEPTH, SHIM_BDS};
use crate::dma::{CONTROLLER, CONTROLLER_MASK, DESCRIPTOR_WORDS, Task, described};
use crate::txn::Direction;

/// A descriptor's words, and the argument that its address was patched to.
#[derive(Clone, Copy, Default)]
struct Descriptor {
    words: [u32; DESCRIPTOR_WORDS],
    argument: Option<Argument>,
}

/// A task in a channel's queue.
struct Running {
    task: Task,
    /// Words of the descriptor.
    words: usize,
    address: u64,
    argument: Argument,
    /// How often the descriptor has been executed, and how many words of it since.
    repeat: usize,
    word: usize,
}

/// A channel's tasks, the first of them running, and its tokens that no wait has taken yet.
#[derive(Default)]
pub struct Queue {
    tasks: VecDeque<Running>,
    tokens: usize,
    controlled: bool,
}

/// One shim tile.
#[derive(Default)]
pub struct ShimTile {
    descriptors: [Descriptor; SHIM_BDS as usize],
    /// S2MM channels, then MM2S channels.
    queues: [[Queue; 2]; 2],
}

impl ShimTile {
    pub fn queue(&mut self, direction: Direction, channel: u32) -> Result<&mut Queue, Fault> {
        let queue = self.queues[direction as usize].get_mut(channel as usize);
        queue.ok_or_else(|| Fault::Violation(format!("a shim tile has no channel {channel}")))
    }

    /// Whether a task is under way.
    pub fn is_busy(&self) -> bool {
        let mut queues = self.queues.iter().flatten();
        queues.any(|queue| !queue.tasks.is_empty())
    }

    fn descriptor(&mut self, index: usize) -> Result<&mut Descriptor, Fault> {
        let in_use = self.queues.iter().flatten().flat_map(|queue| &queue.tasks);
        if in_use
            .into_iter()
            .any(|running| running.task.descriptor as usize == index)
        {
            return Fault::violation(format!("descriptor {index} changes while a task needs it"));
        }
        let descriptor = self.descriptors.get_mut(index);
        descriptor.ok_or_else(|| Fault::Violation(format!("a shim tile has no descriptor {index}")))
    }

    pub fn set_descriptor(&mut self, index: usize, values: &[u32]) -> Result<(), Fault> {
        let words = values.try_into();
        let words =
            words.map_err(|_| Fault::Violation("a part of a descriptor is written".into()))?;
        *self.descriptor(index)? = Descriptor {
            words,
            argument: None,
        };
        Ok(())
    }

    /// Makes the descriptor's address that of the argument, plus `offset`. AMD's toolchain writes
    /// the offset to the descriptor too: the patch replaces it.
    pub fn patch(&mut self, index: usize, argument: Argument, offset: u32) -> Result<(), Fault> {
        let descriptor = self.descriptor(index)?;
        let address = argument.address + u64::from(offset);
        if !address.is_multiple_of(4) {
            return Fault::violation(format!(
                "descriptor {index} has an address that is no multiple of 4"
            ));
        }
        descriptor.words[1] = address as u32;
        descriptor.words[2] = descriptor.words[2] & !0xffff | (address >> 32) as u32 & 0xffff;
        descriptor.argument = Some(argument);
        Ok(())
    }

    pub fn start(&mut self, direction: Direction, channel: u32, word: u32) -> Result<(), Fault> {
        let task = Task::of(word);
        let Descriptor { words, argument } = self.descriptors[task.descriptor as usize];
        let Some(length) = described(&words) else {
            let number = task.descriptor;
            return Fault::violation(format!("descriptor {number} is no run of words"));
        };
        let Some(argument) = argument else {
            return Fault::violation(format!("descriptor {} has no address", task.descriptor));
        };
        let queue = self.queue(direction, channel)?;
        if queue.tasks.len() == QUEUE_DEPTH {
            return Fault::violation("a queue of four tasks gets a fifth");
        }
        if task.token && !queue.controlled {
            return Fault::violation(
                "a token is asked for, but no controller to give it to is set",
            );
        }
        queue.tasks.push_back(Running {
            task,
            words: length,
            address: u64::from(words[1]) | u64::from(words[2] & 0xffff) << 32,
            argument,
            repeat: 0,
            word: 0,
        });
        Ok(())
    }
}

impl Queue {
    pub fn control(&mut self, value: u32, mask: u32) -> Result<(), Fault> {
        if (value, mask) != (CONTROLLER, CONTROLLER_MASK) {
            return Fault::violation("a channel is set to something else than its controller");
        }
        self.controlled = true;
        Ok(())
    }

    pub fn take_token(&mut self) -> bool {
        let there = self.tokens > 0;
        self.tokens -= usize::from(there);
        there
    }

    /// What is left undone at the end of a stream.
    pub fn leftover(&self) -> Option<String> {
        if !self.tasks.is_empty() {
            return Some(format!("{} bytes are still to be moved", self.waiting()));
        }
        (self.tokens > 0).then(|| "no wait took the token of its task".into())
    }

    /// Bytes that the queued tasks have yet to move.
    pub fn waiting(&self) -> usize {
        let words = self.tasks.iter().map(|running| {
            let whole = running.task.repeats - running.repeat;
            whole * running.words - running.word
        });
        4 * words.sum::<usize>()
    }

    /// Moves the next `bytes`, of which there must be that many: `piece` gets the address and place
    /// of each adjacent part.
    fn advance(
        &mut self,
        bytes: usize,
        mut piece: impl FnMut(u64, std::ops::Range<usize>),
    ) -> Result<(), Fault> {
        let mut done = 0;
        while done < bytes {
            let Some(running) = self.tasks.front_mut() else {
                return Fault::violation("a stream moves more than its tasks have");
            };
            let at = running.word;
            let words = (running.words - at).min((bytes - done) / 4);
            running.word += words;
            let (address, len) = (running.address + 4 * at as u64, 4 * words);
            let within = address.checked_sub(running.argument.address);
            if within.is_none_or(|start| start as usize + len > running.argument.len) {
                return Fault::violation(format!(
                    "descriptor {} leaves its buffer",
                    running.task.descriptor
                ));
            }
            piece(address, done..done + len);
            done += len;
            self.end_task();
        }
        Ok(())
    }

    /// The next repetition or task where one has come to its end.
    fn end_task(&mut self) {
        let Some(running) = self.tasks.front_mut() else {
            return;
        };
        if running.word < running.words {
            return;
        }
        (running.word, running.repeat) = (0, running.repeat + 1);
        if running.repeat == running.task.repeats {
            self.tokens += usize::from(running.task.token);
            self.tasks.pop_front();
        }
    }

    /// Fills `to` from memory.
    pub fn read(&mut self, memory: &dyn Memory, to: &mut [u8]) -> Result<(), Fault> {
        self.advance(to.len(), |address, place| {
            memory.read(address, &mut to[place])
        })
    }

    pub fn write(&mut self, memory: &mut dyn Memory, from: &[u8]) -> Result<(), Fault> {
        self.advance(from.len(), |address, place| {
            memory.write(address, &from[place])
        })
    }
}
