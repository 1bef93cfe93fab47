// SPDX-License-Identifier: MPL-2.0
//! An allocator that counts, one count for each thread, so that tests of one binary do not disturb
//! each other.
//!
//! ```
//! use test_support::allocations::{self, CountingAllocator};
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator;
//!
//! assert_eq!(allocations::of(|| drop(std::hint::black_box(vec![0u8; 64]))), 1);
//! assert_eq!(allocations::of(|| ()), 0);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts the allocations of each thread.
pub struct CountingAllocator;

/// The allocations of the calling thread so far; 0 if [`CountingAllocator`] is not the global
/// allocator.
pub fn so_far() -> u64 {
    ALLOCATIONS.get()
}

/// The allocations that `work` makes on the calling thread.
pub fn of(work: impl FnOnce()) -> u64 {
    let before = so_far();
    work();
    so_far() - before
}

fn count() {
    // A thread that ends may have dropped its count before its last allocation.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor
// panics.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract; `memory` came from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract; `memory` came from `System`.
        unsafe { System.realloc(memory, layout, size) }
    }
}
