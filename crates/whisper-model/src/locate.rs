// SPDX-License-Identifier: MPL-2.0
//! Where a model of some name is installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::ModelError;

/// The directories in which models are looked up, in this order.
pub(crate) struct SearchPaths {
    /// Directories that hold models under their names.
    pub models: Vec<PathBuf>,
    /// The Hugging Face cache (its `hub` directory).
    pub hub: Option<PathBuf>,
}

impl SearchPaths {
    /// The directories that the XDG base directory specification and `huggingface_hub` take from
    /// the environment.
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

    /// The model of this name or path.
    pub fn find(&self, spec: &str) -> Result<PathBuf, ModelError> {
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
            && let Some(path) = self
                .candidates(spec)
                .into_iter()
                .find(|path| is_model(path))
        {
            return Ok(path);
        }
        if is_model(as_path) {
            return Ok(as_path.to_owned());
        }
        let mut looked = self.models.clone();
        looked.extend(self.hub.clone());
        looked.push(PathBuf::from("."));
        Err(ModelError::NotFound {
            spec: spec.to_owned(),
            looked,
        })
    }

    fn candidates(&self, spec: &str) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for models in &self.models {
            for name in names(spec) {
                let files = [
                    name.to_owned(),
                    format!("{name}.bin"),
                    format!("ggml-{name}.bin"),
                ];
                paths.extend(files.map(|file| models.join(file)));
            }
        }
        if let Some(hub) = &self.hub {
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
}

/// The directories for data files that the XDG base directory specification takes from the
/// environment, the user's own first.
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

/// The snapshot that a cached repository's `main` refers to.
fn snapshot(repository: &Path) -> Option<PathBuf> {
    let commit = fs::read_to_string(repository.join("refs/main")).ok()?;
    let commit = commit.trim();
    let is_hash = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| repository.join("snapshots").join(commit))
}

/// A file, or a directory with weights in it: caches and broken downloads leave directories
/// without.
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

    fn put(root: &Path, file: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn a_name_is_found_in_each_directory_in_order() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let paths = SearchPaths {
            models: vec![root.join("user"), root.join("system")],
            hub: Some(root.join("hub")),
        };
        let found = |spec: &str| {
            paths
                .find(spec)
                .ok()
                .map(|path| path.strip_prefix(root).unwrap().to_owned())
        };
        assert_eq!(found("tiny.en"), None);
        put(
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
        put(root, "system/ggml-tiny.en.bin");
        assert_eq!(found("tiny.en"), Some("system/ggml-tiny.en.bin".into()));
        fs::create_dir_all(root.join("user/tiny.en")).unwrap();
        assert_eq!(
            found("tiny.en"),
            Some("system/ggml-tiny.en.bin".into()),
            "a directory without weights"
        );
        put(root, "user/tiny.en/model.bin");
        assert_eq!(found("tiny.en"), Some("user/tiny.en".into()));
        put(root, "user/large-v3-turbo/model.safetensors");
        assert_eq!(found("turbo"), Some("user/large-v3-turbo".into()));
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "some.bin");
        let paths = SearchPaths {
            models: vec![],
            hub: None,
        };
        let path = root.path().join("some.bin");
        assert_eq!(paths.find(path.to_str().unwrap()).unwrap(), path);
        assert!(matches!(
            paths.find("/no/such/model"),
            Err(ModelError::Io { .. })
        ));
    }

    #[test]
    fn a_missing_model_is_told_with_places_and_remedy() {
        let paths = SearchPaths {
            models: vec!["/a/models".into()],
            hub: Some("/b/hub".into()),
        };
        let message = paths.find("tiny.en").unwrap_err().to_string();
        for part in [
            "tiny.en",
            "/a/models",
            "/b/hub",
            "scripts/fetch-model tiny.en",
        ] {
            assert!(message.contains(part), "{message}");
        }
        for hostile in ["", "..", "a\0b", "."] {
            assert!(paths.find(hostile).is_err());
        }
    }
}
