// SPDX-License-Identifier: MPL-2.0
//! What a file of an overlay says of itself, read before anything of it runs.
//!
//! An xclbin ("axlf", XRT's `xclbin.h`) is a header, a table of sections, and the sections. One of
//! these is XML that names the kernels and their arguments.

use std::fs::File;
use std::io::Read;
use std::path::Path;

const MAGIC: &[u8] = b"xclbin2\0";
/// Where the header has the number of sections and the file's identity.
const SECTION_COUNT: usize = 448;
const UUID: usize = 416;
/// The table of sections: kind, name, offset, size.
const SECTIONS: usize = 456;
const SECTION_BYTES: usize = 40;
const SECTION_OFFSET: usize = 24;
const SECTION_SIZE: usize = 32;
/// Kind of the section that names the kernels.
const EMBEDDED_METADATA: u64 = 2;
/// Larger than any overlay.
const MOST_BYTES: u64 = 64 << 20;

/// The kernel that mlir-aie makes, which the contract names too.
const KERNEL: &str = "MLIR_AIE";
/// Its arguments: those that the contract uses. There may be more.
const ARGUMENTS: [&str; 6] = ["opcode", "instr", "ninstr", "bo0", "bo1", "bo2"];

/// The identity of the overlay in `path`, if it has the contract's kernel.
///
/// # Errors
///
/// What the file is instead.
pub fn identify(path: &Path) -> Result<String, String> {
    let bytes = read(path)?;
    let Some(xml) = metadata(&bytes) else {
        return Err("it is no xclbin".into());
    };
    let (kernel, arguments) = first_kernel(&xml).ok_or("it has no kernel")?;
    if kernel != KERNEL {
        return Err(format!(
            "it is an xclbin of another kind: its kernel is {kernel}, not {KERNEL}"
        ));
    }
    if !arguments.starts_with(&ARGUMENTS) {
        return Err(format!(
            "it is an xclbin of another kind: its kernel takes {}, not {}",
            arguments.join(", "),
            ARGUMENTS.join(", ")
        ));
    }
    let uuid = &bytes[UUID..UUID + 16];
    Ok(uuid.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The content of a regular file: opening something else may block for ever.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let kind = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !kind.is_file() {
        return Err("it is not a regular file".into());
    }
    if kind.len() > MOST_BYTES {
        return Err(format!("it has {} MiB, no overlay has", kind.len() >> 20));
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The XML of an xclbin.
fn metadata(bytes: &[u8]) -> Option<String> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let number = |at: usize, size: usize| {
        let bytes = bytes.get(at..at + size)?;
        let digits = bytes.iter().rev();
        Some(digits.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let table =
        (0..number(SECTION_COUNT, 4)?.min(64)).map(|i| SECTIONS + i as usize * SECTION_BYTES);
    let mut sections = table.filter(|at| number(*at, 4) == Some(EMBEDDED_METADATA));
    let at = sections.next()?;
    let first = usize::try_from(number(at + SECTION_OFFSET, 8)?).ok()?;
    let size = usize::try_from(number(at + SECTION_SIZE, 8)?).ok()?;
    let xml = bytes.get(first..first.checked_add(size)?)?;
    Some(String::from_utf8_lossy(xml).into_owned())
}

/// The first kernel's name, and those of its arguments in turn.
fn first_kernel(xml: &str) -> Option<(&str, Vec<&str>)> {
    let (_, kernel) = xml.split_once("<kernel ")?;
    let kernel = kernel.split("</kernel>").next()?;
    let mut tags = kernel.split("<arg ");
    let arguments = tags.clone().skip(1).filter_map(name);
    Some((name(tags.next()?)?, arguments.collect()))
}

/// The attribute `name` of a tag.
fn name(tag: &str) -> Option<&str> {
    let (_, rest) = tag.split_once("name=\"")?;
    rest.split_once('"').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An xclbin of one section.
    fn xclbin(xml: &str) -> Vec<u8> {
        let mut bytes = vec![0; SECTIONS + SECTION_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[UUID] = 0xab;
        bytes[SECTION_COUNT] = 1;
        bytes[SECTIONS] = EMBEDDED_METADATA as u8;
        let (offset, size) = (bytes.len() as u64, xml.len() as u64);
        bytes[SECTIONS + SECTION_OFFSET..][..8].copy_from_slice(&offset.to_le_bytes());
        bytes[SECTIONS + SECTION_SIZE..][..8].copy_from_slice(&size.to_le_bytes());
        bytes.extend(xml.as_bytes());
        bytes
    }

    fn xml(kernel: &str, arguments: &[&str]) -> String {
        let arguments = arguments
            .iter()
            .map(|name| format!("<arg name=\"{name}\" id=\"0\"/>"));
        format!(
            "<core><kernel name=\"{kernel}\" language=\"c\">{}<instance name=\"X\"/></kernel></core>",
            arguments.collect::<String>()
        )
    }

    fn identified(bytes: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        identify(file.path())
    }

    #[test]
    fn identify_takes_the_contracts_kernel() {
        let all = ["opcode", "instr", "ninstr", "bo0", "bo1", "bo2", "bo3"];
        let good = xclbin(&xml(KERNEL, &all));
        assert!(identified(&good).unwrap().starts_with("ab00"));
    }

    #[test]
    fn identify_names_what_a_file_is_instead() {
        let says = |bytes: &[u8], what: &str| {
            let error = identified(bytes).unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        says(b"", "no xclbin");
        says(b"no xclbin", "no xclbin");
        says(&xclbin(""), "no kernel");
        says(&xclbin(&xml("DPU_PDI_0", &ARGUMENTS)), "DPU_PDI_0");
        says(&xclbin(&xml(KERNEL, &ARGUMENTS[..5])), "bo1, not");
        let good = xclbin(&xml(KERNEL, &ARGUMENTS));
        for end in 0..good.len() {
            assert!(identified(&good[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn identify_never_waits_for_a_pipe() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("overlay.xclbin");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert!(identify(&pipe).unwrap_err().contains("regular"));
        assert!(identify(directory.path()).unwrap_err().contains("regular"));
        assert!(identify(&directory.path().join("none")).is_err());
    }
}
