// SPDX-License-Identifier: MPL-2.0
//! The element as its users see it: between other elements, on real speech.

mod allocations;
mod errors;
mod input;
mod live;
mod muxers;
mod negotiation;
mod peers;
mod pipelines;
mod segments;
mod shipped;
mod stream;
mod support;
mod timestamps;
mod voice;

use test_support::allocations::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;
