// SPDX-License-Identifier: MPL-2.0
//! What the shipped plugin is built of.

use std::process::Command;

/// The output of `cargo tree` for the plugin, without its tests.
fn tree(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--package", env!("CARGO_PKG_NAME")])
        .args(["--edges", "normal,build,features"])
        .args(arguments)
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn shipped_plugin_has_no_simulator() {
    let simulator = r#"xdna feature "simulator""#;
    assert!(!tree(&[]).contains(simulator));
    assert!(tree(&["--features", "simulator"]).contains(simulator));
}

#[test]
fn shipped_plugin_has_no_reference() {
    assert!(!tree(&[]).contains("whisper-reference"));
}
