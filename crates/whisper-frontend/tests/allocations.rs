// SPDX-License-Identifier: MPL-2.0
//! The streaming path allocates nothing after warm-up: counted by the allocator itself.
//!
//! The binary holds one test, and each thread has a count, so that nothing else is counted.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(unsafe_code)] // The allocator that counts is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use ndarray::Array2;
use whisper_frontend::mel::{MelAnalyzer, MelRing, MelRingMemory};
use whisper_frontend::pool::Pool;
use whisper_frontend::vad::SileroWeights;
use whisper_frontend::{MelFrame, Samples, VoiceDetector};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count() {
        // While a thread ends its count may be gone already.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    }
}

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor
// panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// A run through push, pack and finish, on a ring that wraps, with a buffer from the pool.
fn run(
    (analyzer, detector): &mut (MelAnalyzer, VoiceDetector),
    pool: &Pool<MelRingMemory>,
    audio: &[u8],
    window: &mut Array2<f32>,
) {
    let mut ring = MelRing::new(pool.acquire(), 80);
    analyzer.reset();
    detector.reset();
    let mut push = |samples: Samples<'_>| {
        let mut rest = samples;
        while !rest.is_empty() {
            let (taken, after) = rest.split_at(analyzer.push(rest, &mut ring));
            detector.push(taken, &mut ring);
            rest = after;
            if ring.free_rows() == 0 {
                let start = ring.start();
                let row = start..start + MelFrame::new(100);
                ring.pack_window(&[row], window.view_mut());
                ring.release(ring.start() + MelFrame::new(50));
            }
        }
    };
    for buffer in audio.chunks(441) {
        push(Samples::S16Le(buffer));
        push(Samples::F32Le(buffer));
        push(Samples::Silence(100));
    }
    ring.release(ring.end());
    assert!(analyzer.finish(&mut ring));
    detector.finish(&mut ring);
}

#[test]
fn streaming_allocates_nothing_after_the_first_run() {
    assert_eq!(
        allocations_of(|| drop(std::hint::black_box(vec![0u8; 64]))),
        1,
        "the counter counts"
    );
    let pool = Pool::new(1, || MelRingMemory::new(100, 80));
    let weights = SileroWeights::from_bytes(&test_support::synthetic::silero_bytes(1));
    let silero = VoiceDetector::silero(Arc::new(weights.unwrap()));
    let mut window = Array2::zeros((100, 80));
    let audio: Vec<u8> = (0..64_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for detector in [VoiceDetector::earshot(), silero] {
        let mut analysis = (MelAnalyzer::new(80), detector);
        run(&mut analysis, &pool, &audio, &mut window);
        for _ in 0..3 {
            assert_eq!(
                allocations_of(|| run(&mut analysis, &pool, &audio, &mut window)),
                0
            );
        }
    }
}
