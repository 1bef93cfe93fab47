// SPDX-License-Identifier: MPL-2.0
//! From failures of the bridge to [`NpuError`], in words that say what to do.

use std::time::Duration;

use libc::{EACCES, EAGAIN, EBUSY, ECANCELED, EIO, ENODEV, ENOENT, ENOMEM, ENOSPC, ENXIO, EPERM};

use super::bridge::{COMMAND_ERROR, Failure, TIMEOUT};
use crate::device::NpuError;

/// The operation that failed.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Open,
    /// Reading the xclbin.
    Overlay,
    Register,
    Context,
    /// Number of bytes.
    Allocate(usize),
    Sync,
    Start,
    /// Limit.
    Wait(Duration),
}

/// What helps an NPU that does not come back by itself.
const WEDGED: &str =
    "if that goes on: sudo modprobe -r amdxdna && sudo modprobe amdxdna, or reboot";

/// Memory that the driver maps and locks for instructions when the device is opened, in bytes.
const HEAP: u64 = 64 << 20;

/// The error for users of `failure`, which `step` came to.
pub fn explain(step: Step, failure: Failure) -> NpuError {
    let Failure { status, code, text } = failure;
    match (step, code) {
        (Step::Wait(limit), _) if status == TIMEOUT => NpuError::Timeout {
            limit,
            reason: format!("{text}{}{WEDGED}", if text.is_empty() { "" } else { "; " }),
        },
        _ if status == COMMAND_ERROR => NpuError::Failed(text),
        (Step::Open | Step::Allocate(_), EAGAIN | ENOMEM | EPERM) => no_memory(step, &text),
        (Step::Open, EACCES) => NpuError::NoPermission(format!(
            "its device node belongs to the group render: sudo usermod -aG render $USER, then log in again ({text})"
        )),
        (Step::Open, ENODEV) => NpuError::NoDevice(format!(
            "the driver cannot share memory with it. Is the IOMMU on, in the firmware's setup (AMD-Vi) and in the \
             kernel's parameters (no iommu=off, amd_iommu=off)? `sudo dmesg | grep -i -e SVA -e amdxdna` says more ({text})"
        )),
        (Step::Open, _) => NpuError::NoDevice(text),
        (Step::Overlay, _) => NpuError::NoOverlay(text),
        // Making a context takes the overlay's image to the device too, whose refusal has the same
        // codes.
        (Step::Context, ENOSPC | EAGAIN | ENOMEM) if text.contains("CREATE_BO") => {
            NpuError::Refused(format!(
                "there is no room for the overlay's image in the memory that the NPU has its instructions in ({text})"
            ))
        }
        (Step::Context, EBUSY | ENOSPC | EAGAIN) => NpuError::Refused(format!(
            "all of its hardware contexts are taken by other programs ({text})"
        )),
        (Step::Register | Step::Context, _) => NpuError::Refused(text),
        (Step::Allocate(_), _) => NpuError::NoMemory(text),
        (_, ENODEV | EIO | ENXIO | ENOENT | ECANCELED) => NpuError::ContextLost(text),
        (Step::Sync | Step::Start | Step::Wait(_), _) => NpuError::Failed(text),
    }
}

/// Memory was refused: for want of the right to lock it, if that is limited.
fn no_memory(step: Step, text: &str) -> NpuError {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let need = match step {
        Step::Allocate(bytes) => HEAP + bytes as u64,
        _ => HEAP,
    };
    match locked_memory(&limits) {
        Some(limit) => NpuError::Memlock(format!(
            "this process may lock {} MiB and needs more than {}: put \"@render - memlock unlimited\" into \
             /etc/security/limits.d/npu.conf and log in again, or for a service set LimitMEMLOCK=infinity ({text})",
            limit >> 20,
            need >> 20
        )),
        None => NpuError::NoMemory(text.to_owned()),
    }
}

/// The soft limit in `/proc/self/limits`, in bytes. `None` if there is none.
fn locked_memory(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::c_int;

    use super::*;

    fn failure(status: c_int, code: c_int) -> Failure {
        Failure {
            status,
            code,
            text: "what XRT says".into(),
        }
    }

    #[test]
    fn locked_memory_reads_the_soft_limit() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max locked memory         8388608              16777216             bytes\n";
        assert_eq!(locked_memory(limits), Some(8 << 20));
        assert_eq!(
            locked_memory("Max locked memory  unlimited unlimited bytes"),
            None
        );
        assert_eq!(locked_memory(""), None);
    }

    #[test]
    fn explain_names_the_group_for_the_device_node() {
        let error = explain(Step::Open, failure(1, EACCES)).to_string();
        assert!(error.contains("group render"), "{error}");
        assert!(error.contains("what XRT says"), "{error}");
    }

    #[test]
    fn explain_names_the_iommu_and_what_helps_a_wedged_npu() {
        let error = explain(Step::Open, failure(1, ENODEV)).to_string();
        assert!(error.contains("IOMMU"), "{error}");
        let limit = Duration::from_millis(30);
        let error = explain(Step::Wait(limit), failure(TIMEOUT, 0)).to_string();
        assert!(error.contains("says; if that goes on"), "{error}");
        assert!(error.contains("modprobe -r amdxdna"), "{error}");
    }

    #[test]
    fn explain_tells_images_from_contexts() {
        let says = |text: &str| {
            let failure = Failure {
                text: text.into(),
                ..failure(1, ENOSPC)
            };
            explain(Step::Context, failure).to_string()
        };
        // XRT 2.25's own words.
        let image =
            says("DRM_IOCTL_AMDXDNA_CREATE_BO IOCTL failed (err=-28): No space left on device");
        assert!(image.contains("no room for the overlay's image"), "{image}");
        let context =
            says("DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err=-28): No space left on device");
        assert!(context.contains("taken by other programs"), "{context}");
    }

    #[test]
    fn explain_reads_status_before_step() {
        let limit = Duration::from_millis(30);
        assert!(matches!(
            explain(Step::Wait(limit), failure(TIMEOUT, 0)),
            NpuError::Timeout { limit: said, .. } if said == limit
        ));
        assert!(matches!(
            explain(Step::Wait(limit), failure(COMMAND_ERROR, 0)),
            NpuError::Failed(_)
        ));
        assert!(matches!(
            explain(Step::Start, failure(1, ENODEV)),
            NpuError::ContextLost(_)
        ));
    }
}
