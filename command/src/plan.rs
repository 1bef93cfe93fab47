// SPDX-License-Identifier: MPL-2.0
//! Which files are read, and where their subtitles go.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Extensions of what lies beside media files, above all what this program writes there.
const NOT_MEDIA: [&str; 9] = [
    "srt", "vtt", "json", "txt", "ass", "ssa", "sub", "idx", "nfo",
];

/// Where subtitles go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To standard output.
    Stdout,
    /// To a file.
    File(PathBuf),
}

/// One file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The media file.
    pub input: PathBuf,
    /// Whether the user named it, rather than a folder that it is in.
    pub is_named: bool,
    /// Where its subtitles go.
    pub place: Place,
}

/// A media file, and its path below the folder that was named.
struct Found {
    input: PathBuf,
    is_named: bool,
    relative: PathBuf,
}

/// Jobs for all of `inputs`, in their order; the files of a folder are in the order of their names.
/// `extension` tells how the name of a file's output ends.
///
/// # Errors
///
/// With a message if a folder cannot be read, or `output` does not suit the inputs.
pub fn jobs(
    inputs: &[PathBuf],
    output: Option<&Path>,
    extension: impl Fn(&Path) -> &'static str,
) -> Result<Vec<Job>, String> {
    let mut found = Vec::new();
    for input in inputs {
        if input.is_dir() {
            let told = |error| format!("{}: cannot be read: {error}", input.display());
            walk(input, Path::new(""), &mut found).map_err(told)?;
        } else {
            let name = input.file_name().unwrap_or(input.as_os_str());
            found.push(Found {
                input: input.clone(),
                is_named: true,
                relative: name.into(),
            });
        }
    }
    let many = inputs.len() > 1 || inputs.iter().any(|input| input.is_dir());
    let folder = match output {
        Some(path) if path == Path::new("-") && !many => {
            return Ok(found
                .into_iter()
                .map(|found| found.to(Place::Stdout))
                .collect());
        }
        Some(path) if path == Path::new("-") => {
            return Err("--output - takes the subtitles of one file".to_owned());
        }
        Some(path) if path.is_dir() || ends_with_separator(path) => Some(path),
        Some(path) if !many => {
            let place = Place::File(path.to_owned());
            return Ok(found
                .into_iter()
                .map(|found| found.to(place.clone()))
                .collect());
        }
        Some(path) => {
            return Err(format!(
                "--output {} must be a folder, as there are several files; make it first",
                path.display()
            ));
        }
        None => None,
    };
    let place = |found: &Found| match folder {
        Some(folder) => folder.join(&found.relative),
        None => found.input.clone(),
    };
    let mut uses: HashMap<PathBuf, usize> = HashMap::new();
    for found in &found {
        *uses
            .entry(place(found).with_extension(extension(&found.input)))
            .or_default() += 1;
    }
    let job = |found: Found| {
        let media = place(&found);
        let extension = extension(&found.input);
        let short = media.with_extension(extension);
        let place = match uses.get(&short) {
            Some(1) | None => short,
            // film.mkv and film.mp4: neither may take the place of the other.
            Some(_) => with_added_extension(&media, extension),
        };
        found.to(Place::File(place))
    };
    Ok(found.into_iter().map(job).collect())
}

impl Found {
    fn to(self, place: Place) -> Job {
        Job {
            input: self.input,
            is_named: self.is_named,
            place,
        }
    }
}

/// The files in and below a folder; hidden ones and links to folders are left out.
fn walk(folder: &Path, relative: &Path, found: &mut Vec<Found>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let relative = relative.join(&name);
        if entry.file_type()?.is_dir() {
            walk(&path, &relative, found)?;
        } else if path.is_file() && !is_beside_media(&path) {
            found.push(Found {
                input: path,
                is_named: false,
                relative,
            });
        }
    }
    Ok(())
}

fn is_beside_media(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    let is_text =
        extension.is_some_and(|extension| NOT_MEDIA.contains(&extension.to_lowercase().as_str()));
    is_text || is_copy(path)
}

/// Whether the name is one that `--mux` gives to a copy of another file.
fn is_copy(path: &Path) -> bool {
    let name = path.file_stem().map(Path::new).and_then(Path::extension);
    let ours =
        |name: &OsStr| name == "subtitled" || name.as_encoded_bytes().starts_with(b"partial");
    name.is_some_and(ours)
}

fn ends_with_separator(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn with_added_extension(path: &Path, extension: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(".");
    name.push(extension);
    name.into()
}

/// What to say of a file that is at the place already, and is not to be replaced.
pub fn refusal(place: &Path, replaces: bool) -> Option<String> {
    (place.exists() && !replaces)
        .then(|| format!("{} is there already; --force replaces it", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(jobs: &[Job], root: &Path) -> Vec<String> {
        let name = |job: &Job| match &job.place {
            Place::Stdout => "-".to_owned(),
            Place::File(path) => {
                let path = path.strip_prefix(root).unwrap_or(path);
                path.display().to_string()
            }
        };
        jobs.iter().map(name).collect()
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        root
    }

    #[test]
    fn subtitles_lie_beside_the_file() {
        let inputs = ["a/film.one.mkv", "talk", "x.mp3"].map(PathBuf::from);
        let jobs = jobs(&inputs, None, |_| "srt").unwrap();
        let places = places(&jobs, Path::new(""));
        assert_eq!(places, ["a/film.one.srt", "talk.srt", "x.srt"]);
        assert!(jobs.iter().all(|job| job.is_named));
    }

    #[test]
    fn folders_are_searched_in_order_without_hidden_files() {
        let root = tree(&[
            "b/2.mp3",
            "b/1.mp3",
            "a.wav",
            ".c.wav",
            ".d/e.wav",
            "a.srt",
            "a.subtitled.mkv",
        ]);
        let jobs = jobs(&[root.path().to_owned()], None, |_| "vtt").unwrap();
        let places = places(&jobs, root.path());
        assert_eq!(places, ["a.vtt", "b/1.vtt", "b/2.vtt"]);
        assert!(jobs.iter().all(|job| !job.is_named));
    }

    #[test]
    fn files_of_one_name_keep_their_extensions() {
        let root = tree(&["film.mkv", "film.mp4", "other.mp4"]);
        let jobs = jobs(&[root.path().to_owned()], None, |_| "srt").unwrap();
        let places = places(&jobs, root.path());
        assert_eq!(places, ["film.mkv.srt", "film.mp4.srt", "other.srt"]);
    }

    #[test]
    fn output_folder_has_the_shape_of_the_input_folder() {
        let root = tree(&["in/b/1.mp3", "in/a.mp3", "out/x"]);
        let output = root.path().join("out");
        let jobs = jobs(&[root.path().join("in")], Some(&output), |_| "srt").unwrap();
        assert_eq!(places(&jobs, root.path()), ["out/a.srt", "out/b/1.srt"]);
    }

    #[test]
    fn output_of_one_file_is_a_file_or_standard_output() {
        let one = [PathBuf::from("a.mp3")];
        let named = |output: &str| {
            places(
                &jobs(&one, Some(Path::new(output)), |_| "srt").unwrap(),
                Path::new(""),
            )
        };
        assert_eq!(named("-"), ["-"]);
        assert_eq!(named("b.txt"), ["b.txt"]);
        assert_eq!(named("new/"), ["new/a.srt"]);
        let two = ["a.mp3", "b.mp3"].map(PathBuf::from);
        for output in ["-", "b.txt"] {
            assert!(
                jobs(&two, Some(Path::new(output)), |_| "srt").is_err(),
                "{output}"
            );
        }
    }
}
