// SPDX-License-Identifier: MPL-2.0
//! Files of weights, read piece by piece: a file that changes meanwhile is an error, not a fault of
//! memory as it would be in a mapping.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::ModelError;

/// An open file of weights.
pub(crate) struct WeightFile {
    path: PathBuf,
    /// Its position is that of whoever holds the lock.
    file: Mutex<File>,
}

impl WeightFile {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let io = |source| io_error(path, source);
        // A FIFO or a device would block or have no length.
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(ModelError::Unrecognised {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(File::open(path).map_err(io)?),
        })
    }

    /// Lets `read` look at all of it, from the start.
    pub fn with_reader<T>(
        &self,
        read: impl FnOnce(BufReader<&File>) -> T,
    ) -> Result<T, ModelError> {
        let file = self.lock();
        let mut reader = BufReader::new(&*file);
        reader
            .rewind()
            .map_err(|source| io_error(&self.path, source))?;
        Ok(read(reader))
    }

    /// Some of its bytes.
    ///
    /// # Errors
    /// They cannot be read: the file may have been truncated since it was opened.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u8>, ModelError> {
        let read = || {
            let mut bytes = vec![0; range.len()];
            let mut file = self.lock();
            file.seek(SeekFrom::Start(range.start as u64))?;
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| io_error(&self.path, source))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, File> {
        self.file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn io_error(path: &Path, source: std::io::Error) -> ModelError {
    ModelError::Io {
        path: path.to_owned(),
        source,
    }
}
