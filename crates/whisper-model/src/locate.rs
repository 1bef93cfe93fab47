// SPDX-License-Identifier: MPL-2.0
//! From a model's name to its place on disk.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::ModelError;

/// Where models are looked for, in this order.
pub(super) struct SearchPaths {
    /// Directories that hold models under their names.
    pub models: Vec<PathBuf>,
    /// The Hugging Face cache (its `hub` directory).
    pub hub: Option<PathBuf>,
}

impl SearchPaths {
    /// As the XDG base directory specification and `huggingface_hub` read the environment.
    pub fn from_environment() -> Self {
        let hub = variable("HF_HUB_CACHE")
            .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
            .or_else(|| below_home(".cache/huggingface/hub"));
        SearchPaths {
            models: data_directories()
                .into_iter()
                .map(|data| data.join("whispernpu/models"))
                .collect(),
            hub,
        }
    }
}

/// Directories of data files, the user's own first, as the XDG base directory specification reads the environment.
pub fn data_directories() -> Vec<PathBuf> {
    let mut data: Vec<PathBuf> = variable("XDG_DATA_HOME")
        .or_else(|| below_home(".local/share"))
        .into_iter()
        .collect();
    let shared = variable("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share:/usr/share".into());
    data.extend(env::split_paths(&shared));
    // The specification has relative paths ignored.
    data.retain(|path| path.is_absolute());
    data
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn below_home(path: &str) -> Option<PathBuf> {
    env::home_dir()
        .filter(|home| home.is_absolute())
        .map(|home| home.join(path))
}

pub(super) fn find(spec: &str, places: &SearchPaths) -> Result<PathBuf, ModelError> {
    let as_path = Path::new(spec);
    if spec.contains('/') {
        return match as_path.exists() {
            true => Ok(as_path.to_owned()),
            false => Err(ModelError::Io {
                path: as_path.to_owned(),
                source: std::io::ErrorKind::NotFound.into(),
            }),
        };
    }
    if is_name(spec)
        && let Some(path) = candidates(spec, places)
            .into_iter()
            .find(|path| is_model(path))
    {
        return Ok(path);
    }
    if is_model(as_path) {
        return Ok(as_path.to_owned());
    }
    let mut looked = places.models.clone();
    looked.extend(places.hub.clone());
    looked.push(PathBuf::from("."));
    Err(ModelError::NotFound {
        spec: spec.to_owned(),
        looked,
    })
}

fn is_name(spec: &str) -> bool {
    !spec.is_empty() && !spec.starts_with('.') && !spec.contains('\0')
}

/// Other names under which the same model is published.
fn names(spec: &str) -> Vec<&str> {
    match spec {
        "turbo" | "large-v3-turbo" => vec!["large-v3-turbo", "turbo"],
        "large" | "large-v3" => vec!["large-v3", "large"],
        _ => vec![spec],
    }
}

fn candidates(spec: &str, places: &SearchPaths) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for models in &places.models {
        for name in names(spec) {
            let files = [
                name.to_owned(),
                format!("{name}.bin"),
                format!("ggml-{name}.bin"),
            ];
            paths.extend(files.map(|file| models.join(file)));
        }
    }
    if let Some(hub) = &places.hub {
        for name in names(spec) {
            let repositories = [
                "openai--whisper",
                "Systran--faster-whisper",
                "mobiuslabsgmbh--faster-whisper",
            ]
            .map(|repository| hub.join(format!("models--{repository}-{name}")));
            paths.extend(repositories.iter().filter_map(|path| snapshot(path)));
        }
    }
    paths
}

/// The snapshot that a cached repository's `main` refers to.
fn snapshot(repository: &Path) -> Option<PathBuf> {
    let commit = fs::read_to_string(repository.join("refs/main")).ok()?;
    let commit = commit.trim();
    let is_hash = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| repository.join("snapshots").join(commit))
}

/// A file, or a directory with weights in it: caches and broken downloads leave directories without.
fn is_model(path: &Path) -> bool {
    let weights = [
        "model.safetensors",
        "model.safetensors.index.json",
        "model.bin",
    ];
    path.is_file() || weights.iter().any(|file| path.join(file).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: &Path, file: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn a_name_is_found_in_each_place_in_order() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let places = SearchPaths {
            models: vec![root.join("user"), root.join("system")],
            hub: Some(root.join("hub")),
        };
        let found = |spec: &str| {
            find(spec, &places)
                .ok()
                .map(|path| path.strip_prefix(root).unwrap().to_owned())
        };
        assert_eq!(found("tiny.en"), None);
        place(
            root,
            "hub/models--Systran--faster-whisper-tiny.en/snapshots/abc1/model.bin",
        );
        assert_eq!(found("tiny.en"), None, "no refs/main");
        fs::create_dir_all(root.join("hub/models--Systran--faster-whisper-tiny.en/refs")).unwrap();
        fs::write(
            root.join("hub/models--Systran--faster-whisper-tiny.en/refs/main"),
            "abc1\n",
        )
        .unwrap();
        assert_eq!(
            found("tiny.en"),
            Some("hub/models--Systran--faster-whisper-tiny.en/snapshots/abc1".into())
        );
        place(root, "system/ggml-tiny.en.bin");
        assert_eq!(found("tiny.en"), Some("system/ggml-tiny.en.bin".into()));
        fs::create_dir_all(root.join("user/tiny.en")).unwrap();
        assert_eq!(
            found("tiny.en"),
            Some("system/ggml-tiny.en.bin".into()),
            "a directory without weights"
        );
        place(root, "user/tiny.en/model.bin");
        assert_eq!(found("tiny.en"), Some("user/tiny.en".into()));
        place(root, "user/large-v3-turbo/model.safetensors");
        assert_eq!(found("turbo"), Some("user/large-v3-turbo".into()));
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        place(root.path(), "some.bin");
        let places = SearchPaths {
            models: vec![],
            hub: None,
        };
        let path = root.path().join("some.bin");
        assert_eq!(find(path.to_str().unwrap(), &places).unwrap(), path);
        assert!(matches!(
            find("/no/such/model", &places),
            Err(ModelError::Io { .. })
        ));
    }

    #[test]
    fn a_missing_model_names_the_places_and_the_remedy() {
        let places = SearchPaths {
            models: vec!["/a/models".into()],
            hub: Some("/b/hub".into()),
        };
        let message = find("tiny.en", &places).unwrap_err().to_string();
        for part in [
            "tiny.en",
            "/a/models",
            "/b/hub",
            "scripts/fetch-model tiny.en",
        ] {
            assert!(message.contains(part), "{message}");
        }
        for hostile in ["", "..", "a\0b", "."] {
            assert!(find(hostile, &places).is_err());
        }
    }
}
