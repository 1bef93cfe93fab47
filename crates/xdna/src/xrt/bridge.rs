// SPDX-License-Identifier: MPL-2.0
//! The functions of the bridge, as `kernels/xrt/whispernpu-xrt.h` declares them, found at run time.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use libloading::Library;

/// Version of the declarations that this module was written for.
const ABI: u32 = 1;

pub const OK: c_int = 0;
pub const TIMEOUT: c_int = 2;
pub const COMMAND_ERROR: c_int = 3;

pub const INSTRUCTIONS: c_int = 0;
pub const DATA: c_int = 1;

pub const TO_DEVICE: c_int = 0;
pub const FROM_DEVICE: c_int = 1;

/// Types whose contents only the bridge knows.
macro_rules! opaque {
    ($($name:ident)*) => {
        $(#[repr(C)]
        pub struct $name {
            _contents: [u8; 0],
        })*
    };
}

opaque! { RawDevice RawXclbin RawContext RawKernel RawBuffer RawBatch }

/// A table of functions, each found by its C name.
macro_rules! functions {
    ($($name:ident = $symbol:literal: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        pub struct Bridge {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Bridge {
            fn resolve(library: &Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    // SAFETY: the type is what the header declares for this name, and the caller
                    // checks that the library was built from the same declarations before it calls
                    // anything else.
                    $($name: *unsafe { library.get($symbol) }?,)*
                })
            }
        }
    };
}

functions! {
    abi = b"wnpu_abi": fn() -> u32;
    error_text = b"wnpu_error_text": fn() -> *const c_char;
    error_code = b"wnpu_error_code": fn() -> c_int;
    xrt_version = b"wnpu_xrt_version": fn(*mut u32, *mut u32) -> c_int;
    device_count = b"wnpu_device_count": fn(*mut u32) -> c_int;
    device_open = b"wnpu_device_open": fn(u32, *mut *mut RawDevice) -> c_int;
    device_name = b"wnpu_device_name": fn(*mut RawDevice, *mut c_char, usize) -> c_int;
    device_bdf = b"wnpu_device_bdf": fn(*mut RawDevice, *mut c_char, usize) -> c_int;
    device_close = b"wnpu_device_close": fn(*mut RawDevice);
    xclbin_open = b"wnpu_xclbin_open": fn(*const c_char, *mut *mut RawXclbin) -> c_int;
    xclbin_kernel = b"wnpu_xclbin_kernel": fn(*mut RawXclbin, *mut c_char, usize) -> c_int;
    xclbin_register = b"wnpu_xclbin_register": fn(*mut RawXclbin, *mut RawDevice) -> c_int;
    xclbin_close = b"wnpu_xclbin_close": fn(*mut RawXclbin);
    context_open = b"wnpu_context_open": fn(*mut RawDevice, *mut RawXclbin, *mut *mut RawContext) -> c_int;
    context_close = b"wnpu_context_close": fn(*mut RawContext);
    kernel_open = b"wnpu_kernel_open": fn(*mut RawContext, *const c_char, *mut *mut RawKernel) -> c_int;
    kernel_close = b"wnpu_kernel_close": fn(*mut RawKernel);
    buffer_alloc = b"wnpu_buffer_alloc": fn(*mut RawDevice, *mut RawKernel, c_int, usize, *mut *mut RawBuffer) -> c_int;
    buffer_slice = b"wnpu_buffer_slice": fn(*mut RawBuffer, usize, usize, *mut *mut RawBuffer) -> c_int;
    buffer_map = b"wnpu_buffer_map": fn(*mut RawBuffer, *mut *mut c_void) -> c_int;
    buffer_sync = b"wnpu_buffer_sync": fn(*mut RawBuffer, c_int, usize, usize) -> c_int;
    buffer_free = b"wnpu_buffer_free": fn(*mut RawBuffer);
    batch_new = b"wnpu_batch_new": fn(*mut RawContext, *mut *mut RawBatch) -> c_int;
    batch_add = b"wnpu_batch_add": fn(*mut RawBatch, *mut RawKernel, *mut RawBuffer, u32, *const *mut RawBuffer, usize) -> c_int;
    batch_start = b"wnpu_batch_start": fn(*mut RawBatch) -> c_int;
    batch_wait = b"wnpu_batch_wait": fn(*mut RawBatch, u32) -> c_int;
    batch_free = b"wnpu_batch_free": fn(*mut RawBatch);
}

/// A call of the bridge that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the call returned.
    pub status: c_int,
    /// errno, or 0.
    pub code: c_int,
    /// What XRT says.
    pub text: String,
}

/// Why the bridge cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// What the dynamic loader says.
    #[error("{0}")]
    Loader(String),
    #[error("{} is of version {found}, this needs {ABI}", path.display())]
    Version { path: PathBuf, found: u32 },
}

impl From<libloading::Error> for LoadError {
    fn from(error: libloading::Error) -> Self {
        // The error alone does not tell what the loader said.
        Self::Loader(match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    }
}

/// Bridges that are loaded. They stay: XRT has threads and statics that do not outlive their code.
static LOADED: LazyLock<Mutex<HashMap<PathBuf, &'static Bridge>>> = LazyLock::new(Mutex::default);

impl Bridge {
    /// The bridge in the file `path`, which the dynamic loader searches for if it has no `/`.
    pub fn load(path: &Path) -> Result<&'static Self, LoadError> {
        let mut loaded = LOADED
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(bridge) = loaded.get(path) {
            return Ok(bridge);
        }
        // SAFETY: loading runs the initialisers of the bridge and of XRT, which have no
        // preconditions.
        let library = unsafe { Library::new(path) }?;
        let bridge = Self::resolve(&library)?;
        // SAFETY: this function has had this type in every version.
        let abi = unsafe { (bridge.abi)() };
        if abi != ABI {
            return Err(LoadError::Version {
                path: path.to_owned(),
                found: abi,
            });
        }
        std::mem::forget(library);
        let bridge = Box::leak(Box::new(bridge));
        loaded.insert(path.to_owned(), bridge);
        Ok(bridge)
    }

    /// The result of a call on this thread that returned `status`.
    pub fn check(&self, status: c_int) -> Result<(), Failure> {
        if status == OK {
            return Ok(());
        }
        // SAFETY: the text is a C string that stays until the next failure on this thread.
        let text = unsafe { CStr::from_ptr((self.error_text)()) };
        Err(Failure {
            status,
            // XRT's plug-in sometimes throws an errno as the kernel returns it, negative.
            // SAFETY: the function takes nothing.
            code: unsafe { (self.error_code)() }.abs(),
            text: text.to_string_lossy().into_owned(),
        })
    }

    /// Text that `write` puts into a buffer of the given size, as a C string.
    pub fn text(&self, write: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<String, Failure> {
        let mut text = [0u8; 256];
        self.check(write(text.as_mut_ptr().cast(), text.len()))?;
        Ok(CStr::from_bytes_until_nul(&text)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned())
    }
}
