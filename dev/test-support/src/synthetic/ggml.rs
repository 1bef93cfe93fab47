// SPDX-License-Identifier: MPL-2.0
//! As whisper.cpp converts them.

use std::fs;
use std::path::{Path, PathBuf};

use super::{
    AUDIO_CTX, D, N_MELS, Stored, TEXT_CTX, TEXT_TOKENS, Tensor, Tensors, VOCAB, store, tensors,
    text_tokens,
};

/// The bytes of a GGML file.
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
        ggml_type(stored),
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
    // As the converter does: vectors and positions stay f32, and blocks are for matrices only.
    let stored = match tensor.shape.len() {
        _ if canonical.contains("positions") => Stored::F32,
        2 => stored,
        3 if stored != Stored::F32 => Stored::F16,
        _ => Stored::F32,
    };
    let mut int = |value: usize| bytes.extend((value as u32).to_le_bytes());
    int(shape.len());
    int(name.len());
    int(ggml_type(stored));
    shape.iter().rev().for_each(|dim| int(*dim));
    bytes.extend(name.as_bytes());
    bytes.extend(store(&tensor.values, stored));
}

/// The number in `enum ggml_type`.
fn ggml_type(stored: Stored) -> usize {
    match stored {
        Stored::F32 => 0,
        Stored::F16 => 1,
        Stored::Q5_0 => 6,
        Stored::Q8_0 => 8,
        Stored::I8 => panic!("ggml has no int8 with a scale for each row"),
    }
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

/// Writes the model to the file `path`.
///
/// # Panics
///
/// If the file cannot be written.
pub fn write_ggml(path: &Path, stored: Stored) -> PathBuf {
    fs::write(path, ggml_bytes(&tensors(), stored)).expect("the file is written");
    path.to_owned()
}
