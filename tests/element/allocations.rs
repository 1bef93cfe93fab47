// SPDX-License-Identifier: MPL-2.0
//! The streaming thread allocates nothing once it is warm.

use gst::prelude::*;
use test_support::allocations;

use crate::support::*;

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
    let counted = allocations::of(|| {
        for buffer in rest {
            upstream.push(buffer).expect("taken");
        }
    });
    assert_eq!(counted, 0);
    assert_eq!(listener.stat("samples-copied"), 0);
    assert_eq!(listener.stat("samples-read"), 2000 * 160);

    let counted = allocations::of(|| drop(std::hint::black_box(vec![0u8; 32])));
    assert_eq!(counted, 1, "the counter works");
    listener.finish();
}
