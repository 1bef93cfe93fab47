// SPDX-License-Identifier: MPL-2.0
//! How tests are named and ignored, and what no file may hold.

use std::fs;

use crate::source::{all_rust_files, code, name};

/// Letters of a test's name, at most.
const LONGEST_NAME: usize = 56;
/// How the reason of every `#[ignore]` begins: `scripts/test` reads what a test needs.
const REASONS: [&str; 2] = ["needs ", "takes minutes"];

/// Every function under `#[test]`, with its file.
fn tests() -> Vec<(String, String)> {
    let mut tests = Vec::new();
    for path in all_rust_files() {
        let source = fs::read_to_string(&path).expect("source");
        for after in source.split("#[test]\n").skip(1) {
            let function = after.split("fn ").nth(1).unwrap_or_default();
            let function = function.split('(').next().unwrap_or_default();
            tests.push((name(&path), function.to_owned()));
        }
    }
    tests
}

#[test]
fn test_names_are_short() {
    let mut tests = tests();
    tests.retain(|(_, test)| test.len() > LONGEST_NAME);
    assert!(tests.is_empty(), "{tests:#?}");
}

#[test]
fn ignored_tests_give_a_known_reason() {
    for path in all_rust_files() {
        let source = fs::read_to_string(&path).expect("source");
        for line in source.lines().map(str::trim) {
            let Some(reason) = line.strip_prefix("#[ignore") else {
                continue;
            };
            let reason = reason.trim_start_matches(" = \"");
            assert!(
                REASONS.iter().any(|known| reason.starts_with(known)),
                "{}: {line} gives none of the reasons {REASONS:?}",
                name(&path)
            );
        }
    }
}

#[test]
fn tests_do_not_pass_by_returning_early() {
    let root = test_support::repository();
    for path in all_rust_files() {
        let source = fs::read_to_string(&path).expect("source");
        let is_test = name(&path).contains("tests") || source.contains("#[test]");
        let is_house = path.starts_with(root.join("dev/test-support/tests/house"));
        if is_test && !is_house {
            assert!(!source.contains("skipped:"), "{} skips", name(&path));
        }
    }
}

#[test]
fn boxes_of_any_are_absent() {
    for path in all_rust_files() {
        let code = code(&fs::read_to_string(&path).expect("source"));
        assert!(
            !code.contains("Box<dyn Any"),
            "{} uses Box<dyn Any>",
            name(&path)
        );
    }
}
