// SPDX-License-Identifier: MPL-2.0
//! Matrix products on an AMD XDNA2 NPU.

use std::path::PathBuf;

use device::{NpuDevice, NpuError};
use xrt::{SearchPaths, XrtDevice};

pub mod arithmetic;
pub mod bfp16;
pub mod contract;
pub mod device;
#[cfg(any(test, feature = "simulator"))]
pub mod emulation;
pub mod shim;
#[cfg(any(test, feature = "simulator"))]
pub mod simulator;
pub mod streams;
pub mod txn;
pub mod weights;
pub mod xrt;

/// Set to [`EMULATION`], the simulator takes the place of the NPU, in builds that have it (feature `simulator`): for
/// tests and for measuring accuracy.
pub const VARIABLE: &str = "WHISPERNPU_NPU";
pub const EMULATION: &str = "emulation";

/// Whether the environment asks for the simulator.
fn is_simulator_wanted() -> bool {
    cfg!(any(test, feature = "simulator"))
        && std::env::var(VARIABLE).is_ok_and(|wanted| wanted == EMULATION)
}

/// The NPU that there is, or why there is none. `data_directories` may hold the overlay.
pub fn open(data_directories: &[PathBuf]) -> Result<Box<dyn NpuDevice>, NpuError> {
    #[cfg(any(test, feature = "simulator"))]
    if is_simulator_wanted() {
        let device =
            simulator::Emulation::new().map_err(|error| NpuError::NoDevice(error.to_string()))?;
        return Ok(Box::new(device));
    }
    Ok(Box::new(XrtDevice::open(&SearchPaths::from_environment(
        data_directories,
    ))?))
}

/// Whether there is hardware that [`open`] can try, which takes no time to see.
pub fn look() -> Result<(), NpuError> {
    if is_simulator_wanted() {
        return Ok(());
    }
    SearchPaths::from_environment(&[]).hardware().map(drop)
}
