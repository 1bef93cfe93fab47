// SPDX-License-Identifier: MPL-2.0
//! The packets that XRT submits: a run of a kernel, or a chain of them.

use std::ffi::c_int;

use crate::array::Data;
use crate::device::Device;

/// What a packet asks for.
const START_CU: u32 = 0;
const CHAIN: u32 = 19;
/// The kernel's first argument: run an instruction stream.
const RUN_INSTRUCTIONS: u64 = 3;
/// Data buffers that the kernel takes.
const BUFFERS: usize = 5;

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Completed,
    Error,
    /// It never ends.
    Hangs,
    /// The watchdog has ended it.
    TimedOut,
}

/// Executes the command in buffer `handle`, a chain's one after another up to the first that fails.
pub fn run(device: &mut Device, handle: u32, garbage: bool) -> Result<State, c_int> {
    let packet = device.command(handle)?;
    // SAFETY: XRT's commands are a page long, and lie still until they are done.
    let header = unsafe { packet.read_volatile() };
    let opcode = header >> 23 & 0x1f;
    match opcode {
        CHAIN => run_chain(device, packet, garbage),
        START_CU => {
            let extra_masks = header >> 10 & 3;
            // SAFETY: as above; the registers follow the header and the masks of compute units.
            let registers = unsafe { packet.add(2 + extra_masks as usize) };
            device.counts.runs += 1;
            start(device, registers, garbage)
        }
        _ => Err(libc::EINVAL),
    }
}

/// Count, indices of the last that was submitted and of the one that failed, three words of
/// nothing, handles.
fn run_chain(device: &mut Device, packet: *mut u32, garbage: bool) -> Result<State, c_int> {
    device.counts.chains += 1;
    // SAFETY: the words and handles lie within the command's page.
    let (count, handles) = unsafe { (packet.add(1).read(), packet.add(7).cast::<u64>()) };
    for index in 0..count {
        // SAFETY: as above.
        let handle = unsafe { handles.add(index as usize).read_unaligned() } as u32;
        let state = run(device, handle, garbage)?;
        finish(device, handle, state)?;
        if state != State::Completed {
            // SAFETY: as above.
            unsafe { packet.add(3).write(index) };
            return Ok(state);
        }
    }
    Ok(State::Completed)
}

/// Writes to the command's header what became of it.
pub fn finish(device: &Device, handle: u32, state: State) -> Result<(), c_int> {
    let code = match state {
        State::Completed => 4,
        State::Error => 5,
        State::TimedOut => 8,
        State::Hangs => return Ok(()),
    };
    let packet = device.command(handle)?;
    // SAFETY: the header is the command's first word.
    unsafe { packet.write_volatile(packet.read_volatile() & !15 | code) };
    Ok(())
}

/// A kernel's registers: opcode, address of the instructions, their number, addresses of the data.
fn start(device: &mut Device, registers: *const u32, garbage: bool) -> Result<State, c_int> {
    let number = |byte: usize| {
        // SAFETY: the registers lie within the command's page.
        unsafe {
            registers
                .cast::<u8>()
                .add(byte)
                .cast::<u64>()
                .read_unaligned()
        }
    };
    if number(0) != RUN_INSTRUCTIONS {
        return Err(libc::EINVAL);
    }
    let bytes = (number(16) as u32 as usize) * 4;
    let instructions = device.instructions(number(8), bytes).ok_or(libc::EFAULT)?;
    let (words, _) = instructions.as_chunks();
    let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let addresses: Vec<u64> = (0..BUFFERS).map(|index| number(20 + 8 * index)).collect();
    let mut data = Vec::new();
    for &address in addresses.iter().take_while(|address| **address != 0) {
        let memory = device.data(address).ok_or(libc::EFAULT)?;
        data.push(Data {
            address,
            memory: memory.as_mut_ptr(),
            bytes: memory.len(),
        });
    }
    Ok(device.array().run(&words, data, garbage))
}
