// SPDX-License-Identifier: MPL-2.0
//! whisper.cpp's ggml `.bin`.
//!
//! Little-endian: u32 magic; eleven i32 hyperparameters; the mel filterbank (i32 bands, i32 bins,
//! f32 values; computed here, so skipped); i32 count of tokens, each u32 length and raw bytes; then
//! tensors up to the end of the file: i32 rank, i32 length of the name, i32 type, i32 dimensions
//! with the fastest first, name, data. Source: whisper.cpp `models/convert-pt-to-ggml.py` (the
//! writer) and `whisper_model_load` (the reader).

use std::collections::HashMap;
use std::io::{Read, Seek};

use crate::config::{Config, MAX_VOCAB};
use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::model::Checkpoint;
#[cfg(feature = "quantized")]
use crate::quantized::BlockType;
use crate::tensor::{ElementType, Tensor};

const MAGIC: u32 = 0x6767_6d6c;
const MAX_RANK: usize = 4;
const MAX_NAME: usize = 256;
/// large-v3 has about 1260 tensors.
const MAX_TENSORS: usize = 1 << 16;

/// Whether this is the start of a ggml file.
pub(crate) fn recognises(file: impl Read + Seek) -> bool {
    Cursor::new(file).and_then(|mut cursor| cursor.u32()) == Ok(MAGIC)
}

/// What a whole file says.
///
/// # Errors
/// The bytes contradict themselves, or are quantised in a way that this build does not read.
pub fn parse(file: impl Read + Seek) -> Result<Checkpoint, ParseError> {
    let mut cursor = Cursor::new(file)?;
    if cursor.u32()? != MAGIC {
        return Err(ParseError::malformed("no ggml magic"));
    }
    let config = config(&mut cursor)?;
    config.check()?;
    let bands = cursor.count()?;
    let bins = cursor.count()?;
    let filterbank = ElementType::F32.byte_size(&[bands, bins])?;
    cursor.skip(filterbank)?;
    let vocabulary = vocabulary(&mut cursor, config.vocab)?;
    let mut tensors = HashMap::new();
    while cursor.left() > 0 {
        let (name, tensor) = tensor(&mut cursor)?;
        if tensors.len() == MAX_TENSORS {
            return Err(ParseError::malformed(format!(
                "more than {MAX_TENSORS} tensors"
            )));
        }
        if tensors.insert(canonical(&name), tensor).is_some() {
            return Err(ParseError::malformed(format!(
                "the tensor {name:?} appears twice"
            )));
        }
    }
    flatten_biases(&mut tensors)?;
    Ok(Checkpoint {
        tensors,
        config,
        vocabulary: Some(vocabulary),
    })
}

fn config(cursor: &mut Cursor<impl Read + Seek>) -> Result<Config, ParseError> {
    let mut next = || cursor.count();
    let config = Config {
        vocab: next()?,
        audio_ctx: next()?,
        audio_state: next()?,
        audio_heads: next()?,
        audio_layers: next()?,
        text_ctx: next()?,
        text_state: next()?,
        text_heads: next()?,
        text_layers: next()?,
        n_mels: next()?,
        alignment_heads: Vec::new(),
    };
    // The file type only sums up the types that the tensors name themselves.
    let _ftype = next()?;
    Ok(config)
}

fn vocabulary(
    cursor: &mut Cursor<impl Read + Seek>,
    rows: usize,
) -> Result<Vec<Box<[u8]>>, ParseError> {
    let count = cursor.count()?;
    if count > rows.min(MAX_VOCAB) {
        return Err(ParseError::malformed(format!(
            "{count} tokens listed for a vocabulary of {rows}"
        )));
    }
    (0..count)
        .map(|_| {
            let length = cursor.count()?;
            Ok(cursor.take(length)?.into())
        })
        .collect()
}

fn tensor(cursor: &mut Cursor<impl Read + Seek>) -> Result<(String, Tensor), ParseError> {
    let rank = cursor.count()?;
    let length = cursor.count()?;
    let kind = cursor.u32()?;
    if rank > MAX_RANK || length > MAX_NAME {
        return Err(ParseError::malformed(format!(
            "a tensor of {rank} dimensions with a name of {length} bytes"
        )));
    }
    let mut shape = (0..rank)
        .map(|_| cursor.count())
        .collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    let name = String::from_utf8(cursor.take(length)?)
        .map_err(|_| ParseError::malformed("a name that is not text"))?;
    let element = match (kind, quantisation(kind)) {
        (0, _) => ElementType::F32,
        (1, _) => ElementType::F16,
        (_, Some(quantisation)) => quantized(kind, quantisation)?,
        (_, None) => {
            return Err(ParseError::malformed(format!("\"{name}\" has type {kind}")));
        }
    };
    let size = element.byte_size(&shape)?;
    let offset = cursor.position();
    cursor.skip(size)?;
    Ok((name, Tensor::new(element, shape, offset, size)?))
}

