// SPDX-License-Identifier: MPL-2.0
//! ggml files with quantised weights: read with the feature `quantized`, else refused by name.

use test_support::synthetic::{self, Stored};
use whisper_model::{Model, ModelError};

/// The message with which a file is refused as unsupported or malformed.
fn refusal(bytes: &[u8]) -> String {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("ggml-quantised.bin");
    std::fs::write(&path, bytes).unwrap();
    match Model::open(&path) {
        Err(ModelError::Unsupported { what, .. } | ModelError::Malformed { what, .. }) => what,
        other => panic!("{:?}", other.err()),
    }
}

/// The synthetic model with another ggml type and shape in the header of the tensor `name`, a
/// matrix.
fn with_header(stored: Stored, name: &str, kind: u32, shape: [u32; 2]) -> Vec<u8> {
    let mut bytes = synthetic::ggml_bytes(&synthetic::tensors(), stored);
    let mut windows = bytes.windows(name.len());
    let place = windows
        .position(|window| window == name.as_bytes())
        .unwrap();
    // Before the name: its type, and two dimensions with the fastest first.
    let header = [kind, shape[1], shape[0]].map(u32::to_le_bytes).concat();
    bytes[place - 12..place].copy_from_slice(&header);
    bytes
}

const QUERY: &str = "encoder.blocks.0.attn.query.weight";

#[cfg(not(feature = "quantized"))]
#[test]
fn quantised_files_are_refused_by_type_and_feature() {
    for (stored, name) in [(Stored::Q8_0, "q8_0"), (Stored::Q5_0, "q5_0")] {
        let what = refusal(&synthetic::ggml_bytes(&synthetic::tensors(), stored));
        for part in [name, "feature \"quantized\"", "f16"] {
            assert!(what.contains(part), "{what}");
        }
    }
    let what = refusal(&with_header(Stored::F16, QUERY, 12, [64, 64]));
    assert!(what.contains("q4_K"), "{what}");
}

#[test]
fn an_unknown_type_is_refused() {
    let what = refusal(&with_header(Stored::F16, QUERY, 99, [64, 64]));
    assert!(what.contains("type 99"), "{what}");
}

#[cfg(feature = "quantized")]
mod read {
    use super::*;
    use std::iter::zip;
    use synthetic::BLOCK;
    use whisper_model::WeightData;

    /// The step of a block, and how far from its values the quantised ones may be.
    fn tolerance(stored: Stored, block: &[f32]) -> f32 {
        let largest = block
            .iter()
            .fold(0.0, |largest: f32, x| largest.max(x.abs()));
        // Half precision rounds the scale.
        let rounding = largest / 2048.0;
        match stored {
            Stored::Q8_0 => largest / 127.0 / 2.0 + rounding,
            // The value opposite to the largest is clamped.
            Stored::Q5_0 => largest / 16.0 + rounding,
            _ => 0.0,
        }
    }

    #[test]
    fn quantised_weights_come_out_within_a_step() {
        let root = tempfile::tempdir().unwrap();
        for stored in [Stored::Q8_0, Stored::Q5_0] {
            let path = synthetic::write_ggml(&root.path().join("ggml-quantised.bin"), stored);
            let model = Model::open(&path).unwrap();
            let mut quantised = 0;
            for (name, expected) in synthetic::tensors() {
                let weight = model.weight(&name).unwrap();
                assert_eq!(weight.shape, expected.shape, "{name}");
                let is_quantised = matches!(weight.data, WeightData::Quantized { .. });
                quantised += usize::from(is_quantised);
                let stored = if is_quantised { stored } else { Stored::F16 };
                let values = weight.to_f32();
                assert_eq!(values.len(), expected.values.len(), "{name}");
                for (read, block) in zip(values.chunks(BLOCK), expected.values.chunks(BLOCK)) {
                    let tolerance = tolerance(stored, block);
                    for (read, value) in zip(read, block) {
                        assert!((read - value).abs() <= tolerance, "{name}: {read} {value}");
                    }
                }
            }
            // Four projections in the encoder, eight in the decoder, two pairs of layers, and the
            // embedding.
            assert_eq!(quantised, 4 + 8 + 4 + 1);
        }
    }

    #[test]
    fn quantised_rows_are_those_of_the_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = synthetic::write_ggml(&root.path().join("ggml-q5_0.bin"), Stored::Q5_0);
        let model = Model::open(&path).unwrap();
        let name = "model.decoder.embed_tokens.weight";
        let whole = model.weight(name).unwrap().to_f32();
        let part = model.weight_rows(name, 100..164).unwrap();
        assert_eq!(part.shape, [64, 64]);
        assert_eq!(part.to_f32(), whole[100 * 64..164 * 64]);
    }

    #[test]
    fn quantised_rows_must_be_whole_blocks() {
        for (kind, shape, part) in [
            (8, [128, 24], "whole blocks"),
            (8, [0, 31], "whole blocks"),
            // k-quants have blocks of 256 values.
            (12, [64, 64], "whole blocks"),
            (14, [64, !255], "ends early"),
            (8, [u32::MAX, !31], ""),
            (9, [64, 64], "q8_1"),
            (15, [64, 256], "q8_K"),
        ] {
            let what = refusal(&with_header(Stored::Q8_0, QUERY, kind, shape));
            assert!(what.contains(part), "{kind} {shape:?}: {what}");
        }
    }

    #[test]
    fn a_quantised_vector_is_refused() {
        let bytes = synthetic::ggml_bytes(&synthetic::tensors(), Stored::Q8_0);
        let name = b"decoder.blocks.0.attn_ln.weight";
        let mut windows = bytes.windows(name.len());
        let place = windows.position(|window| window == name).unwrap();
        let mut spoilt = bytes.clone();
        // Before the name of a vector: its type and one dimension.
        spoilt[place - 8..place - 4].copy_from_slice(&8u32.to_le_bytes());
        assert!(refusal(&spoilt).contains("whole blocks"));
    }
}
