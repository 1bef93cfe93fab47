// SPDX-License-Identifier: MPL-2.0
//! The tensors that make up a Whisper model, under their canonical (Hugging Face) names.

use std::collections::HashMap;

use crate::config::Config;
use crate::error::ParseError;
use crate::tensor::Tensor;

/// The tensors of a model with these dimensions, without any others.
///
/// # Errors
/// A tensor is missing, has another shape, or is int8 without scales.
pub(crate) fn validate(
    config: &Config,
    mut tensors: HashMap<String, Tensor>,
) -> Result<HashMap<String, Tensor>, ParseError> {
    let mut validated = HashMap::new();
    for (name, shape) in expected(config) {
        let Some(tensor) = tensors.remove(&name) else {
            return Err(ParseError::malformed(format!(
                "the tensor \"{name}\" is missing"
            )));
        };
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(ParseError::malformed(format!(
                "\"{name}\" has the shape {found:?} instead of {shape:?}"
            )));
        }
        if tensor.is_unscaled() {
            return Err(ParseError::malformed(format!(
                "the int8 tensor \"{name}\" has no scales"
            )));
        }
        validated.insert(name, tensor);
    }
    Ok(validated)
}

/// Name and shape of every tensor. The key projections have no bias in Whisper.
fn expected(config: &Config) -> Vec<(String, Vec<usize>)> {
    let d = config.audio_state;
    let mut list = vec![
        (
            "model.encoder.conv1.weight".to_owned(),
            vec![d, config.n_mels, 3],
        ),
        ("model.encoder.conv1.bias".to_owned(), vec![d]),
        ("model.encoder.conv2.weight".to_owned(), vec![d, d, 3]),
        ("model.encoder.conv2.bias".to_owned(), vec![d]),
        (
            "model.encoder.embed_positions.weight".to_owned(),
            vec![config.audio_ctx, d],
        ),
        (
            "model.decoder.embed_tokens.weight".to_owned(),
            vec![config.vocab, d],
        ),
        (
            "model.decoder.embed_positions.weight".to_owned(),
            vec![config.text_ctx, d],
        ),
    ];
    let parts: [(&str, usize, &[&str]); 2] = [
        ("encoder", config.audio_layers, &["self_attn"]),
        (
            "decoder",
            config.text_layers,
            &["self_attn", "encoder_attn"],
        ),
    ];
    for (part, layers, attentions) in parts {
        norm(&mut list, &format!("model.{part}.layer_norm"), d);
        for layer in 0..layers {
            let layer = format!("model.{part}.layers.{layer}");
            for attention in attentions {
                norm(&mut list, &format!("{layer}.{attention}_layer_norm"), d);
                for projection in ["q_proj", "v_proj", "out_proj"] {
                    linear(
                        &mut list,
                        &format!("{layer}.{attention}.{projection}"),
                        d,
                        d,
                    );
                }
                list.push((format!("{layer}.{attention}.k_proj.weight"), vec![d, d]));
            }
            norm(&mut list, &format!("{layer}.final_layer_norm"), d);
            linear(&mut list, &format!("{layer}.fc1"), 4 * d, d);
            linear(&mut list, &format!("{layer}.fc2"), d, 4 * d);
        }
    }
    list
}

fn norm(list: &mut Vec<(String, Vec<usize>)>, name: &str, d: usize) {
    list.push((format!("{name}.weight"), vec![d]));
    list.push((format!("{name}.bias"), vec![d]));
}

fn linear(list: &mut Vec<(String, Vec<usize>)>, name: &str, rows: usize, columns: usize) {
    list.push((format!("{name}.weight"), vec![rows, columns]));
    list.push((format!("{name}.bias"), vec![rows]));
}
