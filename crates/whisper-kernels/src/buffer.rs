// SPDX-License-Identifier: MPL-2.0
//! Memory that starts at a cache line, so that no vector load straddles two.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line.
pub const CACHE_LINE: usize = 64;

/// A fixed number of elements, the first of them at a multiple of [`CACHE_LINE`] bytes.
#[derive(Debug)]
pub struct AlignedBuffer<T> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> AlignedBuffer<T> {
    /// `len` elements, all of them the default.
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

impl<T> Deref for AlignedBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.storage[self.start..][..self.len]
    }
}

impl<T> DerefMut for AlignedBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.storage[self.start..][..self.len]
    }
}

/// The stride, in elements, of rows of `width` elements that are read side by side: one cache line
/// more than the width, which is likely to be a power of two, so that the rows do not compete for
/// the same sets of a cache.
pub fn padded_stride<T>(width: usize) -> usize {
    width + CACHE_LINE / size_of::<T>()
}
