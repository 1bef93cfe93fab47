// SPDX-License-Identifier: MPL-2.0
//! Where the NPU, the shim and the overlay are.

use std::fs;
use std::path::{Path, PathBuf};

use super::shim::Shim;
use crate::device::NpuError;

/// File name of the shim.
const SHIM: &str = "libwhispernpu-xrt.so";
/// File name of the overlay.
const OVERLAY: &str = "whispernpu.xclbin";

const AMD: u32 = 0x1022;
/// PCI device of XDNA2: Strix Point, Strix Halo, Krackan Point.
const XDNA2: u32 = 0x17f0;
/// PCI device of XDNA: Phoenix, Hawk Point.
const XDNA1: u32 = 0x1502;

/// Where to look.
pub struct SearchPaths {
    /// Linux's directory of accelerators.
    pub accelerators: PathBuf,
    /// Files of the shim, tried in turn.
    pub shims: Vec<PathBuf>,
    /// Files of the overlay, of which the first that exists is taken.
    pub overlays: Vec<PathBuf>,
}

/// The NPU that is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Hardware {
    /// PCI address, `0000:c5:00.1`.
    pub address: String,
}

impl SearchPaths {
    /// `$WHISPERNPU_XRT_SHIM` and `$WHISPERNPU_XCLBIN` if they are set. Else the shim is looked for in `whispernpu/`
    /// beside the plugin's directory, then by the dynamic loader; the overlay in `whispernpu/` below the XDG
    /// `data_directories`, XDG's, which include `~/.local/share` and `/usr/share`.
    pub fn from_environment(data_directories: &[PathBuf]) -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(|value| vec![PathBuf::from(value)])
        };
        Self {
            accelerators: "/sys/class/accel".into(),
            shims: variable("WHISPERNPU_XRT_SHIM").unwrap_or_else(|| {
                let beside = own_file()
                    .and_then(|file| Some(file.parent()?.parent()?.join("whispernpu").join(SHIM)));
                beside
                    .into_iter()
                    .filter(|path| path.exists())
                    .chain([PathBuf::from(SHIM)])
                    .collect()
            }),
            overlays: variable("WHISPERNPU_XCLBIN").unwrap_or_else(|| {
                data_directories
                    .iter()
                    .map(|data| data.join("whispernpu").join(OVERLAY))
                    .collect()
            }),
        }
    }

    /// The first NPU of the right generation. Reads a few small files: without one, this is all that happens.
    pub fn hardware(&self) -> Result<Hardware, NpuError> {
        let mut other = None;
        for entry in fs::read_dir(&self.accelerators)
            .into_iter()
            .flatten()
            .flatten()
        {
            let device = entry.path().join("device");
            let id = |name: &str| {
                let text = fs::read_to_string(device.join(name)).ok()?;
                u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
            };
            if id("vendor") != Some(AMD) {
                continue;
            }
            let address = fs::canonicalize(&device)
                .ok()
                .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            match (id("device"), address) {
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
            None => NpuError::NoDevice(
                "there is no accelerator of AMD's here. It needs a Ryzen AI processor with XDNA2 and Linux 6.14 or \
                 newer with the driver amdxdna"
                    .into(),
            ),
        })
    }

    pub fn load_shim(&self) -> Result<&'static Shim, NpuError> {
        let mut problems = Vec::new();
        for path in &self.shims {
            match Shim::load(path) {
                Ok(shim) => return Ok(shim),
                Err(problem) => problems.push(problem),
            }
        }
        let said = problems.join("; ");
        Err(NpuError::NoRuntime(if said.contains("libxrt") {
            format!("XRT is not installed, or not found (Debian: libxrt2, libxrt-npu2): {said}")
        } else {
            format!(
                "the plugin's shim for it is not installed, docs/npu.md tells how to build it: {said}"
            )
        }))
    }

    pub fn overlay(&self) -> Result<PathBuf, NpuError> {
        let found = self.overlays.iter().find(|path| path.exists());
        found.cloned().ok_or_else(|| {
            let looked: Vec<_> = self
                .overlays
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            NpuError::NoOverlay(format!(
                "{OVERLAY} is not there, docs/npu.md tells how to build it (looked for {})",
                looked.join(", ")
            ))
        })
    }
}

/// The file that this code was loaded from.
fn own_file() -> Option<PathBuf> {
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

    fn places(root: &Path) -> SearchPaths {
        SearchPaths {
            accelerators: root.join("accel"),
            shims: vec![root.join(SHIM)],
            overlays: vec![root.join("a").join(OVERLAY), root.join("b").join(OVERLAY)],
        }
    }

    #[test]
    fn an_xdna2_is_found_and_others_are_named() {
        let root = accelerators("0x1022\n", "0x17f0\n");
        let hardware = places(root.path()).hardware().expect("hardware");
        assert_eq!(hardware.address, "0000:c5:00.1");
        let root = accelerators("0x1022", "0x1502");
        let error = places(root.path())
            .hardware()
            .expect_err("the first generation");
        assert!(error.to_string().contains("Phoenix"), "{error}");
        let root = accelerators("0x1022", "0x1234");
        let error = places(root.path()).hardware().expect_err("an unknown one");
        assert!(error.to_string().contains("0x1234"), "{error}");
        let root = accelerators("0x8086", "0x7d1d");
        let error = places(root.path()).hardware().expect_err("another maker's");
        assert!(matches!(error, NpuError::NoDevice(_)), "{error}");
        let error = places(Path::new("/nonexistent"))
            .hardware()
            .expect_err("none at all");
        assert!(error.to_string().contains("6.14"), "{error}");
    }

    #[test]
    fn a_missing_shim_a_foreign_one_and_a_missing_overlay_are_told_apart() {
        let root = tempfile::tempdir().expect("directory");
        let places = places(root.path());
        let error = places.load_shim().err().expect("no shim").to_string();
        assert!(error.contains("docs/npu.md"), "{error}");
        // A library that is there and is not ours: the C library itself.
        let maps = fs::read_to_string("/proc/self/maps").expect("maps");
        let libc = maps
            .split_whitespace()
            .find(|word| word.contains("/libc.so"))
            .expect("libc");
        let foreign = SearchPaths {
            shims: vec![libc.into()],
            ..places
        };
        let error = foreign.load_shim().err().expect("foreign").to_string();
        assert!(error.contains("wnpu_abi"), "{error}");
        let error = foreign.overlay().expect_err("no overlay").to_string();
        assert!(
            error.contains(OVERLAY) && error.contains("docs/npu.md"),
            "{error}"
        );
        let second = root.path().join("b");
        fs::create_dir(&second).expect("directory");
        fs::write(second.join(OVERLAY), "").expect("file");
        assert_eq!(foreign.overlay().expect("overlay"), second.join(OVERLAY));
    }

    #[test]
    fn the_file_of_this_code_is_known() {
        assert_eq!(own_file(), std::env::current_exe().ok());
    }
}
