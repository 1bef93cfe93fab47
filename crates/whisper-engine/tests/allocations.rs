// SPDX-License-Identifier: MPL-2.0
//! A token allocates nothing: counted on all threads of the pool that decodes.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use test_support::allocations::{self, CountingAllocator};
use whisper_engine::decoder::{DecodeSession, Decoder};
use whisper_engine::encoder::AudioFeatures;
use whisper_model::Model;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
#[ignore = "needs the model tiny.en"]
fn tokens_after_the_first_allocate_nothing() {
    let model = Model::open(&test_support::model("tiny.en")).unwrap();
    let decoder = Decoder::new(&model).unwrap();
    let mut features = AudioFeatures::new(&model.config);
    features.context = model.config.audio_ctx;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    let pool = pool.unwrap();
    let so_far = || -> u64 { pool.broadcast(|_| allocations::so_far()).iter().sum() };

    let (mut session, mut logits) = (DecodeSession::default(), Vec::new());
    let window = pool.install(|| decoder.prepare(&features)).unwrap();
    let mut feed = |token: u32| {
        let tokens = [token];
        decoder
            .forward(&tokens, &mut session, &window, None)
            .unwrap();
        decoder.logits_after(&mut session, 0, &mut logits).unwrap();
    };
    pool.install(|| feed(50257));
    let before = so_far();
    pool.install(|| (0..200).for_each(|token| feed(400 + token)));
    assert_eq!(so_far(), before);
}
