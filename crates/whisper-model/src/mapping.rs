// SPDX-License-Identifier: MPL-2.0
//! Files mapped into memory: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::ModelError;

/// The bytes of a file, read by the system as they are touched.
pub(crate) struct Mapping(Mmap);

impl Mapping {
    /// Maps a whole file.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io {
            path: path.to_owned(),
            source,
        };
        // A FIFO or a device would block or have no length.
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(ModelError::Unrecognised {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(io)?;
        // SAFETY: the mapping is read-only and private to us; that the file must not change under
        // it is this crate's documented contract. Bytes are only ever read as plain numbers.
        unsafe { Mmap::map(&file) }.map(Mapping).map_err(io)
    }

    /// Gives back the memory of the pages that have been read. They can be read again.
    #[cfg(unix)]
    pub fn release(&self) {
        // SAFETY: the mapping is read-only and of a file, so a page that is touched again is read
        // again.
        let advised = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        // What cannot be given back is kept.
        drop(advised);
    }

    /// Does nothing: the system decides.
    #[cfg(not(unix))]
    pub fn release(&self) {}
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
