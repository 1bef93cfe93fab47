// SPDX-License-Identifier: MPL-2.0
//! The array: what the NPU's columns make of an instruction stream.

use crate::command::State;

/// How a stream for this array begins: rows, generation and version of the format; memory tile rows and columns.
const HEADER: [u32; 2] = [0x0604_0100, 0x0000_0108];
/// Words of the header: those above, the number of operations, the bytes of all.
const HEADER_WORDS: usize = 4;

/// Runs the stream `words` on `data`, each a buffer's memory as the NPU sees it: where, and how many bytes. With
/// `garbage` the last of them, which is the product, ends up with nonsense in it.
pub fn run(words: &[u32], data: &[(*mut u8, usize)], garbage: bool) -> State {
    if words.len() < HEADER_WORDS || words[..2] != HEADER || words[3] as usize != words.len() * 4 {
        return State::Error;
    }
    if let Some(&(memory, bytes)) = data.last().filter(|_| garbage) {
        // SAFETY: the buffer's own memory, which nobody else uses while its command runs.
        unsafe { memory.write_bytes(0x7f, bytes) };
    }
    State::Completed
}
