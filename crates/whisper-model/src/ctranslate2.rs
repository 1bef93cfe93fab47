// SPDX-License-Identifier: MPL-2.0
//! CTranslate2's `model.bin`, version 6.
//!
//! Little-endian: u32 version; string specification (`WhisperSpec`); u32 revision; u32 count; for
//! each variable: string name, u8 rank, u32 dimensions, u8 type, u32 bytes, data; u32 count of
//! aliases, each two strings (alias, variable). A string is u16 length and bytes, with a NUL at the
//! end. Source: `ctranslate2/specs/model_spec.py` (the writer).
//!
//! The query, key and value projections of self-attention are stacked by rows, and so are key and
//! value of cross-attention; they are handed out as row ranges of the file. An int8 matrix has a
//! `weight_scale` for each row, by which its values were multiplied before rounding.

use std::collections::HashMap;
use std::io::{Read, Seek};

use crate::config::Config;
use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::model::Checkpoint;
use crate::tensor::{ElementType, Tensor};

const VERSION: u32 = 6;
const SPECIFICATION: &str = "WhisperSpec";
const MAX_RANK: u8 = 4;
/// large-v3 has about 1600 variables.
const MAX_VARIABLES: usize = 1 << 16;

/// Whether this is the start of a CTranslate2 Whisper model, of any version.
pub(crate) fn recognises(file: impl Read + Seek) -> bool {
    let Ok(mut cursor) = Cursor::new(file) else {
        return false;
    };
    matches!(cursor.u32(), Ok(1..=64))
        && string(&mut cursor).is_ok_and(|name| name == SPECIFICATION)
}

/// What a whole `model.bin` says.
///
/// # Errors
/// The bytes contradict themselves, or are of another version or kind.
pub fn parse(file: impl Read + Seek) -> Result<Checkpoint, ParseError> {
    let variables = Variables::parse(file)?;
    let config = variables.config()?;
    config.check()?;
    Ok(Checkpoint {
        tensors: variables.canonical(&config)?,
        config,
        vocabulary: None,
    })
}

enum Variable {
    Weight(Tensor),
    /// What the rows of an int8 matrix were multiplied by.
    Scales(Vec<f32>),
    /// Integers of one element: settings of the specification, such as the number of heads.
    Setting(i64),
    /// Of no use here.
    Other,
}

struct Variables {
    by_name: HashMap<String, Variable>,
}

