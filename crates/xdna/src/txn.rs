// SPDX-License-Identifier: MPL-2.0
//! The format of instruction streams, which the NPU's firmware interprets to set the array in
//! motion: the transaction binary ("TXN", version 0.1) that mlir-aie writes and aiebu parses.
//!
//! All words are little endian:
//!
//! | operation | words |
//! |---|---|
//! | header | `rows << 24 \| generation << 16 \| version`, `memory rows << 8 \| columns`, operations, total bytes |
//! | write | 0, 0, address, 0, value, 24 |
//! | block write | 1, 0, address, 16 + 4 n, n values |
//! | masked write | 3, 0, address, 0, value, mask, 28 |
//! | wait for a token | 0x80, 16, `direction \| row << 8 \| column << 16`, `rows << 8 \| columns << 16 \| channel << 24` |
//! | address patch | 0x81, 48, 0 × 4, register, 0, argument, 0, offset, 0 |
//!
//! An address is `column << 25 | row << 20 | offset`.

/// Rows 6 (one of shims, one of memory, four of cores), generation 4 (XDNA2), version 0.1.
const FIRST_WORD: u32 = 0x0604_0100;
/// One row of memory tiles, eight columns.
const SECOND_WORD: u32 = 0x0000_0108;
const HEADER_WORDS: usize = 4;

const WRITE: u32 = 0;
const BLOCK_WRITE: u32 = 1;
const MASK_WRITE: u32 = 3;
const WAIT: u32 = 0x80;
const PATCH: u32 = 0x81;

/// Which way a shim's DMA moves data, seen from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Out of the array.
    ToMemory = 0,
    /// Into the array.
    FromMemory = 1,
}

/// A channel of a shim tile's DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Channel {
    /// Array column of the shim tile.
    pub column: u32,
    /// Which of the tile's channels are counted.
    pub direction: Direction,
    /// Number of the channel in this direction: 0 or 1.
    pub channel: u32,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction<'a> {
    /// Writes a word.
    Write {
        /// Where, see [`address`].
        address: u32,
        /// The word.
        value: u32,
    },
    /// Writes adjacent words.
    Block {
        /// Where the first word goes, see [`address`].
        address: u32,
        /// The words.
        values: &'a [u32],
    },
    /// Writes some bits of a word.
    Mask {
        /// Where, see [`address`].
        address: u32,
        /// The bits.
        value: u32,
        /// Which bits are written.
        mask: u32,
    },
    /// Blocks the stream until the channel has given a token, and takes that token.
    Wait(Channel),
    /// Adds the address of a data buffer to the address in a descriptor.
    Patch {
        /// Address of the descriptor's second word.
        register: u32,
        /// Number of the data buffer in its dispatch.
        argument: u32,
        /// Bytes added to the address of the buffer.
        offset: u32,
    },
}

/// The address of a register or of a core's memory.
pub const fn address(column: u32, row: u32, offset: u32) -> u32 {
    column << 25 | row << 20 | offset
}

/// Column, row and offset of an address.
pub const fn located(address: u32) -> (u32, u32, u32) {
    (address >> 25, address >> 20 & 31, address & 0xf_ffff)
}

/// Writes an instruction stream.
pub struct Writer {
    words: Vec<u32>,
    instructions: u32,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            words: vec![FIRST_WORD, SECOND_WORD, 0, 0],
            instructions: 0,
        }
    }
}

