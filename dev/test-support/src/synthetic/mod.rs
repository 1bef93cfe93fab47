// SPDX-License-Identifier: MPL-2.0
//! A complete but very small Whisper model (one layer, 64 columns), written in every format, and the
//! weights of a voice detector.

mod blocks;
mod ctranslate2;
mod ggml;
mod hugging_face;
mod silero;

use std::collections::BTreeMap;

use half::f16;

pub use blocks::BLOCK;
pub use ctranslate2::{ctranslate2_bytes, write_ctranslate2};
pub use ggml::{ggml_bytes, write_ggml};
pub use hugging_face::{config_json, safetensors_bytes, write_hugging_face, write_sharded};
pub use silero::silero_bytes;

/// Columns of every activation.
pub const D: usize = 64;
/// All bytes and two merges, then special tokens of a model with 99 languages.
pub const TEXT_TOKENS: usize = 258;
/// All tokens.
pub const VOCAB: usize = TEXT_TOKENS + 8 + 99 + 1501;
const N_MELS: usize = 80;
const AUDIO_CTX: usize = 1500;
const TEXT_CTX: usize = 32;

/// How elements are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored {
    /// Four bytes each.
    F32,
    /// Two bytes each.
    F16,
    /// A byte each, and a scale for each row of a matrix: only CTranslate2 has it.
    I8,
    /// ggml's blocks of 32 bytes and an f16 scale.
    Q8_0,
    /// ggml's blocks of 32 values of five bits and an f16 scale.
    Q5_0,
}

/// A tensor in f32.
pub struct Tensor {
    /// Rows first.
    pub shape: Vec<usize>,
    /// In row-major order.
    pub values: Vec<f32>,
}

/// Tensors by canonical name.
pub type Tensors = BTreeMap<String, Tensor>;

/// The tensors of the model. Their values differ from each other, and f32, f16 and int8 (with a
/// scale for each row) hold them exactly: k / 128 with -127 <= k <= 127, and 127 / 128 in each row.
pub fn tensors() -> Tensors {
    let mut tensors = Tensors::new();
    let mut random = fastrand::Rng::with_seed(1);
    let mut add = |name: String, shape: &[usize]| {
        let row: usize = shape[1..].iter().product();
        let count: usize = shape.iter().product();
        let values = (0..count).map(|index| {
            let step = if index % row == 0 {
                127
            } else {
                random.i32(-127..=127)
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
        Stored::Q8_0 => values.chunks(BLOCK).flat_map(blocks::q8_0).collect(),
        Stored::Q5_0 => values.chunks(BLOCK).flat_map(blocks::q5_0).collect(),
    }
}

/// The text tokens as raw bytes.
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
        false => char::from_u32(256 + (0..byte).filter(|other| !prints(*other)).count() as u32)
            .expect("a character below 512"),
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
