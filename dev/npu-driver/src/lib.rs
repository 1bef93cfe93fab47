// SPDX-License-Identifier: MPL-2.0
//! A kernel driver for an XDNA2 NPU that is not there, for `scripts/test-npu`.
//!
//! Preloaded into a process, it stands between AMD's unmodified runtime and the kernel: it answers
//! `open`, `stat`, `ioctl`, `mmap` and `close` of the device node `/dev/accel/accel0` as Linux's
//! driver `amdxdna` would, and hands all else on to the kernel. What the runtime submits is
//! computed by the device model (`command`).
//!
//! The NPU has memory of its own for each buffer, which changes hands in `SYNC_BO` only: so a
//! missing sync shows. The runtime makes these calls, instead of flushing cache lines, when its
//! `Debug.force_driver_sync` is set.
//!
//! | environment | |
//! |---|---|
//! | `WHISPERNPU_DRIVER_REPORT` | file that counts are written to, as JSON, when the device is closed |
//! | `WHISPERNPU_DRIVER_FAULTS` | file that says what is to go wrong (`fault`), read when the device is opened |
//!
//! For x86-64, whose calling convention lets functions with a fixed number of arguments stand in
//! for C's variadic ones.

mod array;
mod command;
mod counts;
mod device;
mod fault;
mod uapi;

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use device::Device;

const NODE: &CStr = c"/dev/accel/accel0";

static DEVICE: Mutex<Option<Device>> = Mutex::new(None);
/// The device's file while it is open: calls for other files take no lock, since the model's own
/// threads make some.
static FILE: AtomicI32 = AtomicI32::new(-1);

/// Runs `work` on the device if `fd` is its file, else hands the call on to the kernel.
fn on_device(
    fd: c_int,
    work: impl FnOnce(&mut Device) -> Result<c_long, c_int>,
    kernel: impl FnOnce() -> c_long,
) -> c_long {
    if FILE.load(Relaxed) != fd {
        return kernel();
    }
    let mut guard = lock();
    let Some(device) = guard.as_mut().filter(|device| device.fd() == fd) else {
        drop(guard);
        return kernel();
    };
    // A panic must not reach C: it shows as an error that no driver gives, with its text on
    // standard error.
    let done =
        catch_unwind(AssertUnwindSafe(|| work(device))).unwrap_or(Err(libc::ENOTRECOVERABLE));
    done.unwrap_or_else(failed)
}

fn lock() -> MutexGuard<'static, Option<Device>> {
    DEVICE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn failed(code: c_int) -> c_long {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() = code };
    -1
}

/// A process that ends while a thread of it still gives the device back waits for that a while,
/// before the runtime's own statics go: the report is to tell what is given back, not which thread
/// was faster.
extern "C" fn await_close() {
    let deadline = Instant::now() + Duration::from_secs(10);
    while FILE.load(Relaxed) != -1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: a C string, says the caller.
    if !path.is_null() && unsafe { CStr::from_ptr(path) } == NODE {
        // Reads a file, which comes here too: before the lock.
        let opened = match Device::open() {
            Ok(opened) => opened,
            Err(code) => return failed(code) as c_int,
        };
        let mut device = lock();
        if device.is_some() {
            // The runtime opens it once for all of a process.
            return failed(libc::EBUSY) as c_int;
        }
        FILE.store(opened.fd(), Relaxed);
        // SAFETY: the function takes nothing, and stays as long as the process.
        unsafe { libc::atexit(await_close) };
        return device.insert(opened).fd();
    }
    // SAFETY: the caller's own arguments.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { open(path, flags, mode) }
}

/// The runtime looks whether the node exists: it is like any device.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stat(path: *const c_char, out: *mut libc::stat) -> c_int {
    // SAFETY: a C string, says the caller.
    let ours = !path.is_null() && unsafe { CStr::from_ptr(path) } == NODE;
    let path = if ours { c"/dev/null".as_ptr() } else { path };
    // SAFETY: the caller's own arguments.
    unsafe { libc::syscall(libc::SYS_newfstatat, libc::AT_FDCWD, path, out, 0) as c_int }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stat64(path: *const c_char, out: *mut libc::stat) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { stat(path, out) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    let ours = FILE.load(Relaxed) == fd;
    let closed = ours.then(|| lock().take()).flatten();
    if let Some(device) = closed {
        device.report();
    }
    if ours {
        FILE.store(-1, Relaxed);
    }
    // SAFETY: the caller's own argument.
    unsafe { libc::syscall(libc::SYS_close, fd) as c_int }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    let kernel = || {
        // SAFETY: the caller's own arguments.
        unsafe { libc::syscall(libc::SYS_ioctl, fd, request, argument) }
    };
    // SAFETY: the runtime passes what the request is defined to take.
    on_device(
        fd,
        |device| unsafe { device.ioctl(request, argument) },
        kernel,
    ) as c_int
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    let map = |flags: c_int| {
        // SAFETY: the caller's own arguments; memory need not be locked for this device.
        unsafe {
            libc::syscall(
                libc::SYS_mmap,
                address,
                length,
                protection,
                flags,
                fd,
                offset,
            )
        }
    };
    on_device(
        fd,
        |device| {
            device.may_map()?;
            let mapped = map(flags & !libc::MAP_LOCKED);
            if mapped != -1 {
                device.mapped(offset as u64, mapped as usize);
            }
            Ok(mapped)
        },
        || map(flags),
    ) as *mut c_void
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    // SAFETY: the caller's own arguments.
    unsafe { mmap(address, length, protection, flags, fd, offset) }
}
