// SPDX-License-Identifier: MPL-2.0
//! What the machine has, as far as files tell.

use std::fs;
use std::path::Path;

use whisper_engine::encoder::npu::search_paths;
use xdna::xrt::identify_overlay;

/// Prints it, a line each, with what is missing.
pub fn report() {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    say(
        "processor",
        cpu.map(|cpu| cpu.trim_start_matches([' ', '\t', ':']).into()),
    );
    say("kernel", text("/proc/sys/kernel/osrelease"));
    say("driver amdxdna", text("/sys/module/amdxdna/version"));
    let accelerators = fs::read_dir("/sys/class/accel")
        .into_iter()
        .flatten()
        .flatten();
    for accelerator in accelerators {
        let device = accelerator.path().join("device");
        let part = |name| text(device.join(name)).unwrap_or_else(|| "?".into());
        println!(
            "{}: {}, PCI {}:{} revision {}, firmware {}",
            accelerator.file_name().display(),
            part("vbnv"),
            part("vendor"),
            part("device"),
            part("revision"),
            part("fw_version")
        );
        let node = Path::new("/dev/accel").join(accelerator.file_name());
        let opened = fs::File::options().read(true).write(true).open(&node);
        let opened = opened.map(drop).map_err(|error| error.to_string());
        say(
            &node.display().to_string(),
            Some(opened.map_or_else(|why| why, |()| "may be opened".into())),
        );
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let memlock = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"));
    let memlock = memlock.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    say("locked memory, soft and hard limit", memlock);
    let iommus = fs::read_dir("/sys/class/iommu")
        .into_iter()
        .flatten()
        .count();
    say("IOMMUs", Some(iommus.to_string()));
    let paths = search_paths();
    println!("bridge to XRT: {:?}", paths.bridges);
    let overlay = paths.overlays.iter().find(|path| path.exists());
    let overlay = overlay.map(|path| {
        let bytes = fs::metadata(path).map_or(0, |file| file.len());
        let identity = identify_overlay(path).map_or_else(|why| why, |uuid| format!("UUID {uuid}"));
        format!("{}, {bytes} bytes, {identity}", path.display())
    });
    say("overlay", overlay);
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().into())
}

fn say(what: &str, found: Option<String>) {
    println!("{what}: {}", found.as_deref().unwrap_or("none"));
}