impl Variables {
    fn parse(file: impl Read + Seek) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(file)?;
        let version = cursor.u32()?;
        if version != VERSION {
            return Err(ParseError::unsupported(format!(
                "CTranslate2 format version {version}, only {VERSION} can be read; \
                 convert the model again with ct2-transformers-converter"
            )));
        }
        let specification = string(&mut cursor)?;
        if specification != SPECIFICATION {
            return Err(ParseError::unsupported(format!(
                "a CTranslate2 model of kind {specification:?}, not WhisperSpec"
            )));
        }
        let _revision = cursor.u32()?;
        let count = cursor.count()?;
        if count > MAX_VARIABLES {
            return Err(ParseError::malformed(format!("{count} variables")));
        }
        let mut by_name = HashMap::new();
        for _ in 0..count {
            let name = string(&mut cursor)?;
            if by_name.contains_key(&name) {
                return Err(ParseError::malformed(format!(
                    "the variable {name:?} appears twice"
                )));
            }
            let variable = variable(&mut cursor, &name).map_err(|error| within(&name, error))?;
            by_name.insert(name, variable);
        }
        // Aliases (the output projection is the token embedding) name nothing that is not read
        // under its own name.
        Ok(Variables { by_name })
    }

    fn weight(&self, name: &str) -> Result<&Tensor, ParseError> {
        match self.by_name.get(name) {
            Some(Variable::Weight(tensor)) => Ok(tensor),
            Some(_) => Err(ParseError::unsupported(format!(
                "the variable \"{name}\" is of a type other than float32, float16, bfloat16 and int8; \
                 convert the model with --quantization float16"
            ))),
            None => Err(ParseError::malformed(format!(
                "the variable \"{name}\" is missing"
            ))),
        }
    }

    /// A matrix, convolution or embedding, with its scales where it is int8.
    fn scaled(&self, name: &str) -> Result<Tensor, ParseError> {
        let tensor = self.weight(name)?;
        if tensor.element_type() != ElementType::I8 {
            return Ok(tensor.clone());
        }
        let Some(Variable::Scales(scales)) = self.by_name.get(&format!("{name}_scale")) else {
            return Err(ParseError::malformed(format!("\"{name}\" has no scales")));
        };
        if let Some(scale) = scales.iter().find(|scale| !scale.is_normal()) {
            return Err(ParseError::malformed(format!(
                "\"{name}\" has the scale {scale}"
            )));
        }
        let multipliers = scales.iter().map(|scale| scale.recip()).collect();
        tensor
            .clone()
            .with_scales(multipliers)
            .map_err(|error| within(name, error))
    }

    fn dimension(&self, name: &str, axis: usize, rank: usize) -> Result<usize, ParseError> {
        let shape = self.weight(name)?.shape();
        if shape.len() != rank {
            return Err(ParseError::malformed(format!(
                "\"{name}\" has the shape {shape:?}"
            )));
        }
        Ok(shape[axis])
    }

    fn layers(&self, part: &str) -> usize {
        let exists = |layer: &usize| {
            self.by_name.contains_key(
                format!("{part}/layer_{layer}/self_attention/layer_norm/gamma").as_str(),
            )
        };
        (0..).take_while(exists).count()
    }

    fn heads(&self, part: &str, state: usize) -> usize {
        match self.by_name.get(format!("{part}/num_heads").as_str()) {
            Some(Variable::Setting(heads)) => usize::try_from(*heads).unwrap_or(0),
            _ => state / 64,
        }
    }

    fn config(&self) -> Result<Config, ParseError> {
        let state = self.dimension("encoder/conv1/weight", 0, 3)?;
        Ok(Config {
            n_mels: self.dimension("encoder/conv1/weight", 1, 3)?,
            audio_ctx: self.dimension("encoder/position_encodings/encodings", 0, 2)?,
            audio_state: state,
            audio_heads: self.heads("encoder", state),
            audio_layers: self.layers("encoder"),
            text_ctx: self.dimension("decoder/position_encodings/encodings", 0, 2)?,
            text_state: self.dimension("decoder/embeddings/weight", 1, 2)?,
            text_heads: self.heads("decoder", state),
            text_layers: self.layers("decoder"),
            vocab: self.dimension("decoder/embeddings/weight", 0, 2)?,
            alignment_heads: Vec::new(),
        })
    }

    fn canonical(&self, config: &Config) -> Result<HashMap<String, Tensor>, ParseError> {
        let mut names = Canonical {
            variables: self,
            tensors: HashMap::new(),
        };
        names.linear("encoder/conv1", &["model.encoder.conv1"])?;
        names.linear("encoder/conv2", &["model.encoder.conv2"])?;
        names.weight(
            "encoder/position_encodings/encodings",
            "model.encoder.embed_positions.weight",
        )?;
        names.weight(
            "decoder/position_encodings/encodings",
            "model.decoder.embed_positions.weight",
        )?;
        names.weight(
            "decoder/embeddings/weight",
            "model.decoder.embed_tokens.weight",
        )?;
        for (part, layers) in [
            ("encoder", config.audio_layers),
            ("decoder", config.text_layers),
        ] {
            names.norm(
                &format!("{part}/layer_norm"),
                &format!("model.{part}.layer_norm"),
            )?;
            for layer in 0..layers {
                names.layer(
                    &format!("{part}/layer_{layer}"),
                    &format!("model.{part}.layers.{layer}"),
                    part == "decoder",
                )?;
            }
        }
        Ok(names.tensors)
    }
}

/// Collects tensors under their canonical names.
struct Canonical<'a> {
    variables: &'a Variables,
    tensors: HashMap<String, Tensor>,
}

