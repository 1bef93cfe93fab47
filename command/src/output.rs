// SPDX-License-Identifier: MPL-2.0
//! Files that appear whole or not at all.
//!
//! Text is written to a file beside its place, and the finished file is moved there. A process that
//! is killed leaves the text so far under a name that says so, and whatever was at the place before.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::problem::Problem;

/// Partial files of earlier runs that are left alone, at most.
const MOST_PARTIALS: u32 = 1000;

/// A file that is being written.
pub struct PartialFile {
    file: File,
    path: PathBuf,
    place: PathBuf,
}

impl PartialFile {
    /// Begins a file that is to come to lie at `place`, under a name that no other file has. Makes
    /// the folder, too.
    pub fn create(place: &Path) -> Result<Self, Problem> {
        if let Some(folder) = place.parent().filter(|folder| !is_there(folder)) {
            fs::create_dir_all(folder).map_err(Problem::output(folder))?;
        }
        for number in 1..=MOST_PARTIALS {
            let path = partial_name(place, number);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        path,
                        place: place.to_owned(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Problem::Output(path, error)),
            }
        }
        let full = io::Error::other("too many partial files beside it, remove them");
        Err(Problem::Output(place.to_owned(), full))
    }

    /// Where the file is until it is finished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds text, which then is on its way to the disk even if the process is killed.
    pub fn write(&mut self, text: &str) -> Result<(), Problem> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(Problem::output(&self.path))
    }

    /// Moves the finished file to its place. With `replace` it takes the place of a file that is
    /// there; otherwise that file stays, and the new one too, under its partial name.
    pub fn finish(self, replace: bool) -> Result<(), Problem> {
        self.file.sync_all().map_err(Problem::output(&self.path))?;
        let (path, place) = (self.path, self.place);
        if replace {
            fs::rename(&path, &place).map_err(Problem::output(&place))?;
        } else {
            let unlinked = TempPath::try_from_path(&path).map_err(Problem::output(&path))?;
            if let Err(failed) = unlinked.persist_noclobber(&place) {
                // Dropping it would remove the text.
                let _ = failed.path.keep();
                return Err(match failed.error.kind() {
                    io::ErrorKind::AlreadyExists => Problem::Appeared(place, path),
                    _ => Problem::Output(place, failed.error),
                });
            }
        }
        // The new name is on the disk once its directory is. Not all file systems can do that.
        let directory = place
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        if let Ok(directory) = File::open(directory.unwrap_or(Path::new("."))) {
            let _ = directory.sync_all();
        }
        Ok(())
    }

    /// Removes what is of no use.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Leaves the text so far where it is.
    pub fn keep(self) -> PathBuf {
        let _ = self.file.sync_all();
        self.path
    }
}

/// Whether there is anything; the empty path is the working directory.
fn is_there(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || folder.exists()
}

/// `film.partial.srt` for `film.srt`, then `film.partial-2.srt`.
fn partial_name(place: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(place.file_stem().unwrap_or_default());
    name.push(match number {
        1 => ".partial".to_owned(),
        more => format!(".partial-{more}"),
    });
    if let Some(extension) = place.extension() {
        name.push(".");
        name.push(extension);
    }
    place.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_appears_whole() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("new/folder/a.b.srt");
        let mut file = PartialFile::create(&place).unwrap();
        file.write("one").unwrap();
        assert!(!place.exists());
        let partial = root.path().join("new/folder/a.b.partial.srt");
        assert_eq!(fs::read_to_string(&partial).unwrap(), "one");
        file.finish(false).unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "one");
        assert!(!partial.exists());
    }

    #[test]
    fn file_that_is_there_is_replaced_only_if_asked() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("a.srt");
        fs::write(&place, "old").unwrap();
        let mut file = PartialFile::create(&place).unwrap();
        file.write("new").unwrap();
        let error = file.finish(false).unwrap_err();
        assert!(matches!(error, Problem::Appeared(..)), "{error}");
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        let partial = root.path().join("a.partial.srt");
        assert_eq!(fs::read_to_string(&partial).unwrap(), "new");
        PartialFile::create(&place).unwrap().finish(true).unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "");
        assert_eq!(fs::read_to_string(&partial).unwrap(), "new");
    }

    #[test]
    fn partial_files_of_earlier_runs_stay() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("a");
        fs::write(root.path().join("a.partial"), "earlier").unwrap();
        let file = PartialFile::create(&place).unwrap();
        assert_eq!(file.keep(), root.path().join("a.partial-2"));
        let earlier = fs::read_to_string(root.path().join("a.partial")).unwrap();
        assert_eq!(earlier, "earlier");
    }

    #[test]
    fn output_below_a_file_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let place = root.path().join("file/a.srt");
        let message = PartialFile::create(&place).err().unwrap().to_string();
        assert!(message.contains("--output"), "{message}");
    }
}
