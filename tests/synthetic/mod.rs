// SPDX-License-Identifier: MPL-2.0
//! A complete but very small Whisper model (one layer, d = 64), written in every format.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::f16;

pub const D: usize = 64;
/// All bytes and two merges, then special tokens of a model with 99 languages.
pub const TEXT_TOKENS: usize = 258;
pub const VOCAB: usize = TEXT_TOKENS + 8 + 99 + 1501;
const N_MELS: usize = 80;
const AUDIO_CTX: usize = 1500;
const TEXT_CTX: usize = 32;

/// How elements are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored {
    F32,
    F16,
    I8,
}

pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Tensors by canonical name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Every tensor has values of its own that f32, f16 and int8 (scaled by 127 for each row) all hold exactly:
/// k / 128 with -127 <= k <= 127, and 127 / 128 in each row.
pub fn tensors() -> Tensors {
    let mut tensors = Tensors::new();
    let mut seed = 1;
    let mut add = |name: String, shape: &[usize]| {
        let row: usize = shape[1..].iter().product();
        let count: usize = shape.iter().product();
        let values = (0..count).map(|index| {
            let step = if index % row == 0 {
                127
            } else {
                (random(&mut seed) % 255) as i32 - 127
            };
            step as f32 / 128.0
        });
        tensors.insert(
            name,
            Tensor {
                shape: shape.to_vec(),
                values: values.collect(),
            },
        );
    };
    add("model.encoder.conv1.weight".into(), &[D, N_MELS, 3]);
    add("model.encoder.conv1.bias".into(), &[D]);
    add("model.encoder.conv2.weight".into(), &[D, D, 3]);
    add("model.encoder.conv2.bias".into(), &[D]);
    add(
        "model.encoder.embed_positions.weight".into(),
        &[AUDIO_CTX, D],
    );
    add(
        "model.decoder.embed_positions.weight".into(),
        &[TEXT_CTX, D],
    );
    add("model.decoder.embed_tokens.weight".into(), &[VOCAB, D]);
    for (part, attentions) in [
        ("encoder", &["self_attn"][..]),
        ("decoder", &["self_attn", "encoder_attn"]),
    ] {
        let layer = format!("model.{part}.layers.0");
        let mut norms = vec![
            format!("model.{part}.layer_norm"),
            format!("{layer}.final_layer_norm"),
        ];
        for attention in attentions {
            norms.push(format!("{layer}.{attention}_layer_norm"));
            for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                add(format!("{layer}.{attention}.{projection}.weight"), &[D, D]);
                if projection != "k_proj" {
                    add(format!("{layer}.{attention}.{projection}.bias"), &[D]);
                }
            }
        }
        for norm in norms {
            add(format!("{norm}.weight"), &[D]);
            add(format!("{norm}.bias"), &[D]);
        }
        add(format!("{layer}.fc1.weight"), &[4 * D, D]);
        add(format!("{layer}.fc1.bias"), &[4 * D]);
        add(format!("{layer}.fc2.weight"), &[D, 4 * D]);
        add(format!("{layer}.fc2.bias"), &[D]);
    }
    tensors
}

/// xorshift64*, for reproducible mutations.
pub fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
}

fn store(values: &[f32], stored: Stored) -> Vec<u8> {
    match stored {
        Stored::F32 => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Stored::F16 => values
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes())
            .collect(),
        Stored::I8 => values
            .iter()
            .map(|value| (value * 128.0) as i8 as u8)
            .collect(),
    }
}

/// Text tokens as raw bytes.
pub fn text_tokens() -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    tokens.push(b"he".to_vec());
    tokens.push(b"ll".to_vec());
    tokens
}

/// Text tokens and all special ones, as GPT-2's byte-level strings.
fn byte_level_tokens() -> Vec<String> {
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let stand_in = |byte: u8| match prints(byte) {
        true => char::from(byte),
        false => {
            char::from_u32(256 + (0..byte).filter(|other| !prints(*other)).count() as u32).unwrap()
        }
    };
    let mut tokens: Vec<String> = text_tokens()
        .iter()
        .map(|token| token.iter().map(|byte| stand_in(*byte)).collect())
        .collect();
    let mut special = |name: &str| tokens.push(format!("<|{name}|>"));
    special("endoftext");
    special("startoftranscript");
    special("en");
    (1..99).for_each(|language| special(&format!("l{language}")));
    for marker in [
        "translate",
        "transcribe",
        "startoflm",
        "startofprev",
        "nospeech",
        "notimestamps",
    ] {
        special(marker);
    }
    (0..1501).for_each(|step| special(&format!("{:.2}", f64::from(step) * 0.02)));
    assert_eq!(tokens.len(), VOCAB);
    tokens
}

// ---- Hugging Face

pub fn safetensors_bytes(tensors: &Tensors, stored: Stored) -> Vec<u8> {
    let dtype = if stored == Stored::F32 { "F32" } else { "F16" };
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend(store(&tensor.values, stored));
        let info = serde_json::json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), info);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

pub fn write_hugging_face(directory: &Path, stored: Stored) -> PathBuf {
    write_hugging_face_without_weights(directory);
    fs::write(
        directory.join("model.safetensors"),
        safetensors_bytes(&tensors(), stored),
    )
    .unwrap();
    directory.to_owned()
}

