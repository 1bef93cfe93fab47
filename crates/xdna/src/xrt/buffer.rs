// SPDX-License-Identifier: MPL-2.0
//! Memory that host and NPU share.

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use super::bridge::{self, RawBuffer, RawDevice, RawKernel};
use super::explain::{Step, explain};
use super::handle::Handle;
use super::misuse;
use crate::device::{NpuBuffer, NpuError};

/// Bytes of a block that instruction streams are cut from. A stream has a few thousand.
const BLOCK: usize = 256 << 10;
/// Alignment of each stream: a page, as if it had been allocated alone.
const ALIGNMENT: usize = 4096;

/// One of XRT's buffers, or a part of one.
pub struct XrtBuffer {
    /// Before the parent, so that it is dropped first.
    handle: Handle<RawBuffer>,
    memory: NonNull<u8>,
    bytes: usize,
    /// The block that this is a part of, which owns the memory.
    _parent: Option<Arc<Block>>,
}

// SAFETY: the memory belongs to this buffer alone; XRT lets several threads sync a buffer, and the
// rest of the handle is used by the device only.
unsafe impl Send for XrtBuffer {}
// SAFETY: as above.
unsafe impl Sync for XrtBuffer {}

impl XrtBuffer {
    /// A buffer of zeros, in pages of this process.
    pub fn data(
        device: &Handle<RawDevice>,
        kernel: &Handle<RawKernel>,
        bytes: usize,
    ) -> Result<Self, NpuError> {
        let handle = Handle::<RawBuffer>::allocate(device, kernel, bridge::DATA, bytes)
            .map_err(|failure| explain(Step::Allocate(bytes), failure))?;
        Self::mapped(handle, bytes, None)
    }

    fn mapped(
        handle: Handle<RawBuffer>,
        bytes: usize,
        parent: Option<Arc<Block>>,
    ) -> Result<Self, NpuError> {
        let memory = handle
            .map()
            .map_err(|failure| explain(Step::Allocate(bytes), failure))?;
        let mut buffer = Self {
            handle,
            memory,
            bytes,
            _parent: parent,
        };
        buffer.bytes_mut().fill(0);
        buffer.sync_to_device(0..bytes)?;
        Ok(buffer)
    }

    /// The concrete type of a buffer that an XRT device made.
    pub fn downcast(buffer: &dyn NpuBuffer) -> Result<&Self, NpuError> {
        buffer
            .as_any()
            .downcast_ref()
            .ok_or_else(|| misuse("a buffer of another device"))
    }

    pub fn handle(&self) -> &Handle<RawBuffer> {
        &self.handle
    }

    fn sync(&self, direction: std::ffi::c_int, range: Range<usize>) -> Result<(), NpuError> {
        if range.start > range.end || range.end > self.bytes {
            return Err(misuse("a sync outside of its buffer"));
        }
        if range.is_empty() {
            return Ok(());
        }
        self.handle
            .sync(direction, range)
            .map_err(|failure| explain(Step::Sync, failure))
    }
}

impl NpuBuffer for XrtBuffer {
    fn bytes(&self) -> &[u8] {
        // SAFETY: XRT maps `bytes` of initialised memory at `memory` until the handle is freed.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and parts of one block do not overlap.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.bytes) }
    }

    fn sync_to_device(&self, range: Range<usize>) -> Result<(), NpuError> {
        self.sync(bridge::TO_DEVICE, range)
    }

    fn sync_from_device(&mut self, range: Range<usize>) -> Result<(), NpuError> {
        self.sync(bridge::FROM_DEVICE, range)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A buffer that others are cut from.
struct Block {
    handle: Handle<RawBuffer>,
    bytes: usize,
}

// SAFETY: only cut into parts, by the one arena that it belongs to.
unsafe impl Sync for Block {}

/// Cuts instruction buffers from blocks of the device heap. A network has dozens of streams: as
/// buffers they would be dozens of the driver's objects, as parts they are one or two.
#[derive(Default)]
pub struct Arena {
    block: Option<Arc<Block>>,
    used: usize,
}

impl Arena {
    /// A buffer of zeros, in the device heap.
    pub fn allocate(
        &mut self,
        device: &Handle<RawDevice>,
        kernel: &Handle<RawKernel>,
        bytes: usize,
    ) -> Result<XrtBuffer, NpuError> {
        let failed = |failure| explain(Step::Allocate(bytes), failure);
        let block = match &self.block {
            Some(block) if self.used + bytes <= block.bytes => block.clone(),
            _ => {
                let size = bytes.next_multiple_of(ALIGNMENT).max(BLOCK);
                let handle =
                    Handle::<RawBuffer>::allocate(device, kernel, bridge::INSTRUCTIONS, size)
                        .map_err(failed)?;
                let block = Arc::new(Block {
                    handle,
                    bytes: size,
                });
                self.block = Some(block.clone());
                self.used = 0;
                block
            }
        };
        let start = self.used;
        let handle = block.handle.slice(start..start + bytes).map_err(failed)?;
        self.used = (start + bytes).next_multiple_of(ALIGNMENT);
        XrtBuffer::mapped(handle, bytes, Some(block))
    }
}
