// SPDX-License-Identifier: MPL-2.0
//! `scripts/fetch-model`, against a mirror that is a directory.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn fetch(mirror: &Path, models: &Path, arguments: &[&str]) -> Output {
    Command::new(test_support::repository().join("scripts/fetch-model"))
        .args(["--dir", models.to_str().unwrap()])
        .args(arguments)
        .env("HF_ENDPOINT", format!("file://{}", mirror.display()))
        // No package index: the mirror is the only source.
        .env("PIP_NO_INDEX", "1")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A mirror with something under the name tiny.en and small.en.
fn mirror(root: &Path) {
    for name in ["tiny.en", "small.en"] {
        let repository = root.join(format!("Systran/faster-whisper-{name}/resolve/main"));
        fs::create_dir_all(&repository).unwrap();
        for file in [
            "config.json",
            "tokenizer.json",
            "vocabulary.txt",
            "model.bin",
        ] {
            fs::write(repository.join(file), format!("{name} {file}")).unwrap();
        }
    }
}

#[test]
fn a_model_without_known_sums_is_fetched_on_request() {
    let root = tempfile::tempdir().unwrap();
    let models = root.path().join("models");
    mirror(root.path());

    let refused = fetch(root.path(), &models, &["small.en"]);
    assert!(
        !refused.status.success() && said(&refused).contains("--unpinned"),
        "{}",
        said(&refused)
    );
    assert!(entries(&models).is_empty());

    let fetched = fetch(root.path(), &models, &["--unpinned", "small.en"]);
    assert!(fetched.status.success(), "{}", said(&fetched));
    assert_eq!(entries(&models), ["small.en"], "nothing else stays behind");
    assert_eq!(
        fs::read_to_string(models.join("small.en/model.bin")).unwrap(),
        "small.en model.bin"
    );

    let again = fetch(root.path(), &models, &["small.en"]);
    assert!(
        again.status.success() && said(&again).contains("already there"),
        "{}",
        said(&again)
    );

    fs::write(models.join("small.en/model.bin"), "spoilt").unwrap();
    let spoilt = fetch(root.path(), &models, &["small.en"]);
    assert!(
        !spoilt.status.success() && said(&spoilt).contains("damaged"),
        "{}",
        said(&spoilt)
    );
}

#[test]
fn files_with_other_sums_never_become_a_model() {
    let root = tempfile::tempdir().unwrap();
    let models = root.path().join("models");
    mirror(root.path());
    let refused = fetch(root.path(), &models, &["tiny.en"]);
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("config.json is not the one that is known"),
        "{}",
        said(&refused)
    );
    assert!(!models.join("tiny.en").exists());
}

#[test]
fn names_that_are_no_model_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for name in ["nonsense", "../tiny.en", ""] {
        let refused = fetch(root.path(), &root.path().join("models"), &[name]);
        assert!(
            !refused.status.success() && said(&refused).contains("--list"),
            "{name}: {}",
            said(&refused)
        );
    }
}
