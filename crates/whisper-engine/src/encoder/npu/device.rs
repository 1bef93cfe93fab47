// SPDX-License-Identifier: MPL-2.0
//! Which device the encoder opens if the caller does not bring one.

use std::path::PathBuf;
use std::sync::Arc;

use whisper_model::data_directories;
use xdna::DeviceOpener;
use xdna::xrt::{SearchPaths, own_file};

/// File name of the bridge to XRT.
const BRIDGE: &str = "libwhispernpu-xrt.so";
/// File name of the overlay.
const OVERLAY: &str = "whispernpu.xclbin";

/// The NPU that AMD's runtime drives, searched for by [`search_paths`].
///
/// In builds with the feature `simulator`, `WHISPERNPU_NPU=emulation` in the environment puts the
/// simulator in its place.
pub fn default_opener() -> Arc<dyn DeviceOpener> {
    #[cfg(feature = "simulator")]
    if std::env::var_os("WHISPERNPU_NPU").is_some_and(|device| device == "emulation") {
        return Arc::new(xdna::simulator::Simulator);
    }
    Arc::new(search_paths())
}

/// Where the bridge to XRT and the overlay are: `$WHISPERNPU_XRT_SHIM` and `$WHISPERNPU_XCLBIN` if
/// they are set.
///
/// Otherwise the bridge is searched for in `whispernpu/` beside the directory of this code's file,
/// then by the dynamic loader; the overlay in `whispernpu/` below the XDG data directories, which
/// include `~/.local/share` and `/usr/share`.
pub fn search_paths() -> SearchPaths {
    SearchPaths::new(
        variable("WHISPERNPU_XRT_SHIM").unwrap_or_else(bridges),
        variable("WHISPERNPU_XCLBIN").unwrap_or_else(overlays),
    )
}

fn variable(name: &str) -> Option<Vec<PathBuf>> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    Some(vec![value.into()])
}

fn bridges() -> Vec<PathBuf> {
    let beside = own_file().and_then(|file| {
        let directory = file.parent()?.parent()?;
        Some(directory.join("whispernpu").join(BRIDGE))
    });
    beside
        .into_iter()
        .filter(|path| path.exists())
        .chain([PathBuf::from(BRIDGE)])
        .collect()
}

fn overlays() -> Vec<PathBuf> {
    let directories = data_directories();
    let paths = directories
        .iter()
        .map(|data| data.join("whispernpu").join(OVERLAY));
    paths.collect()
}
