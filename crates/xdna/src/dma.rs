// SPDX-License-Identifier: MPL-2.0
//! The registers of a shim tile's DMA: buffer descriptors and task queues.
//!
//! The layout is that of AIE-ML in aie-rt. A descriptor is eight words. Lengths count words of 32
//! bits, repeat counts are stored minus one. All transfers of the overlay are runs of adjacent words,
//! so loops, iterations and packets, which descriptors know too, are left at zero.

use super::txn::{Channel, Direction, address};

/// Words of a buffer descriptor.
pub const DESCRIPTOR_WORDS: usize = 8;
const DESCRIPTORS: u32 = 0x1_D000;
const DESCRIPTOR_STEP: u32 = 0x20;
const CONTROLS: u32 = 0x1_D200;
const FROM_MEMORY: u32 = 0x10;
const CHANNEL_STEP: u32 = 8;
const QUEUE: u32 = 4;

/// Bits of a channel's control register that name the controller which gets the channel's tokens.
pub const CONTROLLER_MASK: u32 = 0x1f00;
/// Those bits for the controller that executes the stream.
pub const CONTROLLER: u32 = 0xf00;

const VALID: u32 = 1 << 25;
/// Memory is read and written in bursts of 512 bytes.
const BURST: u32 = 3 << 30;
/// AXI's cache attribute, as mlir-aie sets it.
const CACHE: u32 = 2 << 24;

/// Address of the first word of a descriptor.
pub const fn descriptor_address(column: u32, descriptor: u32) -> u32 {
    address(column, 0, DESCRIPTORS + DESCRIPTOR_STEP * descriptor)
}

/// A register of a shim tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// A word of a descriptor.
    Descriptor {
        /// Number of the descriptor.
        descriptor: usize,
        /// Number of the word in it.
        word: usize,
    },
    /// The control register of a channel.
    Control(Direction, u32),
    /// The task queue of a channel.
    Queue(Direction, u32),
}

impl Register {
    /// The register at an offset within the tile, or `None` where no stream of ours writes.
    pub fn at(offset: u32) -> Option<Self> {
        if !offset.is_multiple_of(4) {
            return None;
        }
        if (DESCRIPTORS..CONTROLS).contains(&offset) {
            let offset = offset - DESCRIPTORS;
            return Some(Self::Descriptor {
                descriptor: (offset / DESCRIPTOR_STEP) as usize,
                word: (offset % DESCRIPTOR_STEP / 4) as usize,
            });
        }
        let offset = offset
            .checked_sub(CONTROLS)
            .filter(|offset| *offset < 2 * FROM_MEMORY)?;
        let direction = match offset / FROM_MEMORY {
            0 => Direction::ToMemory,
            _ => Direction::FromMemory,
        };
        let channel = offset % FROM_MEMORY / CHANNEL_STEP;
        Some(match offset % CHANNEL_STEP {
            0 => Self::Control(direction, channel),
            _ => Self::Queue(direction, channel),
        })
    }
}

impl Channel {
    /// Address of the control register.
    pub const fn control(self) -> u32 {
        let direction = FROM_MEMORY * self.direction as u32;
        address(
            self.column,
            0,
            CONTROLS + direction + CHANNEL_STEP * self.channel,
        )
    }

    /// Address of the task queue.
    pub const fn queue(self) -> u32 {
        self.control() + QUEUE
    }
}

/// A task for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Number of the descriptor.
    pub descriptor: u32,
    /// How often the descriptor is executed, 1 to 256.
    pub repeats: usize,
    /// Whether the channel gives a token at the end.
    pub token: bool,
}

impl Task {
    /// The word that is written to the queue.
    pub const fn word(self) -> u32 {
        self.descriptor | (self.repeats as u32 - 1) << 16 | (self.token as u32) << 31
    }

    /// The task in a word that is written to the queue.
    pub const fn of(word: u32) -> Self {
        Self {
            descriptor: word & 15,
            repeats: 1 + (word >> 16 & 0xff) as usize,
            token: word >> 31 == 1,
        }
    }
}

/// A descriptor of `words` adjacent words, the same ones in each repetition. Its address is `offset`
/// until a patch replaces it.
pub const fn descriptor(words: usize, offset: u32) -> [u32; DESCRIPTOR_WORDS] {
    [words as u32, offset, 0, 0, BURST, CACHE, 0, VALID]
}

/// The words that a descriptor moves, or `None` if it is not as [`descriptor`] makes them. Whatever
/// its address is.
pub fn described(descriptor: &[u32; DESCRIPTOR_WORDS]) -> Option<usize> {
    let [words, _, high, rest @ ..] = *descriptor;
    let ours = words > 0 && high >> 16 == 0 && rest == [0, BURST, CACHE, 0, VALID];
    ours.then_some(words as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_is_found_by_its_offset() {
        let channel = Channel {
            column: 0,
            direction: Direction::FromMemory,
            channel: 1,
        };
        assert_eq!(channel.control(), 0x1d218);
        assert_eq!(
            Register::at(0x1d218),
            Some(Register::Control(Direction::FromMemory, 1))
        );
        assert_eq!(
            Register::at(0x1d204),
            Some(Register::Queue(Direction::ToMemory, 0))
        );
        let word = Register::Descriptor {
            descriptor: 15,
            word: 7,
        };
        assert_eq!(Register::at(descriptor_address(0, 15) + 28), Some(word));
        for nothing in [0x1cffc, 0x1d220, 0x1d202, 0] {
            assert_eq!(Register::at(nothing), None);
        }
    }

    #[test]
    fn descriptor_and_task_make_golden_words() {
        let words = descriptor(0x4000, 0x240);
        let golden = [
            0x4000,
            0x240,
            0,
            0,
            0xc000_0000,
            0x0200_0000,
            0,
            0x0200_0000,
        ];
        assert_eq!(words, golden);
        assert_eq!(described(&words), Some(0x4000));
        for word in [0, 3, 4, 5, 6, 7] {
            let mut other = words;
            other[word] = if word == 0 { 0 } else { other[word] ^ 1 << 20 };
            assert_eq!(described(&other), None, "{word}");
        }
        let task = Task {
            descriptor: 3,
            repeats: 6,
            token: true,
        };
        assert_eq!(task.word(), 0x8005_0003);
        assert_eq!(Task::of(task.word()), task);
    }
}
