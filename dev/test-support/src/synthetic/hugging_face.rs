// SPDX-License-Identifier: MPL-2.0
//! As Hugging Face publishes models.

use std::fs;
use std::path::{Path, PathBuf};

use super::{
    AUDIO_CTX, D, N_MELS, Stored, TEXT_CTX, TEXT_TOKENS, Tensors, VOCAB, byte_level_tokens, store,
    tensors,
};

/// The bytes of `model.safetensors`.
pub fn safetensors_bytes(tensors: &Tensors, stored: Stored) -> Vec<u8> {
    let dtype = if stored == Stored::F32 { "F32" } else { "F16" };
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend(store(&tensor.values, stored));
        let info = serde_json::json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), info);
    }
    let header = serde_json::to_vec(&header).expect("JSON");
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// Writes the model into `directory`.
///
/// # Panics
///
/// If a file cannot be written.
pub fn write_hugging_face(directory: &Path, stored: Stored) -> PathBuf {
    write_hugging_face_without_weights(directory);
    fs::write(
        directory.join("model.safetensors"),
        safetensors_bytes(&tensors(), stored),
    )
    .expect("the file is written");
    directory.to_owned()
}

/// Writes the model into `directory`, its weights in two files and an index.
///
/// # Panics
///
/// If a file cannot be written.
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
        fs::write(directory.join(file), safetensors_bytes(&part, Stored::F32))
            .expect("the file is written");
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": weight_map});
    fs::write(
        directory.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .expect("the file is written");
    directory.to_owned()
}

/// The content of `config.json`.
pub fn config_json() -> serde_json::Value {
    serde_json::json!({
        "num_mel_bins": N_MELS, "max_source_positions": AUDIO_CTX, "max_target_positions": TEXT_CTX, "d_model": D,
        "encoder_attention_heads": 1, "encoder_layers": 1, "decoder_attention_heads": 1, "decoder_layers": 1,
        "vocab_size": VOCAB, "model_type": "whisper",
    })
}

fn write_hugging_face_without_weights(directory: &Path) {
    fs::create_dir_all(directory).expect("the directory is made");
    fs::write(directory.join("config.json"), config_json().to_string())
        .expect("the file is written");
    fs::write(
        directory.join("generation_config.json"),
        r#"{"alignment_heads": [[0, 0]]}"#,
    )
    .expect("the file is written");
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
    fs::write(directory.join("tokenizer.json"), tokenizer.to_string())
        .expect("the file is written");
}
