// SPDX-License-Identifier: MPL-2.0
//! The device: buffers, contexts, requests, and their counts.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::ops::Range;
use std::time::Duration;

use crate::array::Array;
use crate::command::{self, State};
use crate::counts::{Counts, Left};
use crate::fault::{Fault, Faults};
use crate::uapi::*;

/// Where the NPU sees the device heap.
const HEAP_ADDRESS: u64 = 0x400_0000;
const PAGE: u64 = 4096;
/// Size of the file that backs all buffers. Pages that are never touched take no memory.
const FILE_SIZE: i64 = 1 << 36;

/// A buffer object.
pub struct Buffer {
    kind: u32,
    size: u64,
    /// Where it lies in the file, for those that are mapped.
    offset: u64,
    /// Where the process sees it, once it was mapped.
    host: Option<usize>,
    /// Where the NPU sees it, for parts of the heap.
    address: u64,
    /// What the NPU sees.
    device: Vec<u8>,
}

/// The open device.
pub struct Device {
    fd: c_int,
    faults: Faults,
    buffers: BTreeMap<u32, Buffer>,
    contexts: BTreeSet<u32>,
    next_handle: u32,
    next_offset: u64,
    sequence: u64,
    /// A command that does not end by itself. The watchdog ends it at the next request.
    hung: Option<u32>,
    /// Made for the first command.
    array: Option<Array>,
    pub counts: Counts,
}

// SAFETY: `DEVICE` in lib.rs is a mutex, so one thread at a time uses it.
unsafe impl Send for Device {}

impl Device {
    pub fn open() -> Result<Self, c_int> {
        let mut faults = Faults::from_environment();
        if faults.strikes(Fault::Open) {
            return Err(libc::EACCES);
        }
        if faults.strikes(Fault::Iommu) {
            return Err(libc::ENODEV);
        }
        // SAFETY: makes a file of our own.
        let fd = unsafe { libc::memfd_create(c"accel0".as_ptr(), libc::MFD_CLOEXEC) };
        // SAFETY: as above.
        if fd < 0 || unsafe { libc::ftruncate(fd, FILE_SIZE) } != 0 {
            return Err(libc::ENOMEM);
        }
        Ok(Self {
            fd,
            faults,
            buffers: BTreeMap::new(),
            contexts: BTreeSet::new(),
            next_handle: 1,
            next_offset: 0,
            sequence: 0,
            hung: None,
            array: None,
            counts: Counts::default(),
        })
    }

    pub fn fd(&self) -> c_int {
        self.fd
    }

    pub fn may_map(&mut self) -> Result<(), c_int> {
        match self.faults.strikes(Fault::Memlock) {
            true => Err(libc::EAGAIN),
            false => Ok(()),
        }
    }

    /// The process has mapped what lies at `offset` of the file.
    pub fn mapped(&mut self, offset: u64, host: usize) {
        let buffer = self
            .buffers
            .values_mut()
            .find(|buffer| buffer.kind != BO_DEVICE && buffer.offset == offset);
        if let Some(buffer) = buffer {
            buffer.host = Some(host);
        }
    }

    /// # Safety
    /// `argument` points to what `request` is defined to take.
    pub unsafe fn ioctl(
        &mut self,
        request: c_ulong,
        argument: *mut c_void,
    ) -> Result<c_long, c_int> {
        let number = (request & 0xff) as u32;
        if number == GEM_CLOSE {
            // SAFETY: a handle, then padding.
            return self.close_buffer(unsafe { *argument.cast() });
        }
        let number = number.checked_sub(FIRST_REQUEST).ok_or(libc::ENOTTY)?;
        let count = self.counts.requests.get_mut(number as usize);
        *count.ok_or(libc::ENOTTY)? += 1;
        // SAFETY: as the caller says.
        unsafe {
            match number {
                CREATE_HWCTX => self.create_context(&mut *argument.cast()),
                DESTROY_HWCTX => self.destroy_context(&*argument.cast()),
                CONFIG_HWCTX => match self.faults.strikes(Fault::Configure) {
                    true => Err(libc::EINVAL),
                    false => Ok(0),
                },
                CREATE_BO => self.create_buffer(&mut *argument.cast()),
                GET_BO_INFO => self.buffer_info(&mut *argument.cast()),
                SYNC_BO => self.sync(&*argument.cast()),
                EXEC_CMD => self.execute(&mut *argument.cast()),
                GET_INFO => info(&*argument.cast()),
                WAIT_CMD => self.wait(&*argument.cast()),
                GET_ARRAY => {
                    (*argument.cast::<GetArray>()).elements = 0;
                    Ok(0)
                }
                _ => Err(libc::EOPNOTSUPP),
            }
        }
    }

