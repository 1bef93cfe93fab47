// SPDX-License-Identifier: MPL-2.0
//! Memory that host and NPU share.

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use super::handle::Handle;
use super::misuse;
use super::reason::{Step, explain};
use super::shim::{self, RawBuffer, RawDevice, RawKernel};
use crate::device::{NpuBuffer, NpuError};

/// A block that instruction streams are cut from, in bytes. A stream has a few thousand.
const BLOCK: usize = 256 << 10;
/// What every stream begins at a multiple of: a page, as if it had been allocated alone.
const ALIGNMENT: usize = 4096;

/// One of XRT's buffers, or a part of one.
pub struct XrtBuffer {
    /// Before the parent, so that it is dropped first.
    handle: Handle<RawBuffer>,
    memory: NonNull<u8>,
    bytes: usize,
    /// What this is a part of: its memory is gone with it.
    _parent: Option<Arc<Block>>,
}

// SAFETY: the memory belongs to this buffer alone; XRT lets several threads sync a buffer, and the rest of the handle
// is used by the device only.
unsafe impl Send for XrtBuffer {}
// SAFETY: as above.
unsafe impl Sync for XrtBuffer {}

impl XrtBuffer {
    /// Zeros, in pages of this process.
    pub fn data(
        device: &Handle<RawDevice>,
        kernel: &Handle<RawKernel>,
        bytes: usize,
    ) -> Result<Self, NpuError> {
        let handle = Handle::<RawBuffer>::allocate(device, kernel, shim::DATA, bytes)
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

    /// Our own type of a buffer that this device made.
    pub fn of(buffer: &dyn NpuBuffer) -> Result<&Self, NpuError> {
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
        self.sync(shim::TO_DEVICE, range)
    }

    fn sync_from_device(&mut self, range: Range<usize>) -> Result<(), NpuError> {
        self.sync(shim::FROM_DEVICE, range)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A buffer that others are parts of.
struct Block {
    handle: Handle<RawBuffer>,
    bytes: usize,
}

// SAFETY: only cut into parts, by the one arena that it belongs to.
unsafe impl Sync for Block {}

/// Hands out instruction buffers from the device heap. The driver hands out each of its own as a buffer object, of which
/// a model's streams would need dozens; this needs one or two.
#[derive(Default)]
pub struct Arena {
    block: Option<Arc<Block>>,
    used: usize,
}

impl Arena {
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
                    Handle::<RawBuffer>::allocate(device, kernel, shim::INSTRUCTIONS, size)
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
