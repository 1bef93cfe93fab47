// SPDX-License-Identifier: MPL-2.0
//! Handles of the bridge, released when they are dropped.

use std::ffi::{CString, c_int};
use std::ops::Range;
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use super::bridge::{
    Bridge, Failure, RawBatch, RawBuffer, RawContext, RawDevice, RawKernel, RawXclbin,
};

/// A handle of the bridge.
pub struct Handle<T> {
    pub bridge: &'static Bridge,
    raw: NonNull<T>,
    release: unsafe extern "C" fn(*mut T),
}

// SAFETY: the bridge's handles are not bound to a thread.
unsafe impl<T> Send for Handle<T> {}

impl<T> Handle<T> {
    /// Takes what `make` writes to its argument.
    fn new(
        bridge: &'static Bridge,
        release: unsafe extern "C" fn(*mut T),
        make: impl FnOnce(*mut *mut T) -> c_int,
    ) -> Result<Self, Failure> {
        let mut raw = std::ptr::null_mut();
        bridge.check(make(&mut raw))?;
        let raw = NonNull::new(raw).ok_or_else(|| Failure {
            status: -1,
            code: 0,
            text: "no handle".into(),
        })?;
        Ok(Self {
            bridge,
            raw,
            release,
        })
    }

    fn raw(&self) -> *mut T {
        self.raw.as_ptr()
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: the handle came from the bridge, and only this drop releases it.
        unsafe { (self.release)(self.raw()) }
    }
}

// In all calls below the handles are alive, as `self` and the arguments are, and outputs are
// locals.

impl Handle<RawDevice> {
    pub fn open(bridge: &'static Bridge, index: u32) -> Result<Self, Failure> {
        // SAFETY: see above.
        Self::new(bridge, bridge.device_close, |out| unsafe {
            (bridge.device_open)(index, out)
        })
    }

    pub fn name(&self) -> Result<String, Failure> {
        // SAFETY: see above; the text is cut to `size`.
        self.bridge
            .text(|text, size| unsafe { (self.bridge.device_name)(self.raw(), text, size) })
    }

    /// PCI address, `0000:c5:00.1`.
    pub fn address(&self) -> Result<String, Failure> {
        // SAFETY: see above; the text is cut to `size`.
        self.bridge
            .text(|text, size| unsafe { (self.bridge.device_bdf)(self.raw(), text, size) })
    }
}

impl Handle<RawXclbin> {
    pub fn open(bridge: &'static Bridge, path: &Path) -> Result<Self, Failure> {
        let path = c_string(path.as_os_str().as_encoded_bytes())?;
        // SAFETY: see above; the path is a C string.
        Self::new(bridge, bridge.xclbin_close, |out| unsafe {
            (bridge.xclbin_open)(path.as_ptr(), out)
        })
    }

    /// Name of its first kernel.
    pub fn kernel(&self) -> Result<String, Failure> {
        // SAFETY: see above; the text is cut to `size`.
        self.bridge
            .text(|text, size| unsafe { (self.bridge.xclbin_kernel)(self.raw(), text, size) })
    }

    pub fn register(&self, device: &Handle<RawDevice>) -> Result<(), Failure> {
        // SAFETY: see above.
        self.bridge
            .check(unsafe { (self.bridge.xclbin_register)(self.raw(), device.raw()) })
    }
}

impl Handle<RawContext> {
    pub fn open(device: &Handle<RawDevice>, xclbin: &Handle<RawXclbin>) -> Result<Self, Failure> {
        let bridge = device.bridge;
        // SAFETY: see above.
        Self::new(bridge, bridge.context_close, |out| unsafe {
            (bridge.context_open)(device.raw(), xclbin.raw(), out)
        })
    }
}

impl Handle<RawKernel> {
    pub fn open(context: &Handle<RawContext>, name: &str) -> Result<Self, Failure> {
        let bridge = context.bridge;
        let name = c_string(name.as_bytes())?;
        // SAFETY: see above; the name is a C string.
        Self::new(bridge, bridge.kernel_close, |out| unsafe {
            (bridge.kernel_open)(context.raw(), name.as_ptr(), out)
        })
    }
}