    fn create_context(&mut self, request: &mut CreateHwctx) -> Result<c_long, c_int> {
        if self.faults.strikes(Fault::Context) {
            return Err(libc::ENOSPC);
        }
        self.end_hung()?;
        request.handle = self.new_handle();
        // Commands are waited for by their numbers.
        request.syncobj = 0;
        request.doorbell = u32::MAX;
        self.contexts.insert(request.handle);
        self.counts.contexts += 1;
        Ok(0)
    }

    fn destroy_context(&mut self, request: &DestroyHwctx) -> Result<c_long, c_int> {
        match self.contexts.remove(&request.handle) {
            true => Ok(0),
            false => Err(libc::EINVAL),
        }
    }

    fn create_buffer(&mut self, request: &mut CreateBo) -> Result<c_long, c_int> {
        if request.user_memory != 0 || !(BO_SHARE..=BO_COMMAND).contains(&request.kind) {
            return Err(libc::EINVAL);
        }
        if request.kind == BO_SHARE && self.faults.strikes(Fault::Buffer) {
            return Err(libc::ENOMEM);
        }
        // The first part of the heap is the image's, the others are the streams'.
        let is_image = request.kind == BO_DEVICE && self.counts.heap_parts == 0;
        if is_image && self.faults.strikes(Fault::Register) {
            return Err(libc::ENOSPC);
        }
        let size = request.size.next_multiple_of(PAGE);
        let mut buffer = Buffer {
            kind: request.kind,
            size: request.size,
            offset: NO_ADDRESS,
            host: None,
            address: NO_ADDRESS,
            device: Vec::new(),
        };
        match request.kind {
            BO_DEVICE => {
                buffer.address = self.room_in_heap(size)?;
                self.counts.heap_parts += 1;
                // The process sees it within the heap that it has mapped.
                let heap = self.buffers.values().find(|buffer| buffer.kind == BO_HEAP);
                let heap = heap.and_then(|heap| heap.host);
                buffer.host = heap.map(|heap| heap + (buffer.address - HEAP_ADDRESS) as usize);
            }
            kind => {
                buffer.offset = self.next_offset;
                self.next_offset += size;
                if kind == BO_HEAP {
                    buffer.address = HEAP_ADDRESS;
                }
            }
        }
        if matches!(request.kind, BO_DEVICE | BO_SHARE) {
            buffer.device = vec![0; request.size as usize];
        }
        request.handle = self.new_handle();
        self.buffers.insert(request.handle, buffer);
        self.counts.buffers += 1;
        Ok(0)
    }

    /// The lowest place in the heap that is free.
    fn room_in_heap(&self, size: u64) -> Result<u64, c_int> {
        let heap = self.buffers.values().find(|buffer| buffer.kind == BO_HEAP);
        let end = HEAP_ADDRESS + heap.ok_or(libc::EINVAL)?.size;
        let mut taken: Vec<(u64, u64)> = self
            .buffers
            .values()
            .filter(|buffer| buffer.kind == BO_DEVICE)
            .map(|buffer| (buffer.address, buffer.size.next_multiple_of(PAGE)))
            .collect();
        taken.sort_unstable();
        let mut address = HEAP_ADDRESS;
        for (start, length) in taken {
            if start - address >= size {
                break;
            }
            address = start + length;
        }
        match address + size <= end {
            true => Ok(address),
            false => Err(libc::EAGAIN),
        }
    }

    fn buffer_info(&self, request: &mut GetBoInfo) -> Result<c_long, c_int> {
        let buffer = self.buffers.get(&request.handle).ok_or(libc::ENOENT)?;
        request.map_offset = buffer.offset;
        request.vaddr = 0;
        request.device_address = buffer.address;
        Ok(0)
    }

    fn close_buffer(&mut self, handle: u32) -> Result<c_long, c_int> {
        self.buffers.remove(&handle).ok_or(libc::EINVAL)?;
        self.counts.closed += 1;
        Ok(0)
    }

