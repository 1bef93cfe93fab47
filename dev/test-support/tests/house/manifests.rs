// SPDX-License-Identifier: MPL-2.0
//! What the manifests say, as `cargo metadata` tells.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::source::front_page_lines;

/// Each crate and the crates of the workspace that it may depend on. Those of `dev/` may depend on
/// any, and only tests may depend on them.
const ALLOWED: [(&str, &[&str]); 8] = [
    (
        "whispernpu",
        &["captions", "gst-plugin-whispernpu", "whisper-model"],
    ),
    (
        "gst-plugin-whispernpu",
        &[
            "captions",
            "whisper-engine",
            "whisper-frontend",
            "whisper-model",
            "xdna",
        ],
    ),
    (
        "whisper-engine",
        &[
            "captions",
            "whisper-frontend",
            "whisper-kernels",
            "whisper-model",
            "xdna",
        ],
    ),
    ("whisper-frontend", &["whisper-kernels"]),
    ("whisper-model", &[]),
    ("whisper-kernels", &[]),
    ("xdna", &["whisper-kernels"]),
    ("captions", &[]),
];

/// The packages that may use GStreamer: the plugin with its tests and examples, the command, and
/// three tools.
const GSTREAMER: [&str; 5] = [
    "gst-plugin-whispernpu",
    "whispernpu",
    "evaluate",
    "peers",
    "soak",
];

/// Lines of the front page, at least: of a library with an example, and of a tool.
const LIBRARY_LINES: usize = 12;
const TOOL_LINES: usize = 2;

fn packages() -> Vec<Value> {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(test_support::repository())
        .output()
        .expect("cargo metadata");
    assert!(cargo.status.success(), "{cargo:?}");
    let metadata: Value = serde_json::from_slice(&cargo.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Names of what a package depends on; its tests and build script count only with `all`.
fn dependencies(package: &Value, all: bool) -> Vec<&str> {
    let dependencies = package["dependencies"].as_array().expect("dependencies");
    dependencies
        .iter()
        .filter(|dependency| all || dependency["kind"].is_null())
        .map(|dependency| text(dependency, "name"))
        .collect()
}

#[test]
fn crates_depend_as_the_table_allows() {
    let packages = packages();
    let is_ours = |name: &str| packages.iter().any(|package| text(package, "name") == name);
    for (name, allowed) in ALLOWED {
        let package = packages
            .iter()
            .find(|package| text(package, "name") == name)
            .unwrap_or_else(|| panic!("no crate {name}"));
        for dependency in dependencies(package, false) {
            assert!(
                !is_ours(dependency) || allowed.contains(&dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
    for package in &packages {
        let name = text(package, "name");
        assert!(
            ALLOWED.iter().any(|(known, _)| *known == name)
                || text(package, "manifest_path").contains("/dev/"),
            "{name} is not in the table of crates"
        );
    }
}

#[test]
fn gstreamer_is_used_only_by_plugin_and_tools() {
    let bindings = ["gstreamer", "glib", "gobject", "gio"];
    for package in packages() {
        let name = text(&package, "name");
        if GSTREAMER.contains(&name) {
            continue;
        }
        for dependency in dependencies(&package, true) {
            assert!(
                !bindings
                    .iter()
                    .any(|binding| dependency.starts_with(binding)),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn lints_are_on_in_every_crate() {
    for package in packages() {
        let manifest = Path::new(text(&package, "manifest_path"));
        let source = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let in_manifest = source(manifest)
            .lines()
            .any(|line| line.starts_with("[lints"));
        // The plugin's manifest also covers benches, for which criterion's macros write no docs.
        let library = source(&manifest.with_file_name("src").join("lib.rs"));
        assert!(
            in_manifest || library.contains("#![deny(missing_docs"),
            "{} has no lints: [lints] workspace = true",
            text(&package, "name")
        );
    }
}

#[test]
fn front_pages_introduce_every_crate() {
    for package in packages() {
        for target in package["targets"].as_array().expect("targets") {
            let kinds = target["kind"].as_array().expect("kinds");
            let is = |kind: &str| kinds.iter().any(|have| have == kind);
            let (path, lines) = (text(target, "src_path"), text(&package, "manifest_path"));
            let wanted = match lines.contains("/dev/") {
                false if is("lib") || is("rlib") => LIBRARY_LINES,
                true if is("lib") || is("bin") || is("cdylib") => TOOL_LINES,
                _ => continue,
            };
            let have = front_page_lines(&fs::read_to_string(path).expect("source"));
            assert!(
                have >= wanted,
                "{} has {have} lines of front page (//!), not {wanted}",
                Path::new(path).display()
            );
        }
    }
}
