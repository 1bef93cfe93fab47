// SPDX-License-Identifier: MPL-2.0
//! What the shipped plugin is built of.

use std::process::Command;

/// The output of `cargo tree` for the plugin, without its tests.
fn tree(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--package", env!("CARGO_PKG_NAME")])
        .args(["--edges", "normal,build", "--format", "{p} {f}"])
        .args(arguments)
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Whether the tree has a crate with the feature `simulator`.
fn has_simulator(tree: &str) -> bool {
    let features = |line: &str| line.rsplit(' ').next().unwrap_or_default().to_owned();
    tree.lines()
        .filter(|line| line.contains(" xdna "))
        .any(|line| features(line).split(',').any(|name| name == "simulator"))
}

#[test]
fn shipped_plugin_has_no_simulator() {
    assert!(!has_simulator(&tree(&[])));
    assert!(has_simulator(&tree(&["--features", "simulator"])));
}

#[test]
fn shipped_plugin_has_no_reference() {
    assert!(!tree(&[]).contains("whisper-reference"));
}
