// SPDX-License-Identifier: MPL-2.0
//! Where the NPU, the bridge and the overlay are.

use std::fs;
use std::path::{Path, PathBuf};

use super::XrtDevice;
use super::bridge::Bridge;
use super::overlay::identify;
use crate::device::{DeviceOpener, NpuDevice, NpuError};

const AMD: u32 = 0x1022;
/// PCI device of XDNA2: Strix Point, Strix Halo, Krackan Point.
const XDNA2: u32 = 0x17f0;
/// PCI device of XDNA: Phoenix, Hawk Point.
const XDNA1: u32 = 0x1502;

/// Where to search. As a [`DeviceOpener`] it opens an [`XrtDevice`].
#[derive(Clone, Debug)]
pub struct SearchPaths {
    /// Linux's directory of accelerators.
    pub accelerators: PathBuf,
    /// Linux's directory of PCI devices.
    pub pci: PathBuf,
    /// Files of the bridge to XRT, tried in turn. The dynamic loader searches for those without
    /// `/`.
    pub bridges: Vec<PathBuf>,
    /// Files of the overlay. The first that exists is used.
    pub overlays: Vec<PathBuf>,
}

/// An NPU.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hardware {
    /// PCI address, `0000:c5:00.1`.
    pub address: String,
}

impl SearchPaths {
    /// Linux's accelerators, with these bridges and overlays.
    pub fn new(bridges: Vec<PathBuf>, overlays: Vec<PathBuf>) -> Self {
        Self {
            accelerators: "/sys/class/accel".into(),
            pci: "/sys/bus/pci/devices".into(),
            bridges,
            overlays,
        }
    }

    /// The first NPU of the right generation. Reads a few small files of sysfs.
    ///
    /// # Errors
    ///
    /// What there is instead.
    pub(super) fn hardware(&self) -> Result<Hardware, NpuError> {
        let mut other = None;
        for entry in entries(&self.accelerators) {
            let device = entry.join("device");
            if id(&device, "vendor") != Some(AMD) {
                continue;
            }
            let address = fs::canonicalize(&device)
                .ok()
                .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            match (id(&device, "device"), address) {
                (Some(XDNA2), Some(address)) => return Ok(Hardware { address }),
                (generation, _) => other = other.or(generation),
            }
        }
        Err(match other {
            Some(XDNA1) => NpuError::WrongGeneration(
                "it is a first XDNA (Phoenix, Hawk Point), the overlay needs XDNA2 (Strix, Krackan)".into(),
            ),
            Some(generation) => NpuError::WrongGeneration(format!(
                "its PCI device is {generation:#06x}, XDNA2 is {XDNA2:#06x}"
            )),
            None => NpuError::NoDevice(self.without_accelerator()),
        })
    }

    /// Why no accelerator shows: none is there, or no driver serves it.
    fn without_accelerator(&self) -> String {
        let xdna2 = |device: &PathBuf| {
            id(device, "vendor") == Some(AMD) && id(device, "device") == Some(XDNA2)
        };
        match entries(&self.pci).find(xdna2) {
            None => "there is no accelerator of AMD's here. It needs a Ryzen AI processor with XDNA2 and Linux 6.14 or \
                     newer with the driver amdxdna"
                .into(),
            Some(device) => format!(
                "there is an XDNA2 at {}, but no driver serves it. See `sudo dmesg | grep amdxdna`: nothing means that \
                 the driver amdxdna is not loaded (Linux 6.14 or newer; {} runs); \"Incompatible firmware protocol\" \
                 that the firmware is newer than the kernel, which Linux 7.0 or newer mends",
                device.file_name().unwrap_or_default().display(),
                fs::read_to_string("/proc/sys/kernel/osrelease")
                    .unwrap_or_default()
                    .trim()
            ),
        }
    }

