// SPDX-License-Identifier: MPL-2.0
//! Memory that starts at a cache line, so that no vector load straddles two.

use std::ops::{Deref, DerefMut};

pub const CACHE_LINE: usize = 64;

/// A fixed number of elements, the first of them at a multiple of 64 bytes.
pub struct Buffer<T> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Buffer<T> {
    pub fn new(len: usize) -> Self {
        let storage = vec![T::default(); len + CACHE_LINE / size_of::<T>()];
        // The storage is never reallocated, so the offset holds for good.
        let start = storage
            .as_ptr()
            .align_offset(CACHE_LINE)
            .min(storage.len() - len);
        Self {
            storage,
            start,
            len,
        }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.storage[self.start..][..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.storage[self.start..][..self.len]
    }
}

/// A row length in memory for rows of `width` elements that are read side by side: one cache line more than a
/// width that is likely to be a power of two, so that the rows do not compete for the same lines of a cache.
pub fn stride<T>(width: usize) -> usize {
    width + CACHE_LINE / size_of::<T>()
}
