// SPDX-License-Identifier: MPL-2.0
//! The registers of a shim tile's DMA: buffer descriptors and task queues.
//!
//! The layout is that of AIE-ML in aie-rt. A descriptor is eight words. Lengths and strides count
//! words of 32 bits. Strides, iteration sizes and repeat counts are stored minus one, so a stride
//! of zero does not exist.

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
/// Memory is read and written in bursts of 128 bytes: a row of a tile.
const BURST: u32 = 1 << 30;
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

/// A nest of loops over memory, innermost first.
///
/// Word i of a transfer is at `i0 stride[0] + i1 stride[1] + i2 stride[2]`, where i0 runs up to
/// `size[0]`, i1 up to `size[1]`, and i2 as far as `length` goes. Each repetition of the task moves
/// on by `iteration.1`, and begins again after `iteration.0` repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Length of a transfer in words.
    pub length: usize,
    /// Sizes of the two inner loops. A loop of size 0 never ends, and those outside it do not
    /// exist.
    pub size: [usize; 2],
    /// Strides of the three loops in words.
    pub stride: [usize; 3],
    /// Number of iterations, and their stride in words.
    pub iteration: (usize, usize),
}

/// Why no pattern of ours is in a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// Word 7 has other bits than the valid bit.
    #[error("it is not valid, or waits for locks or descriptors")]
    Valid,
    /// Words 2 or 6 have bits of unused features.
    #[error("it makes packets, or begins within its iterations")]
    Features,
    /// The length is zero.
    #[error("it moves nothing")]
    Empty,
}

impl Pattern {
    /// `length` adjacent words, the same ones in each repetition.
    pub const fn linear(length: usize) -> Self {
        Self {
            length,
            size: [0; 2],
            stride: [1; 3],
            iteration: (1, 1),
        }
    }

    /// The descriptor with this pattern; its address is left to a patch.
    pub const fn words(&self) -> [u32; DESCRIPTOR_WORDS] {
        let [d0, d1, d2] = self.stride;
        [
            self.length as u32,
            0,
            0,
            (self.size[0] as u32) << 20 | (d0 as u32 - 1),
            BURST | (self.size[1] as u32) << 20 | (d1 as u32 - 1),
            CACHE | (d2 as u32 - 1),
            (self.iteration.0 as u32 - 1) << 20 | (self.iteration.1 as u32 - 1),
            VALID,
        ]
    }

    /// The pattern in a descriptor.
    ///
    /// # Errors
    ///
    /// What no stream of ours writes to a descriptor.
    pub fn of(words: &[u32; DESCRIPTOR_WORDS]) -> Result<Self, DescriptorError> {
        let stride = |word: u32| 1 + (word & 0xf_ffff) as usize;
        let size = |word: u32| (word >> 20 & 0x3ff) as usize;
        if words[7] != VALID {
            return Err(DescriptorError::Valid);
        }
        if words[2] >> 16 != 0 || words[6] >> 26 != 0 {
            return Err(DescriptorError::Features);
        }
        let pattern = Self {
            length: words[0] as usize,
            size: [size(words[3]), size(words[4])],
            stride: [stride(words[3]), stride(words[4]), stride(words[5])],
            iteration: (1 + (words[6] >> 20 & 0x3f) as usize, stride(words[6])),
        };
        if pattern.length == 0 {
            return Err(DescriptorError::Empty);
        }
        Ok(pattern)
    }

    /// Where word `i` of repetition `repeat` lies, in words from the descriptor's address, and how
    /// many words are adjacent from there on.
    pub fn run(&self, repeat: usize, i: usize) -> (usize, usize) {
        let split = |i: usize, size: usize| match size {
            0 => (i, 0),
            size => (i % size, i / size),
        };
        let (i0, rest) = split(i, self.size[0]);
        let (i1, i2) = split(rest, self.size[1]);
        let [d0, d1, d2] = self.stride;
        let at = i0 * d0 + i1 * d1 + i2 * d2 + repeat % self.iteration.0 * self.iteration.1;
        let row = match (d0, self.size[0]) {
            (1, 0) => self.length,
            (1, size) => size - i0,
            _ => 1,
        };
        (at, row.min(self.length - i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn pattern_walks_its_loops() {
        // Two tiles side by side of 2 rows of 3 words in rows of 10, twice, 100 words on.
        let pattern = Pattern {
            length: 12,
            size: [3, 2],
            stride: [1, 10, 3],
            iteration: (2, 100),
        };
        let walk = |repeat| -> Vec<usize> { (0..12).map(|i| pattern.run(repeat, i).0).collect() };
        assert_eq!(walk(0), [0, 1, 2, 10, 11, 12, 3, 4, 5, 13, 14, 15]);
        assert_eq!(walk(1)[0], 100);
        assert_eq!(walk(2), walk(0));
        assert_eq!(pattern.run(0, 4), (11, 2));
        assert_eq!(Pattern::linear(9).run(3, 2), (2, 7));
    }

    #[test]
    fn pattern_and_task_make_golden_words() {
        let pattern = Pattern {
            length: 0x4000,
            size: [32, 64],
            stride: [1, 256, 32],
            iteration: (6, 65536),
        };
        let expected = [
            0x4000,
            0,
            0,
            0x0200_0000,
            0x4400_00ff,
            0x0200_001f,
            0x0050_ffff,
            0x0200_0000,
        ];
        assert_eq!(pattern.words(), expected);
        let task = Task {
            descriptor: 3,
            repeats: 6,
            token: true,
        };
        assert_eq!(task.word(), 0x8005_0003);
        assert_eq!(Task::of(task.word()), task);
    }

    proptest! {
        #[test]
        fn descriptor_holds_its_pattern(
            length in 1usize..1 << 24,
            size in prop::array::uniform2(0usize..1024),
            stride in prop::array::uniform3(1usize..=1 << 20),
            iteration in (1usize..=64, 1usize..=1 << 20),
        ) {
            let pattern = Pattern { length, size, stride, iteration };
            prop_assert_eq!(Pattern::of(&pattern.words()), Ok(pattern));
        }
    }
}