    pub(super) fn load_bridge(&self) -> Result<&'static Bridge, NpuError> {
        let mut problems = Vec::new();
        for path in &self.bridges {
            match Bridge::load(path) {
                Ok(bridge) => return Ok(bridge),
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        let said = problems.join("; ");
        Err(NpuError::NoRuntime(if said.contains("libxrt") {
            format!("XRT is not installed, or not found (Debian: libxrt2, libxrt-npu2): {said}")
        } else {
            format!("the bridge to it is not installed, docs/npu.md tells how to build it: {said}")
        }))
    }

    /// The overlay that is used.
    pub(super) fn overlay(&self) -> Result<PathBuf, NpuError> {
        if let Some(path) = self.overlays.iter().find(|path| path.exists()) {
            let refused = |why| NpuError::NoOverlay(format!("{}: {why}", path.display()));
            return identify(path).map(|_| path.clone()).map_err(refused);
        }
        let looked: Vec<_> = self
            .overlays
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Err(NpuError::NoOverlay(format!(
            "it is not installed: scripts/fetch-overlay takes it from where it is published (looked for {})",
            looked.join(", ")
        )))
    }
}

/// What a directory of sysfs has.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// A hexadecimal number that a PCI device shows.
fn id(device: &Path, name: &str) -> Option<u32> {
    let text = fs::read_to_string(device.join(name)).ok()?;
    u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

impl DeviceOpener for SearchPaths {
    fn probe(&self) -> Result<(), NpuError> {
        self.hardware().map(drop)
    }

    fn open(&self) -> Result<Box<dyn NpuDevice>, NpuError> {
        Ok(Box::new(XrtDevice::open(self)?))
    }
}

/// The file that this code was loaded from: a program, or a shared object beside which others lie.
pub fn own_file() -> Option<PathBuf> {
    let here = own_file as *const () as usize;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, _) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let holds = (number(start)?..number(end)?).contains(&here);
        let path = &line[line.find('/')?..];
        holds.then(|| Path::new(path).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    use super::*;

    /// A directory of accelerators with one of this PCI vendor and device.
    fn accelerators(vendor: &str, device: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("directory");
        let pci = root.path().join("pci/0000:c5:00.1");
        fs::create_dir_all(&pci).expect("directory");
        fs::write(pci.join("vendor"), vendor).expect("file");
        fs::write(pci.join("device"), device).expect("file");
        let accel = root.path().join("accel/accel0");
        fs::create_dir_all(&accel).expect("directory");
        symlink(&pci, accel.join("device")).expect("link");
        root
    }

    fn paths(root: &Path) -> SearchPaths {
        SearchPaths {
            accelerators: root.join("accel"),
            pci: root.join("pci"),
            bridges: vec![root.join("bridge.so")],
            overlays: vec![
                root.join("a").join("overlay.xclbin"),
                root.join("b").join("overlay.xclbin"),
            ],
        }
    }

    #[test]
    fn hardware_is_an_xdna2_and_nothing_else() {
        let root = accelerators("0x1022\n", "0x17f0\n");
        let hardware = paths(root.path()).hardware().expect("hardware");
        assert_eq!(hardware.address, "0000:c5:00.1");
        let root = accelerators("0x1022", "0x1502");
        let error = paths(root.path())
            .hardware()
            .expect_err("the first generation");
        assert!(error.to_string().contains("Phoenix"), "{error}");
        let root = accelerators("0x1022", "0x1234");
        let error = paths(root.path()).hardware().expect_err("an unknown one");
        assert!(error.to_string().contains("0x1234"), "{error}");
        let root = accelerators("0x8086", "0x7d1d");
        let error = paths(root.path()).hardware().expect_err("another maker's");
        assert!(matches!(error, NpuError::NoDevice(_)), "{error}");
        let error = paths(Path::new("/nonexistent"))
            .hardware()
            .expect_err("none at all");
        assert!(error.to_string().contains("6.14"), "{error}");
        // A processor with an NPU that no driver serves.
        let root = accelerators("0x1022", "0x17f0");
        fs::remove_dir_all(root.path().join("accel")).expect("directory");
        let error = paths(root.path()).hardware().expect_err("no driver");
        let error = error.to_string();
        assert!(error.contains("0000:c5:00.1"), "{error}");
        assert!(error.contains("firmware protocol"), "{error}");
    }

    #[test]
    fn open_without_hardware_fails_at_once() {
        let began = Instant::now();
        let paths = paths(Path::new("/nonexistent"));
        let error = paths.open().err().expect("no hardware");
        assert!(matches!(error, NpuError::NoDevice(_)), "{error}");
        assert_eq!(paths.probe(), Err(error));
        assert!(began.elapsed() < Duration::from_millis(100));
    }

    #[test]
    fn search_names_what_is_missing() {
        let root = tempfile::tempdir().expect("directory");
        let paths = paths(root.path());
        let error = paths.load_bridge().err().expect("no bridge").to_string();
        assert!(error.contains("docs/npu.md"), "{error}");
        // A library that is there and is not ours: the C library itself.
        let maps = fs::read_to_string("/proc/self/maps").expect("maps");
        let libc = maps
            .split_whitespace()
            .find(|word| word.contains("/libc.so"))
            .expect("libc");
        let foreign = SearchPaths {
            bridges: vec![libc.into()],
            ..paths
        };
        let error = foreign.load_bridge().err().expect("foreign").to_string();
        assert!(error.contains("wnpu_abi"), "{error}");
        let error = foreign.overlay().expect_err("no overlay").to_string();
        assert!(
            error.contains("overlay.xclbin") && error.contains("scripts/fetch-overlay"),
            "{error}"
        );
        let second = root.path().join("b");
        fs::create_dir(&second).expect("directory");
        fs::write(second.join("overlay.xclbin"), "").expect("file");
        let error = foreign.overlay().expect_err("an empty file").to_string();
        assert!(
            error.contains("b/overlay.xclbin") && error.contains("no xclbin"),
            "{error}"
        );
    }

    #[test]
    fn own_file_is_the_test_program() {
        assert_eq!(own_file(), std::env::current_exe().ok());
    }
}