impl Writer {
    /// Appends an instruction.
    pub fn push(&mut self, instruction: Instruction) {
        self.instructions += 1;
        match instruction {
            Instruction::Write { address, value } => {
                self.words.extend([WRITE, 0, address, 0, value, 24]);
            }
            Instruction::Block { address, values } => {
                let bytes = 16 + 4 * values.len() as u32;
                self.words.extend([BLOCK_WRITE, 0, address, bytes]);
                self.words.extend(values);
            }
            Instruction::Mask {
                address,
                value,
                mask,
            } => {
                self.words
                    .extend([MASK_WRITE, 0, address, 0, value, mask, 28]);
            }
            Instruction::Wait(channel) => {
                let tile = channel.direction as u32 | channel.column << 16;
                let one = 1 << 8 | 1 << 16 | channel.channel << 24;
                self.words.extend([WAIT, 16, tile, one]);
            }
            Instruction::Patch {
                register,
                argument,
                offset,
            } => {
                self.words.extend([PATCH, 48, 0, 0, 0, 0]);
                self.words.extend([register, 0, argument, 0, offset, 0]);
            }
        }
    }

    /// The stream with its header.
    pub fn finish(mut self) -> Vec<u32> {
        self.words[2] = self.instructions;
        self.words[3] = 4 * self.words.len() as u32;
        self.words
    }
}

/// Why a stream is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    /// The header is of another array, or contradicts the stream's length.
    #[error("the instruction stream's header is not one for this NPU")]
    Header,
    /// No known instruction begins here.
    #[error("no instruction at word {0}")]
    Unknown(usize),
    /// A block write leaves the stream.
    #[error("a block write longer than its stream")]
    Block,
    /// A wait for a channel of neither direction.
    #[error("a wait for direction {0}")]
    Direction(u32),
    /// A wait for several tiles, or for a tile that is no shim.
    #[error("a wait for something that is not one shim tile")]
    Tile,
    /// The header announces fewer instructions than there are.
    #[error("words after the last instruction")]
    Trailing,
}

/// Reads an instruction stream: an iterator that ends after its first error.
pub struct Reader<'a> {
    words: &'a [u32],
    position: usize,
    /// Instructions that are left to read.
    left: u32,
}

impl<'a> Reader<'a> {
    /// A reader of `words`.
    ///
    /// # Errors
    ///
    /// [`TxnError::Header`].
    pub fn new(words: &'a [u32]) -> Result<Self, TxnError> {
        match *words {
            [FIRST_WORD, SECOND_WORD, left, bytes, ..] if bytes as usize == 4 * words.len() => {
                Ok(Self {
                    words,
                    position: HEADER_WORDS,
                    left,
                })
            }
            _ => Err(TxnError::Header),
        }
    }

    fn read(&mut self) -> Result<Instruction<'a>, TxnError> {
        let rest = &self.words[self.position..];
        let (instruction, words) = match *rest {
            [WRITE, 0, address, 0, value, 24, ..] => (Instruction::Write { address, value }, 6),
            [MASK_WRITE, 0, address, 0, value, mask, 28, ..] => (
                Instruction::Mask {
                    address,
                    value,
                    mask,
                },
                7,
            ),
            [BLOCK_WRITE, 0, address, bytes, ..] => {
                let words = bytes as usize / 4;
                let values = rest.get(4..words).filter(|_| bytes.is_multiple_of(4));
                let values = values.ok_or(TxnError::Block)?;
                (Instruction::Block { address, values }, words)
            }
            [WAIT, 16, tile, channel, ..] => (Instruction::Wait(awaited(tile, channel)?), 4),
            [
                PATCH,
                48,
                0,
                0,
                0,
                0,
                register,
                0,
                argument,
                0,
                offset,
                0,
                ..,
            ] => (
                Instruction::Patch {
                    register,
                    argument,
                    offset,
                },
                12,
            ),
            _ => return Err(TxnError::Unknown(self.position)),
        };
        self.position += words;
        Ok(instruction)
    }
}

