// SPDX-License-Identifier: MPL-2.0
//! A token allocates nothing: counted by the allocator itself, on all threads.
//!
//! One test in a binary of its own, so that nothing else is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use whisper_engine::decoder::{DecodeSession, Decoder};
use whisper_engine::encoder::AudioFeatures;
use whisper_model::Model;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn tokens_after_the_first_allocate_nothing() {
    let path = match Model::find("tiny.en") {
        Ok(path) => path,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let model = Model::open(&path).unwrap();
    let decoder = Decoder::new(&model).unwrap();
    let mut features = AudioFeatures::new(&model.config);
    features.context = model.config.audio_ctx;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    let allocations = pool.unwrap().install(|| {
        let audio = decoder.listen(&features).unwrap();
        let (mut cache, mut logits) = (DecodeSession::default(), Vec::new());
        let mut feed = |token: u32| {
            decoder.forward(&[token], &mut cache, &audio, None).unwrap();
            decoder.row(&mut cache, 0, &mut logits).unwrap();
        };
        feed(50257);
        let before = ALLOCATIONS.load(Relaxed);
        (0..200).for_each(|token| feed(400 + token));
        ALLOCATIONS.load(Relaxed) - before
    });
    assert_eq!(allocations, 0);
}