impl Handle<RawBuffer> {
    /// `kind` is one of [`bridge::INSTRUCTIONS`] and [`bridge::DATA`].
    pub fn allocate(
        device: &Handle<RawDevice>,
        kernel: &Handle<RawKernel>,
        kind: c_int,
        bytes: usize,
    ) -> Result<Self, Failure> {
        let bridge = device.bridge;
        // SAFETY: see above.
        Self::new(bridge, bridge.buffer_free, |out| unsafe {
            (bridge.buffer_alloc)(device.raw(), kernel.raw(), kind, bytes, out)
        })
    }

    /// Part of this buffer, which must outlive it.
    pub fn slice(&self, range: Range<usize>) -> Result<Self, Failure> {
        let bridge = self.bridge;
        // SAFETY: see above.
        Self::new(bridge, bridge.buffer_free, |out| unsafe {
            (bridge.buffer_slice)(self.raw(), range.start, range.len(), out)
        })
    }

    /// Where the host sees the buffer, as long as it lives.
    pub fn map(&self) -> Result<NonNull<u8>, Failure> {
        let mut memory = std::ptr::null_mut();
        // SAFETY: see above.
        let status = unsafe { (self.bridge.buffer_map)(self.raw(), &mut memory) };
        self.bridge.check(status)?;
        NonNull::new(memory.cast()).ok_or_else(|| Failure {
            status: -1,
            code: 0,
            text: "the buffer cannot be mapped".into(),
        })
    }

    /// `direction` is one of [`bridge::TO_DEVICE`] and [`bridge::FROM_DEVICE`].
    pub fn sync(&self, direction: c_int, range: Range<usize>) -> Result<(), Failure> {
        // SAFETY: see above; the caller has checked the range.
        self.bridge.check(unsafe {
            (self.bridge.buffer_sync)(self.raw(), direction, range.start, range.len())
        })
    }
}

impl Handle<RawBatch> {
    pub fn new_in(context: &Handle<RawContext>) -> Result<Self, Failure> {
        let bridge = context.bridge;
        // SAFETY: see above.
        Self::new(bridge, bridge.batch_free, |out| unsafe {
            (bridge.batch_new)(context.raw(), out)
        })
    }

    pub fn add(
        &self,
        kernel: &Handle<RawKernel>,
        instructions: &Handle<RawBuffer>,
        words: u32,
        data: &[&Handle<RawBuffer>],
    ) -> Result<(), Failure> {
        let data: Vec<*mut RawBuffer> = data.iter().map(|buffer| buffer.raw()).collect();
        // SAFETY: see above; `data` holds as many handles as are said.
        self.bridge.check(unsafe {
            (self.bridge.batch_add)(
                self.raw(),
                kernel.raw(),
                instructions.raw(),
                words,
                data.as_ptr(),
                data.len(),
            )
        })
    }

    pub fn start(&self) -> Result<(), Failure> {
        // SAFETY: see above.
        self.bridge
            .check(unsafe { (self.bridge.batch_start)(self.raw()) })
    }

    /// At least a millisecond, since none would mean without a limit.
    pub fn wait(&self, limit: Duration) -> Result<(), Failure> {
        let milliseconds = limit.as_millis().clamp(1, u32::MAX.into()) as u32;
        // SAFETY: see above.
        self.bridge
            .check(unsafe { (self.bridge.batch_wait)(self.raw(), milliseconds) })
    }
}

/// Version of the XRT that `bridge` is loaded with: major, minor.
pub fn xrt_version(bridge: &'static Bridge) -> Result<(u32, u32), Failure> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes to the two numbers.
    bridge.check(unsafe { (bridge.xrt_version)(&mut major, &mut minor) })?;
    Ok((major, minor))
}

/// Devices that XRT finds.
pub fn device_count(bridge: &'static Bridge) -> Result<u32, Failure> {
    let mut count = 0;
    // SAFETY: writes to the number.
    bridge.check(unsafe { (bridge.device_count)(&mut count) })?;
    Ok(count)
}

fn c_string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|error| Failure {
        status: -1,
        code: 0,
        text: error.to_string(),
    })
}
