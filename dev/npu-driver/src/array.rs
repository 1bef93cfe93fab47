// SPDX-License-Identifier: MPL-2.0
//! The simulator on the memory of commands.

use xdna::simulator::compute;
use xdna::simulator::{self, Argument, Fault, Memory};

use crate::command::State;

/// A buffer of a command, from the address that the command names to its end: as the NPU sees it.
pub struct Data {
    /// Where the process sees it, which is the address that the NPU is given too.
    pub address: u64,
    pub memory: *mut u8,
    pub bytes: usize,
}

/// The simulated array.
pub struct Array(simulator::Array);

impl Array {
    pub fn new() -> Self {
        let cores = compute::cores().expect("the instruction set of the environment");
        Self(simulator::Array::new(cores))
    }

    /// Runs the stream `words` on `data`. With `garbage` the last of them, which is the product,
    /// ends up with nonsense in it.
    pub fn run(&mut self, words: &[u32], data: Vec<Data>, garbage: bool) -> State {
        let argument = |data: &Data| Argument {
            address: data.address,
            len: data.bytes,
        };
        let arguments: Vec<Argument> = data.iter().map(argument).collect();
        let mut memory = Views(data);
        if let Err(fault) = self.0.execute(words, &arguments, &mut memory) {
            eprintln!("whispernpu's driver: {fault}");
            self.0.reset();
            return match fault {
                Fault::Hang(_) => State::Hangs,
                Fault::Violation(_) => State::Error,
            };
        }
        if let Some(product) = memory.0.last().filter(|_| garbage) {
            // SAFETY: the memory of the buffer, which only its command uses while it runs.
            unsafe { product.memory.write_bytes(0x55, product.bytes) };
        }
        State::Completed
    }
}

/// All that a stream may reach.
struct Views(Vec<Data>);

impl Views {
    fn at(&self, address: u64, bytes: usize) -> *mut u8 {
        let found = self.0.iter().find_map(|data| {
            let offset = address.checked_sub(data.address)? as usize;
            // SAFETY: within the buffer, as is checked.
            (offset + bytes <= data.bytes).then(|| unsafe { data.memory.add(offset) })
        });
        found.expect("the simulator stays within its arguments")
    }
}

impl Memory for Views {
    fn read(&self, address: u64, to: &mut [u8]) {
        // SAFETY: so many bytes are there; a command's buffers are not written by others while it
        // runs.
        unsafe {
            self.at(address, to.len())
                .copy_to_nonoverlapping(to.as_mut_ptr(), to.len())
        };
    }

    fn write(&mut self, address: u64, from: &[u8]) {
        // SAFETY: as above.
        unsafe {
            self.at(address, from.len())
                .copy_from_nonoverlapping(from.as_ptr(), from.len())
        };
    }
}