/// The name of a quantised type, by its number in ggml's `enum ggml_type`.
fn quantisation(kind: u32) -> Option<&'static str> {
    Some(match kind {
        2 => "q4_0",
        3 => "q4_1",
        6 => "q5_0",
        7 => "q5_1",
        8 => "q8_0",
        9 => "q8_1",
        10 => "q2_K",
        11 => "q3_K",
        12 => "q4_K",
        13 => "q5_K",
        14 => "q6_K",
        15 => "q8_K",
        _ => return None,
    })
}

#[cfg(feature = "quantized")]
fn quantized(kind: u32, name: &str) -> Result<ElementType, ParseError> {
    let block = BlockType::from_ggml(kind).ok_or_else(|| {
        ParseError::malformed(format!("weights in {name}, ggml's type for activations"))
    })?;
    Ok(ElementType::Quantized(block))
}

#[cfg(not(feature = "quantized"))]
fn quantized(_kind: u32, name: &str) -> Result<ElementType, ParseError> {
    Err(ParseError::unsupported(format!(
        "ggml models quantised to {name} can only be read by a build with the feature \"quantized\"; \
         use the f16 file (ggml-NAME.bin without a suffix)"
    )))
}

/// OpenAI's names of modules to Hugging Face's.
const RENAMED: [(&str, &str); 16] = [
    ("attn_ln", "self_attn_layer_norm"),
    ("attn.query", "self_attn.q_proj"),
    ("attn.key", "self_attn.k_proj"),
    ("attn.value", "self_attn.v_proj"),
    ("attn.out", "self_attn.out_proj"),
    ("cross_attn_ln", "encoder_attn_layer_norm"),
    ("cross_attn.query", "encoder_attn.q_proj"),
    ("cross_attn.key", "encoder_attn.k_proj"),
    ("cross_attn.value", "encoder_attn.v_proj"),
    ("cross_attn.out", "encoder_attn.out_proj"),
    ("mlp_ln", "final_layer_norm"),
    ("mlp.0", "fc1"),
    ("mlp.2", "fc2"),
    ("ln_post", "layer_norm"),
    ("ln", "layer_norm"),
    ("token_embedding", "embed_tokens"),
];

/// `decoder.blocks.3.attn.query.weight` to `model.decoder.layers.3.self_attn.q_proj.weight`.
/// Unknown names stay.
fn canonical(name: &str) -> String {
    rename(name).unwrap_or_else(|| name.to_owned())
}

fn rename(name: &str) -> Option<String> {
    let (part, rest) = name.split_once('.')?;
    if rest == "positional_embedding" {
        return Some(format!("model.{part}.embed_positions.weight"));
    }
    let (module, kind) = rest.rsplit_once('.')?;
    let (layer, module) = match module
        .strip_prefix("blocks.")
        .and_then(|module| module.split_once('.'))
    {
        Some((layer, module)) => (format!("layers.{layer}."), module),
        None => (String::new(), module),
    };
    let module = RENAMED
        .iter()
        .find(|(openai, _)| *openai == module)
        .map_or(module, |(_, canonical)| canonical);
    Some(format!("model.{part}.{layer}{module}.{kind}"))
}

/// Makes vectors of the biases of the convolutions, which are stored as columns, `[d, 1]`.
fn flatten_biases(tensors: &mut HashMap<String, Tensor>) -> Result<(), ParseError> {
    for name in ["model.encoder.conv1.bias", "model.encoder.conv2.bias"] {
        if let Some(tensor) = tensors.remove(name) {
            let elements = tensor.shape().iter().product();
            tensors.insert(name.to_owned(), tensor.reshaped(vec![elements])?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_names_become_canonical() {
        for (openai, expected) in [
            ("encoder.conv1.bias", "model.encoder.conv1.bias"),
            (
                "encoder.positional_embedding",
                "model.encoder.embed_positions.weight",
            ),
            ("encoder.ln_post.weight", "model.encoder.layer_norm.weight"),
            (
                "encoder.blocks.11.mlp.2.bias",
                "model.encoder.layers.11.fc2.bias",
            ),
            ("decoder.ln.bias", "model.decoder.layer_norm.bias"),
            (
                "decoder.token_embedding.weight",
                "model.decoder.embed_tokens.weight",
            ),
            (
                "decoder.blocks.0.cross_attn.key.weight",
                "model.decoder.layers.0.encoder_attn.k_proj.weight",
            ),
            ("nothing", "nothing"),
        ] {
            assert_eq!(canonical(openai), expected);
        }
    }
}