/// The same model in two files and an index.
pub fn write_sharded(directory: &Path) -> PathBuf {
    write_hugging_face_without_weights(directory);
    let mut first = tensors();
    let second = first.split_off("model.encoder");
    let mut weight_map = serde_json::Map::new();
    for (file, part) in [
        ("model-00001-of-00002.safetensors", first),
        ("model-00002-of-00002.safetensors", second),
    ] {
        weight_map.extend(part.keys().map(|name| (name.clone(), file.into())));
        fs::write(directory.join(file), safetensors_bytes(&part, Stored::F32)).unwrap();
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": weight_map});
    fs::write(
        directory.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    directory.to_owned()
}

pub fn config_json() -> serde_json::Value {
    serde_json::json!({
        "num_mel_bins": N_MELS, "max_source_positions": AUDIO_CTX, "max_target_positions": TEXT_CTX, "d_model": D,
        "encoder_attention_heads": 1, "encoder_layers": 1, "decoder_attention_heads": 1, "decoder_layers": 1,
        "vocab_size": VOCAB, "model_type": "whisper",
    })
}

fn write_hugging_face_without_weights(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("config.json"), config_json().to_string()).unwrap();
    fs::write(
        directory.join("generation_config.json"),
        r#"{"alignment_heads": [[0, 0]]}"#,
    )
    .unwrap();
    let tokens = byte_level_tokens();
    let vocab: serde_json::Map<_, _> = tokens[..TEXT_TOKENS]
        .iter()
        .zip(0..)
        .map(|(token, id)| (token.clone(), serde_json::Value::from(id)))
        .collect();
    let added: Vec<_> = (TEXT_TOKENS..VOCAB)
        .map(|id| serde_json::json!({"id": id, "content": tokens[id]}))
        .collect();
    let tokenizer =
        serde_json::json!({"added_tokens": added, "model": {"type": "BPE", "vocab": vocab}});
    fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

// ---- CTranslate2

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
        };
        self.add(name, &shape, kind, &store(&values, stored));
        if stored == Stored::I8 {
            let scales = 128f32.to_le_bytes().repeat(shape[0]);
            self.add(&format!("{name}_scale"), &shape[..1], 0, &scales);
        }
    }
}

pub fn write_ctranslate2(directory: &Path, stored: Stored, vocabulary_json: bool) -> PathBuf {
    fs::create_dir_all(directory).unwrap();
    fs::write(
        directory.join("model.bin"),
        ctranslate2_bytes(&tensors(), stored),
    )
    .unwrap();
    fs::write(
        directory.join("config.json"),
        r#"{"alignment_heads": [[0, 0]]}"#,
    )
    .unwrap();
    let tokens = byte_level_tokens();
    if vocabulary_json {
        fs::write(
            directory.join("vocabulary.json"),
            serde_json::to_vec(&tokens).unwrap(),
        )
        .unwrap();
    } else {
        fs::write(directory.join("vocabulary.txt"), tokens.join("\n") + "\n").unwrap();
    }
    directory.to_owned()
}

// ---- ggml

pub fn ggml_bytes(tensors: &Tensors, stored: Stored) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut int = |value: usize| bytes.extend((value as u32).to_le_bytes());
    int(0x6767_6d6c);
    for value in [
        VOCAB,
        AUDIO_CTX,
        D,
        1,
        1,
        TEXT_CTX,
        D,
        1,
        1,
        N_MELS,
        usize::from(stored == Stored::F16),
    ] {
        int(value);
    }
    int(N_MELS);
    int(201);
    bytes.extend(vec![0; N_MELS * 201 * 4]);
    bytes.extend((TEXT_TOKENS as u32).to_le_bytes());
    for token in text_tokens() {
        bytes.extend((token.len() as u32).to_le_bytes());
        bytes.extend(token);
    }
    for (canonical, tensor) in tensors {
        ggml_tensor(&mut bytes, canonical, tensor, stored);
    }
    bytes
}

fn ggml_tensor(bytes: &mut Vec<u8>, canonical: &str, tensor: &Tensor, stored: Stored) {
    let name = openai_name(canonical);
    let is_conv_bias = canonical.contains(".conv") && canonical.ends_with(".bias");
    let shape = if is_conv_bias {
        vec![D, 1]
    } else {
        tensor.shape.clone()
    };
    // As the converter does: vectors and positions stay f32.
    let halves =
        stored == Stored::F16 && tensor.shape.len() > 1 && !canonical.contains("positions");
    let mut int = |value: usize| bytes.extend((value as u32).to_le_bytes());
    int(shape.len());
    int(name.len());
    int(usize::from(halves));
    shape.iter().rev().for_each(|dim| int(*dim));
    bytes.extend(name.as_bytes());
    bytes.extend(store(
        &tensor.values,
        if halves { Stored::F16 } else { Stored::F32 },
    ));
}

fn openai_name(canonical: &str) -> String {
    let mut name = canonical
        .replace("model.", "")
        .replace("embed_positions.weight", "positional_embedding");
    for (hugging_face, openai) in [
        ("embed_tokens", "token_embedding"),
        ("layers.0.", "blocks.0."),
        ("self_attn_layer_norm", "attn_ln"),
        ("encoder_attn_layer_norm", "cross_attn_ln"),
        ("final_layer_norm", "mlp_ln"),
        ("encoder.layer_norm", "encoder.ln_post"),
        ("decoder.layer_norm", "decoder.ln"),
        ("self_attn", "attn"),
        ("encoder_attn", "cross_attn"),
        ("q_proj", "query"),
        ("k_proj", "key"),
        ("v_proj", "value"),
        ("out_proj", "out"),
        ("fc1", "mlp.0"),
        ("fc2", "mlp.2"),
    ] {
        name = name.replace(hugging_face, openai);
    }
    name
}

pub fn write_ggml(path: &Path, stored: Stored) -> PathBuf {
    fs::write(path, ggml_bytes(&tensors(), stored)).unwrap();
    path.to_owned()
}