impl Canonical<'_> {
    fn layer(&mut self, from: &str, to: &str, has_cross_attention: bool) -> Result<(), ParseError> {
        let attention = format!("{to}.self_attn");
        self.norm(
            &format!("{from}/self_attention/layer_norm"),
            &format!("{attention}_layer_norm"),
        )?;
        let stack = ["q_proj", "k_proj", "v_proj"].map(|name| format!("{attention}.{name}"));
        self.linear(
            &format!("{from}/self_attention/linear_0"),
            &stack.each_ref().map(String::as_str),
        )?;
        self.linear(
            &format!("{from}/self_attention/linear_1"),
            &[&format!("{attention}.out_proj")],
        )?;
        if has_cross_attention {
            let attention = format!("{to}.encoder_attn");
            self.norm(
                &format!("{from}/attention/layer_norm"),
                &format!("{attention}_layer_norm"),
            )?;
            self.linear(
                &format!("{from}/attention/linear_0"),
                &[&format!("{attention}.q_proj")],
            )?;
            let stack = ["k_proj", "v_proj"].map(|name| format!("{attention}.{name}"));
            self.linear(
                &format!("{from}/attention/linear_1"),
                &stack.each_ref().map(String::as_str),
            )?;
            self.linear(
                &format!("{from}/attention/linear_2"),
                &[&format!("{attention}.out_proj")],
            )?;
        }
        self.norm(
            &format!("{from}/ffn/layer_norm"),
            &format!("{to}.final_layer_norm"),
        )?;
        self.linear(&format!("{from}/ffn/linear_0"), &[&format!("{to}.fc1")])?;
        self.linear(&format!("{from}/ffn/linear_1"), &[&format!("{to}.fc2")])
    }

    fn weight(&mut self, from: &str, to: &str) -> Result<(), ParseError> {
        self.tensors
            .insert(to.to_owned(), self.variables.scaled(from)?);
        Ok(())
    }

    fn norm(&mut self, from: &str, to: &str) -> Result<(), ParseError> {
        self.weight(&format!("{from}/gamma"), &format!("{to}.weight"))?;
        self.weight(&format!("{from}/beta"), &format!("{to}.bias"))
    }

    /// A linear layer or convolution, or a stack of them.
    fn linear(&mut self, from: &str, to: &[&str]) -> Result<(), ParseError> {
        for kind in ["weight", "bias"] {
            let from = format!("{from}/{kind}");
            let stack = self.variables.scaled(&from)?;
            for (index, name) in to.iter().enumerate() {
                // The zeros that fill the place of the key's bias in the stack are no weight.
                if kind == "bias" && name.ends_with("k_proj") {
                    continue;
                }
                let part = stack
                    .part(index, to.len())
                    .map_err(|error| within(&from, error))?;
                self.tensors.insert(format!("{name}.{kind}"), part);
            }
        }
        Ok(())
    }
}

fn string(cursor: &mut Cursor<impl Read + Seek>) -> Result<String, ParseError> {
    let length = cursor.u16()?;
    let mut bytes = cursor.take(length.into())?;
    bytes.pop_if(|last| *last == 0);
    String::from_utf8(bytes).map_err(|_| ParseError::malformed("a name that is not text"))
}

fn variable(cursor: &mut Cursor<impl Read + Seek>, name: &str) -> Result<Variable, ParseError> {
    let rank = cursor.u8()?;
    if rank > MAX_RANK {
        return Err(ParseError::malformed(format!("{rank} dimensions")));
    }
    let shape = (0..rank)
        .map(|_| cursor.count())
        .collect::<Result<Vec<_>, _>>()?;
    let kind = cursor.u8()?;
    let length = cursor.count()?;
    let offset = cursor.position();
    let element = match kind {
        0 => ElementType::F32,
        1 if rank > 0 => ElementType::I8,
        4 => ElementType::F16,
        5 => ElementType::BF16,
        1..=3 => return setting(cursor, length),
        _ => return Err(ParseError::unsupported(format!("element type {kind}"))),
    };
    let tensor = Tensor::new(element, shape, offset, length)?;
    if element == ElementType::F32 && name.ends_with("_scale") {
        let bytes = cursor.take(length)?;
        let scales = bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes);
        return Ok(Variable::Scales(scales.collect()));
    }
    cursor.skip(length)?;
    Ok(Variable::Weight(tensor))
}

fn setting(cursor: &mut Cursor<impl Read + Seek>, length: usize) -> Result<Variable, ParseError> {
    if length > size_of::<i32>() {
        cursor.skip(length)?;
        return Ok(Variable::Other);
    }
    Ok(match *cursor.take(length)? {
        [a] => Variable::Setting(i8::from_le_bytes([a]).into()),
        [a, b] => Variable::Setting(i16::from_le_bytes([a, b]).into()),
        [a, b, c, d] => Variable::Setting(i32::from_le_bytes([a, b, c, d]).into()),
        _ => Variable::Other,
    })
}

fn within(name: &str, error: ParseError) -> ParseError {
    match error {
        ParseError::Malformed(what) => ParseError::Malformed(format!("\"{name}\": {what}")),
        ParseError::Unsupported(what) => ParseError::Unsupported(format!("\"{name}\": {what}")),
    }
}
