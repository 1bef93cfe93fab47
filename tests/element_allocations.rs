// SPDX-License-Identifier: MPL-2.0
//! The streaming thread allocates nothing once it is warm. A binary of its own, for the allocator.

#[allow(dead_code, reason = "shared with the other tests of the element")]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gst::prelude::*;
use support::*;

/// The system's allocator, counting on threads that ask for it.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it is; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract, and `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn chain_allocates_nothing_after_warm_up() {
    let mut listener = Listener::new("", "ANY");
    let upstream = listener.harness.srcpad().expect("pad");
    let tone: Vec<i16> = (0..160)
        .map(|n| (8000.0 * (n as f32 * 0.2).sin()) as i16)
        .collect();
    let mut buffers =
        (0..2000).map(|index| timed(s16(&tone), duration_of(160 * index), duration_of(160)));
    for buffer in buffers.by_ref().take(500) {
        upstream.push(buffer).expect("taken");
    }
    let rest: Vec<gst::Buffer> = buffers.collect();
    COUNTED.set(true);
    for buffer in rest {
        upstream.push(buffer).expect("taken");
    }
    COUNTED.set(false);
    assert_eq!(ALLOCATIONS.load(Relaxed), 0);
    assert_eq!(listener.stat("samples-copied"), 0);
    assert_eq!(listener.stat("samples-read"), 2000 * 160);

    COUNTED.set(true);
    drop(vec![0u8; std::hint::black_box(32)]);
    COUNTED.set(false);
    assert_eq!(ALLOCATIONS.load(Relaxed), 1, "the counter works");
    listener.finish();
}
