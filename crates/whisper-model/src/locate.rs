// SPDX-License-Identifier: MPL-2.0
//! Where a model of some name is installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::ModelError;
use crate::published::{repositories, synonyms};

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
            .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
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

    /// The model of this name, path or Hugging Face repository.
    pub fn find(&self, spec: &str) -> Result<PathBuf, ModelError> {
        let as_path = Path::new(spec);
        if spec.contains('/') {
            return self.find_path(spec);
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

    /// The path itself, or the repository `OWNER/NAME` in the cache.
    fn find_path(&self, spec: &str) -> Result<PathBuf, ModelError> {
        let path = Path::new(spec);
        if path.exists() {
            return Ok(path.to_owned());
        }
        let hub = self.hub.as_ref().filter(|_| is_repository(spec));
        let cached = hub.and_then(|hub| snapshot(hub, spec));
        cached
            .filter(|snapshot| snapshot.is_dir())
            .ok_or_else(|| ModelError::NoSuchFile {
                path: path.to_owned(),
                hub: hub.cloned(),
            })
    }

    fn candidates(&self, spec: &str) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for models in &self.models {
            for name in synonyms(spec) {
                let files = [
                    name.to_owned(),
                    format!("{name}.bin"),
                    format!("ggml-{name}.bin"),
                ];
                paths.extend(files.map(|file| models.join(file)));
            }
        }
        if let Some(hub) = &self.hub {
            for name in synonyms(spec) {
                paths
                    .extend(repositories(name).filter_map(|repository| snapshot(hub, &repository)));
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

/// Whether this is `OWNER/NAME`, as Hugging Face allows them.
fn is_repository(spec: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
    };
    spec.split('/').count() == 2 && spec.split('/').all(is_part)
}

/// The snapshot that `main` of a cached repository `OWNER/NAME` refers to.
fn snapshot(hub: &Path, repository: &str) -> Option<PathBuf> {
    let cached = hub.join(format!("models--{}", repository.replace('/', "--")));
    let commit = fs::read_to_string(cached.join("refs/main")).ok()?;
    let commit = commit.trim();
    let is_hash = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| cached.join("snapshots").join(commit))
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
        for wrong in [
            "/no/such/model",
            "./model",
            "a/b/c",
            "../owner/name",
            "owner/",
        ] {
            let message = paths.find(wrong).unwrap_err().to_string();
            assert_eq!(message, format!("no such file: {wrong}"));
        }
    }

    #[test]
    fn a_repository_is_found_in_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let hub = root.path().join("hub");
        let paths = SearchPaths {
            models: vec![],
            hub: Some(hub.clone()),
        };
        for repository in [
            "openai/whisper-tiny",
            "Systran/faster-whisper-base",
            "distil-whisper/distil-small.en",
        ] {
            let message = paths.find(repository).unwrap_err().to_string();
            for part in [
                &format!("no such file: {repository}"),
                hub.to_str().unwrap(),
                &format!("hf download {repository}"),
            ] {
                assert!(message.contains(part), "{message}");
            }
            let cached = hub.join(format!("models--{}", repository.replace('/', "--")));
            put(&cached, "blobs/0a1b");
            put(&cached, "snapshots/c0ffee/config.json");
            let weights = cached.join("snapshots/c0ffee/model.bin");
            std::os::unix::fs::symlink("../../blobs/0a1b", weights).unwrap();
            fs::create_dir_all(cached.join("refs")).unwrap();
            fs::write(cached.join("refs/main"), "c0ffee").unwrap();
            assert_eq!(
                paths.find(repository).unwrap(),
                cached.join("snapshots/c0ffee")
            );
        }
        assert_eq!(
            paths.find("tiny").unwrap(),
            hub.join("models--openai--whisper-tiny/snapshots/c0ffee"),
            "the same model by name"
        );
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
