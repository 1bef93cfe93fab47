// SPDX-License-Identifier: MPL-2.0
//! An emulated kernel driver for an XDNA2 NPU, for `scripts/test-npu`.
//!
//! Preloaded into a process, it stands between AMD's unmodified runtime and the kernel. It answers
//! `open`, `stat`, `ioctl`, `mmap` and `close` of the device node `/dev/accel/accel0` as Linux's
//! driver `amdxdna` would, and passes all other calls on to the kernel. The simulator of the crate
//! `xdna` computes the commands that the runtime submits.
//!
//! Each buffer exists twice, for the process and for the NPU, and bytes move between the two in
//! `SYNC_BO` only: so a missing sync shows. The runtime makes these calls, instead of flushing cache
//! lines, if its setting `Debug.force_driver_sync` is on.
//!
//! | environment | |
//! |---|---|
//! | `WHISPERNPU_DRIVER_REPORT` | file for counts, as JSON, written when the device is closed |
//! | `WHISPERNPU_DRIVER_FAULTS` | file that lists faults (`fault`), read when the device is opened |
//!
//! | module | role |
//! |---|---|
//! | `device` | buffers, contexts, and all requests |
//! | `command` | the packets that XRT submits |
//! | `array` | the simulator on the driver's memory |
//! | `fault`, `counts`, `uapi` | planned faults, the report, the structures of requests |
//!
//! For x86-64, whose calling convention lets functions with a fixed number of arguments stand in for
//! C's variadic ones.

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
/// The device's file while it is open. Calls for other files take no lock, as the simulator's
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

/// Waits at the end of the process, before the runtime's statics go, for a thread that still gives
/// the device back. Without it the report would depend on which thread is faster.
extern "C" fn await_close() {
    let deadline = Instant::now() + Duration::from_secs(10);
    while FILE.load(Relaxed) != -1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Stands in for the C library's `open`.
///
/// # Safety
///
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

/// Stands in for the C library's `open64`.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { open(path, flags, mode) }
}

/// Stands in for the C library's `stat`, by which the runtime checks that the node exists. The node
/// looks like `/dev/null`.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stat(path: *const c_char, out: *mut libc::stat) -> c_int {
    // SAFETY: a C string, says the caller.
    let ours = !path.is_null() && unsafe { CStr::from_ptr(path) } == NODE;
    let path = if ours { c"/dev/null".as_ptr() } else { path };
    // SAFETY: the caller's own arguments.
    unsafe { libc::syscall(libc::SYS_newfstatat, libc::AT_FDCWD, path, out, 0) as c_int }
}

/// Stands in for the C library's `stat64`.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stat64(path: *const c_char, out: *mut libc::stat) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { stat(path, out) }
}

/// Stands in for the C library's `close`.
///
/// # Safety
///
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

/// Stands in for the C library's `ioctl`.
///
/// # Safety
///
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

/// Stands in for the C library's `mmap`.
///
/// # Safety
///
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

/// Stands in for the C library's `mmap64`.
///
/// # Safety
///
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
