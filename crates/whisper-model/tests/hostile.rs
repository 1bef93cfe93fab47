// SPDX-License-Identifier: MPL-2.0
//! Damaged and hostile files: an error, never a panic nor memory beyond what the file is worth.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(unsafe_code)] // The allocator that watches is.

use test_support::synthetic;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Cursor;

use synthetic::{Stored, random};
use whisper_model::{ParseError, ctranslate2, ggml, safetensors};

/// Remembers the largest single allocation of each thread.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static WATCHED: Watched = Watched;

type Parse = fn(&[u8]) -> Result<(), ParseError>;

/// Each format's parser and a sound file.
fn formats() -> Vec<(&'static str, Parse, Vec<u8>)> {
    let tensors = synthetic::tensors();
    let mut formats: Vec<(&'static str, Parse, Vec<u8>)> = vec![
        (
            "ctranslate2",
            |bytes| ctranslate2::parse(Cursor::new(bytes)).map(drop),
            synthetic::ctranslate2_bytes(&tensors, Stored::F16),
        ),
        (
            "ctranslate2 int8",
            |bytes| ctranslate2::parse(Cursor::new(bytes)).map(drop),
            synthetic::ctranslate2_bytes(&tensors, Stored::I8),
        ),
        (
            "ggml",
            |bytes| ggml::parse(Cursor::new(bytes)).map(drop),
            synthetic::ggml_bytes(&tensors, Stored::F16),
        ),
        (
            "safetensors",
            |bytes| safetensors::parse(Cursor::new(bytes)).map(drop),
            synthetic::safetensors_bytes(&tensors, Stored::F16),
        ),
    ];
    if cfg!(feature = "quantized") {
        formats.push((
            "ggml q5_0",
            |bytes| ggml::parse(Cursor::new(bytes)).map(drop),
            synthetic::ggml_bytes(&tensors, Stored::Q5_0),
        ));
    }
    formats
}

/// No single allocation is much larger than what headers and vocabulary of the sound file need.
fn parse_modestly(name: &str, parse: Parse, bytes: &[u8]) -> Result<(), ParseError> {
    LARGEST.set(0);
    let result = parse(bytes);
    assert!(
        LARGEST.get() < 1 << 20,
        "{name}: an allocation of {} bytes",
        LARGEST.get()
    );
    result
}

#[test]
fn a_sound_file_is_read_with_modest_allocations() {
    for (name, parse, bytes) in formats() {
        assert_eq!(parse_modestly(name, parse, &bytes), Ok(()), "{name}");
    }
}

#[test]
fn a_truncated_file_is_an_error_wherever_it_ends() {
    for (name, parse, bytes) in formats() {
        // CTranslate2's list of aliases at the end is not needed; ggml may end between two tensors,
        // where only the check for completeness finds it out.
        let end = bytes.len() - 64;
        let mut seed = 7;
        let some: Vec<usize> = (0..1000)
            .map(|_| (random(&mut seed) % end as u64) as usize)
            .collect();
        for length in (0..2048).chain(some) {
            let result = parse_modestly(name, parse, &bytes[..length]);
            assert!(
                result.is_err() || name.starts_with("ggml"),
                "{name}: {length} bytes"
            );
        }
    }
}

/// Where the sound file has its lengths, counts and names: not inside the large tensors, whose
/// bytes mean nothing here.
fn header_places(bytes: &[u8]) -> Vec<usize> {
    let near_name = |place: &usize| {
        let context = &bytes[place.saturating_sub(24)..(*place + 24).min(bytes.len())];
        context.windows(5).any(|window| {
            window
                .iter()
                .all(|byte| byte.is_ascii_lowercase() || *byte == b'_')
        })
    };
    (0..bytes.len())
        .filter(|place| *place < 512 || near_name(place))
        .collect()
}

#[test]
fn changed_bytes_never_panic_nor_allocate_hugely() {
    let mut faults = 0;
    for (name, parse, bytes) in formats() {
        let places = header_places(&bytes);
        assert!(places.len() > 1000, "{name}");
        let mut seed = 42;
        for _ in 0..3000 {
            let mut bytes = bytes.clone();
            for _ in 0..=random(&mut seed) % 4 {
                let place = places[random(&mut seed) as usize % places.len()];
                let extreme = [0, 1, 0x7f, 0x80, 0xff];
                bytes[place] = match random(&mut seed) % 3 {
                    0 => extreme[random(&mut seed) as usize % extreme.len()],
                    1 => bytes[place] ^ (1 << (random(&mut seed) % 8)),
                    _ => random(&mut seed) as u8,
                };
            }
            faults += u32::from(parse_modestly(name, parse, &bytes).is_err());
        }
    }
    assert!(faults > 1000, "the mutations hit nothing: {faults} faults");
}

#[test]
fn lengths_beyond_file_and_memory_are_errors() {
    for (name, parse, bytes) in formats() {
        for place in 0..256 {
            let mut bytes = bytes.clone();
            bytes[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            // Some places hold nothing that matters; what matters is that all come to an end.
            let _ = parse_modestly(name, parse, &bytes);
        }
    }
    let mut header = (1u64 << 40).to_le_bytes().to_vec();
    header.extend(b"{\"a\":");
    assert!(safetensors::parse(Cursor::new(&header)).is_err());
}

#[test]
fn a_tensor_given_twice_is_an_error() {
    let bytes = synthetic::ctranslate2_bytes(&synthetic::tensors(), Stored::F16);
    let twice = replace(bytes, b"encoder/conv2/bias", b"encoder/conv1/bias");
    assert!(
        matches!(ctranslate2::parse(Cursor::new(&twice)), Err(ParseError::Malformed(what)) if what.contains("twice"))
    );
    let bytes = synthetic::ggml_bytes(&synthetic::tensors(), Stored::F16);
    let twice = replace(bytes, b"encoder.conv2.bias", b"encoder.conv1.bias");
    assert!(
        matches!(ggml::parse(Cursor::new(&twice)), Err(ParseError::Malformed(what)) if what.contains("twice"))
    );
}

fn replace(mut bytes: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    let place = bytes
        .windows(old.len())
        .position(|window| window == old)
        .unwrap();
    bytes[place..place + new.len()].copy_from_slice(new);
    bytes
}