    fn sync(&mut self, request: &SyncBo) -> Result<c_long, c_int> {
        let buffer = self.buffers.get_mut(&request.handle).ok_or(libc::ENOENT)?;
        let (offset, size) = (request.offset as usize, request.size as usize);
        let device = match buffer.kind {
            // Commands are read where the process wrote them.
            BO_COMMAND | BO_HEAP => return Ok(0),
            _ => buffer.device.get_mut(offset..offset + size),
        };
        let device = device.ok_or(libc::EINVAL)?;
        let host = (buffer.host.ok_or(libc::EINVAL)? + offset) as *mut u8;
        // SAFETY: the process has mapped the whole buffer there.
        unsafe {
            if request.direction == SYNC_TO_DEVICE {
                host.copy_to_nonoverlapping(device.as_mut_ptr(), size);
            } else {
                host.copy_from_nonoverlapping(device.as_ptr(), size);
            }
        }
        self.counts.synced += request.size;
        Ok(0)
    }

    fn execute(&mut self, request: &mut ExecCmd) -> Result<c_long, c_int> {
        if self.faults.strikes(Fault::Lost) {
            return Err(libc::ENODEV);
        }
        if self.faults.strikes(Fault::Start) {
            return Err(libc::EINVAL);
        }
        if !self.contexts.contains(&request.hwctx) || request.command_count != 1 {
            return Err(libc::EINVAL);
        }
        self.sequence += 1;
        request.sequence = self.sequence;
        self.end_hung()?;
        let handle = request.commands as u32;
        if self.faults.strikes(Fault::Timeout) {
            self.hung = Some(handle);
            return Ok(0);
        }
        if self.faults.strikes(Fault::Error) {
            command::finish(self, handle, State::Error)?;
            return Ok(0);
        }
        let garbage = self.faults.strikes(Fault::Garbage);
        let state = command::run(self, handle, garbage)?;
        self.hung = (state == State::Hangs).then_some(handle);
        command::finish(self, handle, state)?;
        Ok(0)
    }

    fn wait(&self, request: &WaitCmd) -> Result<c_long, c_int> {
        if self.hung.is_none() {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(request.timeout.into()));
        Err(libc::ETIME)
    }

    /// Does as the watchdog of the real driver, which stops a context whose command takes too long.
    fn end_hung(&mut self) -> Result<(), c_int> {
        match self.hung.take() {
            Some(handle) => command::finish(self, handle, State::TimedOut),
            None => Ok(()),
        }
    }

    fn new_handle(&mut self) -> u32 {
        self.next_handle += 1;
        self.next_handle - 1
    }

    pub fn array(&mut self) -> &mut Array {
        self.array.get_or_insert_with(Array::new)
    }

    /// The words of a command, where the process sees them.
    pub fn command(&self, handle: u32) -> Result<*mut u32, c_int> {
        let buffer = self.buffers.get(&handle).ok_or(libc::ENOENT)?;
        let host = buffer.host.filter(|_| buffer.kind == BO_COMMAND);
        Ok(host.ok_or(libc::EINVAL)? as *mut u32)
    }

    /// The NPU's bytes of the instructions at its address `address`.
    pub fn instructions(&self, address: u64, bytes: usize) -> Option<&[u8]> {
        self.buffers
            .values()
            .filter(|buffer| buffer.kind == BO_DEVICE)
            .find_map(|buffer| {
                let start = address.checked_sub(buffer.address)? as usize;
                buffer.device.get(start..start + bytes)
            })
    }

    /// The NPU's bytes from the process's address `host` on, up to the end of its buffer.
    pub fn data(&mut self, host: u64) -> Option<&mut [u8]> {
        let (start, buffer) = self
            .buffers
            .values_mut()
            .filter(|buffer| buffer.kind == BO_SHARE)
            .find_map(|buffer| {
                let range: Range<usize> = buffer.host?..buffer.host? + buffer.size as usize;
                range
                    .contains(&(host as usize))
                    .then(|| (host as usize - range.start, buffer))
            })?;
        Some(&mut buffer.device[start..])
    }

    pub fn report(&self) {
        let left = Left {
            buffers: self.buffers.len(),
            contexts: self.contexts.len(),
            runs: usize::from(self.hung.is_some()),
        };
        self.counts.report(&left);
    }
}

fn info(request: &GetInfo) -> Result<c_long, c_int> {
    let out = request.buffer as *mut u8;
    // SAFETY: the runtime says where the output is, and its size.
    unsafe {
        out.write_bytes(0, request.size as usize);
        if request.param == AIE_METADATA && request.size as usize >= size_of::<AieMetadata>() {
            out.cast::<AieMetadata>().write(ARRAY);
        }
    }
    Ok(0)
}
