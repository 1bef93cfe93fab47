// SPDX-License-Identifier: MPL-2.0
//! As CTranslate2 converts them.

use std::fs;
use std::path::{Path, PathBuf};

use super::{D, Stored, Tensors, byte_level_tokens, store, tensors};

/// The bytes of `model.bin`.
pub fn ctranslate2_bytes(tensors: &Tensors, stored: Stored) -> Vec<u8> {
    let mut variables = Variables {
        stored,
        count: 0,
        bytes: Vec::new(),
    };
    for part in ["encoder", "decoder"] {
        variables.add(&format!("{part}/num_heads"), &[], 2, &1i16.to_le_bytes());
    }
    for (from, to) in ctranslate2_names() {
        variables.stack(tensors, &from, &to);
    }
    let mut bytes = 6u32.to_le_bytes().to_vec();
    bytes.extend(string("WhisperSpec"));
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((variables.count as u32).to_le_bytes());
    bytes.extend(variables.bytes);
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(string("decoder/projection/weight"));
    bytes.extend(string("decoder/embeddings/weight"));
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [
        &(text.len() as u16 + 1).to_le_bytes()[..],
        text.as_bytes(),
        b"\0",
    ]
    .concat()
}

/// Each variable and the canonical tensors that are stacked in it; an absent one is a zero bias.
fn ctranslate2_names() -> Vec<(String, Vec<String>)> {
    let mut names = vec![
        (
            "encoder/position_encodings/encodings".into(),
            vec!["model.encoder.embed_positions.weight".into()],
        ),
        (
            "decoder/position_encodings/encodings".into(),
            vec!["model.decoder.embed_positions.weight".into()],
        ),
        (
            "decoder/embeddings/weight".into(),
            vec!["model.decoder.embed_tokens.weight".into()],
        ),
    ];
    let mut pair = |from: &str, kinds: [&str; 2], to: &[String]| {
        for (kind, canonical) in kinds.iter().zip(["weight", "bias"]) {
            names.push((
                format!("{from}/{kind}"),
                to.iter()
                    .map(|name| format!("{name}.{canonical}"))
                    .collect(),
            ));
        }
    };
    const LINEAR: [&str; 2] = ["weight", "bias"];
    const NORM: [&str; 2] = ["gamma", "beta"];
    for conv in ["conv1", "conv2"] {
        pair(
            &format!("encoder/{conv}"),
            LINEAR,
            &[format!("model.encoder.{conv}")],
        );
    }
    for part in ["encoder", "decoder"] {
        let (from, to) = (format!("{part}/layer_0"), format!("model.{part}.layers.0"));
        let projections = |attention: &str, names: &[&str]| {
            names
                .iter()
                .map(|name| format!("{to}.{attention}.{name}_proj"))
                .collect::<Vec<_>>()
        };
        pair(
            &format!("{part}/layer_norm"),
            NORM,
            &[format!("model.{part}.layer_norm")],
        );
        pair(
            &format!("{from}/self_attention/layer_norm"),
            NORM,
            &[format!("{to}.self_attn_layer_norm")],
        );
        pair(
            &format!("{from}/self_attention/linear_0"),
            LINEAR,
            &projections("self_attn", &["q", "k", "v"]),
        );
        pair(
            &format!("{from}/self_attention/linear_1"),
            LINEAR,
            &projections("self_attn", &["out"]),
        );
        if part == "decoder" {
            pair(
                &format!("{from}/attention/layer_norm"),
                NORM,
                &[format!("{to}.encoder_attn_layer_norm")],
            );
            pair(
                &format!("{from}/attention/linear_0"),
                LINEAR,
                &projections("encoder_attn", &["q"]),
            );
            pair(
                &format!("{from}/attention/linear_1"),
                LINEAR,
                &projections("encoder_attn", &["k", "v"]),
            );
            pair(
                &format!("{from}/attention/linear_2"),
                LINEAR,
                &projections("encoder_attn", &["out"]),
            );
        }
        pair(
            &format!("{from}/ffn/layer_norm"),
            NORM,
            &[format!("{to}.final_layer_norm")],
        );
        pair(
            &format!("{from}/ffn/linear_0"),
            LINEAR,
            &[format!("{to}.fc1")],
        );
        pair(
            &format!("{from}/ffn/linear_1"),
            LINEAR,
            &[format!("{to}.fc2")],
        );
    }
    names
}

struct Variables {
    stored: Stored,
    count: usize,
    bytes: Vec<u8>,
}

impl Variables {
    fn add(&mut self, name: &str, shape: &[usize], kind: u8, data: &[u8]) {
        self.count += 1;
        self.bytes.extend(string(name));
        self.bytes.push(shape.len() as u8);
        shape
            .iter()
            .for_each(|dim| self.bytes.extend((*dim as u32).to_le_bytes()));
        self.bytes.push(kind);
        self.bytes.extend((data.len() as u32).to_le_bytes());
        self.bytes.extend(data);
    }

    fn stack(&mut self, tensors: &Tensors, name: &str, parts: &[String]) {
        let mut shape = Vec::new();
        let mut values = Vec::new();
        for part in parts {
            match tensors.get(part) {
                Some(tensor) => {
                    let rows = shape.first().copied().unwrap_or(0);
                    shape = tensor.shape.clone();
                    shape[0] += rows;
                    values.extend(&tensor.values);
                }
                None => {
                    let rows = shape.first().copied().unwrap_or(0);
                    shape = vec![rows + D];
                    values.extend([0.0; D]);
                }
            }
        }
        // As the converter does: matrices and embeddings become int8, the rest stays.
        let is_matrix = shape.len() == 2 && name.ends_with("weight");
        let (stored, kind) = match self.stored {
            Stored::I8 if is_matrix => (Stored::I8, 1),
            Stored::F16 => (Stored::F16, 4),
            Stored::I8 | Stored::F32 => (Stored::F32, 0),
            Stored::Q8_0 | Stored::Q5_0 => panic!("CTranslate2 has no blocks"),
        };
        self.add(name, &shape, kind, &store(&values, stored));
        if stored == Stored::I8 {
            let scales = 128f32.to_le_bytes().repeat(shape[0]);
            self.add(&format!("{name}_scale"), &shape[..1], 0, &scales);
        }
    }
}

/// Writes the model into `directory`, with its tokens in `vocabulary.json` or `vocabulary.txt`.
///
/// # Panics
///
/// If a file cannot be written.
pub fn write_ctranslate2(directory: &Path, stored: Stored, vocabulary_json: bool) -> PathBuf {
    fs::create_dir_all(directory).expect("the directory is made");
    fs::write(
        directory.join("model.bin"),
        ctranslate2_bytes(&tensors(), stored),
    )
    .expect("the file is written");
    fs::write(
        directory.join("config.json"),
        r#"{"alignment_heads": [[0, 0]]}"#,
    )
    .expect("the file is written");
    let tokens = byte_level_tokens();
    if vocabulary_json {
        fs::write(
            directory.join("vocabulary.json"),
            serde_json::to_vec(&tokens).expect("JSON"),
        )
        .expect("the file is written");
    } else {
        fs::write(directory.join("vocabulary.txt"), tokens.join("\n") + "\n")
            .expect("the file is written");
    }
    directory.to_owned()
}