/// The channel of a wait: one of a shim tile.
fn awaited(tile: u32, channel: u32) -> Result<Channel, TxnError> {
    let direction = match tile & 0xff {
        0 => Direction::ToMemory,
        1 => Direction::FromMemory,
        other => return Err(TxnError::Direction(other)),
    };
    if tile >> 8 & 0xff != 0 || channel & 0xff_ffff != 0x1_0100 {
        return Err(TxnError::Tile);
    }
    Ok(Channel {
        column: tile >> 16,
        direction,
        channel: channel >> 24,
    })
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Instruction<'a>, TxnError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let trailing = self.position < self.words.len();
            self.position = self.words.len();
            return trailing.then_some(Err(TxnError::Trailing));
        }
        self.left -= 1;
        let read = self.read();
        if read.is_err() {
            (self.left, self.position) = (0, self.words.len());
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writer_makes_golden_words() {
        let mut writer = Writer::default();
        writer.push(Instruction::Write {
            address: address(2, 0, 0x1d204),
            value: 0x8000_0003,
        });
        writer.push(Instruction::Block {
            address: address(0, 2, 0x800),
            values: &[7, 8],
        });
        writer.push(Instruction::Mask {
            address: 0x1d200,
            value: 0xf00,
            mask: 0x1f00,
        });
        writer.push(Instruction::Wait(Channel {
            column: 3,
            direction: Direction::FromMemory,
            channel: 1,
        }));
        writer.push(Instruction::Patch {
            register: 0x1d004,
            argument: 2,
            offset: 0x40,
        });
        #[rustfmt::skip]
        let expected = [
            0x0604_0100, 0x108, 5, 156,
            0, 0, 0x0401_d204, 0, 0x8000_0003, 24,
            1, 0, 0x0020_0800, 24, 7, 8,
            3, 0, 0x1d200, 0, 0xf00, 0x1f00, 28,
            0x80, 16, 0x0003_0001, 0x0101_0100,
            0x81, 48, 0, 0, 0, 0, 0x1d004, 0, 2, 0, 0x40, 0,
        ];
        assert_eq!(writer.finish(), expected);
    }

    #[test]
    fn reader_refuses_a_damaged_stream() {
        let mut writer = Writer::default();
        writer.push(Instruction::Block {
            address: 0,
            values: &[1, 2, 3],
        });
        let words = writer.finish();
        assert!(Reader::new(&words).unwrap().all(|read| read.is_ok()));
        assert!(Reader::new(&words[..10]).is_err());
        assert!(Reader::new(&[]).is_err());
        for (place, value) in [(4, 2), (7, 400), (7, 18), (2, 0), (2, 2)] {
            let mut words = words.clone();
            words[place] = value;
            let last = Reader::new(&words).unwrap().last();
            assert!(last.unwrap().is_err(), "{place} {value}");
        }
    }

    proptest! {
        #[test]
        fn reader_reads_what_was_written(
            values in prop::collection::vec((any::<u32>(), any::<u32>(), 0usize..5), 0..40),
        ) {
            let instruction = |&(a, b, kind): &(u32, u32, usize)| match kind {
                0 => Instruction::Write { address: a, value: b },
                1 => Instruction::Mask { address: a, value: b, mask: a ^ b },
                2 => Instruction::Patch { register: a, argument: b, offset: a ^ b },
                3 => Instruction::Wait(Channel {
                    column: a % 8,
                    direction: Direction::ToMemory,
                    channel: b % 2,
                }),
                _ => Instruction::Block { address: a, values: &[1, 2, 3] },
            };
            let mut writer = Writer::default();
            values.iter().for_each(|value| writer.push(instruction(value)));
            let words = writer.finish();
            let read: Result<Vec<_>, _> = Reader::new(&words).unwrap().collect();
            prop_assert_eq!(read.unwrap(), values.iter().map(instruction).collect::<Vec<_>>());
        }

        #[test]
        fn reader_never_panics(mut words in prop::collection::vec(any::<u32>(), 0..60)) {
            let bytes = 4 * words.len() as u32;
            for (word, header) in words.iter_mut().zip([FIRST_WORD, SECOND_WORD, 9, bytes]) {
                *word = header;
            }
            if let Ok(reader) = Reader::new(&words) {
                prop_assert!(reader.count() <= 10);
            }
        }
    }
}
