// SPDX-License-Identifier: MPL-2.0
//! Instruction streams and packed operands against those of the public overlay's host.
//!
//! ggml-xdna publishes how it makes them (`src/npu/bfp16_insts.cpp`, `tests/test-bfp16-pack.cpp`,
//! commit 1cd7e97), and that its streams equal AMD's toolchain word for word. The digests here are of
//! what its code makes, apart from this crate: what differs in one bit has another digest.

use xdna::contract::{MatMul, Output};
use xdna::pack::{pack_a, pack_b};
use xdna::stream::instructions;

/// FNV-1a, 64 bits.
fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// The digest of streams one after another, little endian.
fn digest(matmuls: impl IntoIterator<Item = MatMul>) -> u64 {
    let words = matmuls.into_iter().flat_map(|matmul| instructions(&matmul));
    fnv(words.flat_map(u32::to_le_bytes))
}

/// Numbers of very different sizes.
fn number(i: u32) -> f32 {
    let hash = i.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    let hash = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca6b);
    let x = (hash >> 8) as f32 / (1 << 23) as f32 - 1.0;
    x * 2f32.powi((i % 41) as i32 - 20)
}

#[test]
fn packed_operands_are_the_published_ones() {
    let matmul = MatMul::new(512, 192, 1024, Output::F32).unwrap();
    let (mut a, mut b) = (vec![0; matmul.a_bytes()], vec![0; matmul.b_bytes()]);
    let rows: Vec<f32> = (0..512 * 192).map(number).collect();
    let weight: Vec<f32> = (7..1024 * 192 + 7).map(number).collect();
    pack_a(&matmul, &rows, &mut a);
    pack_b(&matmul, &weight, &mut b);
    assert_eq!(fnv(a), 0x01ca_d781_24ae_e359);
    assert_eq!(fnv(b), 0x6b33_0add_d14d_6ede);
}

/// A width of Whisper's models, and the digest of the streams of its layers.
const LAYERS: [(usize, u64); 5] = [
    // tiny
    (384, 0x71a0_1ccc_e6fd_603d),
    // base
    (512, 0x2081_a4fe_63d7_0845),
    // small
    (768, 0x0cc1_0758_a929_e255),
    // medium
    (1024, 0x39d6_2ba4_d8b7_65ed),
    // large, large-v3-turbo
    (1280, 0xe3b1_0f90_3e22_ac35),
];

#[test]
fn streams_of_all_models_are_the_published_ones() {
    for (d, expected) in LAYERS {
        let mut matmuls = Vec::new();
        for (depth, columns) in [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)] {
            for rows in [512, 1024, 1536] {
                for output in [Output::F32, Output::Bf16] {
                    let columns = columns.next_multiple_of(512);
                    matmuls.push(MatMul::new(rows, depth, columns, output).unwrap());
                }
            }
        }
        assert_eq!(digest(matmuls), expected, "width {d}");
    }
}

/// Rows, depth, columns and mode of the streams that are published. Those of mode 2 are not of this
/// crate.
#[rustfmt::skip]
const PUBLISHED: [[usize; 4]; 27] = [
    [1024, 2048, 1024, 0], [1024, 2048, 1024, 1], [1024, 2048, 12288, 0], [1024, 2048, 2048, 0],
    [1024, 2048, 2048, 1], [1024, 2048, 4096, 0], [1024, 2048, 4096, 1], [1024, 2048, 6144, 0],
    [1024, 2048, 6144, 1], [1024, 2560, 4096, 1], [1024, 6144, 2048, 0], [1024, 6144, 2048, 1],
    [1024, 8960, 1536, 0], [1024, 9728, 2560, 1], [512, 128, 512, 0], [512, 2048, 1024, 0],
    [512, 2048, 1024, 1], [512, 2048, 12288, 0], [512, 2048, 2048, 0], [512, 2048, 2048, 1],
    [512, 2048, 4096, 0], [512, 2048, 4096, 1], [512, 2048, 6144, 0], [512, 2048, 6144, 1],
    [512, 2560, 9728, 0], [512, 6144, 2048, 0], [512, 6144, 2048, 1],
];

#[test]
fn streams_of_published_shapes_are_the_published_ones() {
    let matmuls = PUBLISHED.map(|[rows, depth, columns, mode]| {
        let output = [Output::F32, Output::Bf16][mode];
        MatMul::new(rows, depth, columns, output).unwrap()
    });
    assert_eq!(digest(matmuls), 0x97e8_d3b0_5cf4_5abd);
}

#[test]
fn smallest_stream_has_golden_words() {
    let words = instructions(&MatMul::new(512, 128, 512, Output::F32).unwrap());
    assert_eq!(words.len(), 1076);
    // Header; both parameters of core (0, 2).
    let begin = [
        0x0604_0100,
        0x108,
        140,
        4304,
        0,
        0,
        0x0020_fc00,
        0,
        1,
        24,
        0,
        0,
        0x0020_fc04,
        0,
        0,
        24,
    ];
    assert_eq!(words[..16], begin);
    // The drain of array column 0 by shim 3: descriptor, patch, controller, task.
    #[rustfmt::skip]
    let drain = [
        1, 0, 0x0601_d000, 48, 0x8000, 0, 0, 0, 0xc000_0000, 0x0200_0000, 0, 0x0200_0000,
        0x81, 48, 0, 0, 0, 0, 0x0601_d004, 0, 2, 0, 0, 0,
        3, 0, 0x0601_d200, 0, 0xf00, 0x1f00, 28,
        0, 0, 0x0601_d204, 0, 0x8000_0000, 24,
    ];
    assert_eq!(words[4 + 64 * 6..][..drain.len()], drain);
    // At the end the waits, in the order of the array's columns.
    let shims = [3, 2, 4, 1, 5, 6, 7, 0];
    let waits: Vec<u32> = shims
        .into_iter()
        .flat_map(|shim| [0x80, 16, shim << 16, 0x0001_0100])
        .collect();
    assert_eq!(words[words.len() - 32..], waits);
}
