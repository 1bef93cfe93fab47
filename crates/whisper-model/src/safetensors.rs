// SPDX-License-Identifier: MPL-2.0
//! Hugging Face's safetensors: JSON header with names, types, shapes and offsets, then the data.

use std::collections::{HashMap, HashSet};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::error::ParseError;
use crate::tensor::{ElementType, Tensor};

/// large-v3's header is 150 kB. The parsed form takes some times as much memory.
const MAX_HEADER: u64 = 8 << 20;

/// `model.safetensors.index.json`: which file of a split model holds which tensor.
#[derive(Deserialize)]
pub(crate) struct Index {
    weight_map: HashMap<String, String>,
}

impl Index {
    /// The files, each a plain name beside the index.
    pub fn files(&self) -> Result<Vec<String>, ParseError> {
        let files: HashSet<_> = self.weight_map.values().collect();
        let mut files: Vec<String> = files.into_iter().cloned().collect();
        files.sort();
        match files.iter().find(|file| !is_plain(file)) {
            Some(file) => Err(ParseError::malformed(format!(
                "{file:?} is not the name of a file beside it"
            ))),
            None if files.len() > 256 => {
                Err(ParseError::malformed(format!("{} parts", files.len())))
            }
            None => Ok(files),
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// Whether these are the first bytes of a safetensors file.
pub(crate) fn recognises(bytes: &[u8]) -> bool {
    header_length(bytes).is_some_and(|length| length <= MAX_HEADER) && bytes.get(8) == Some(&b'{')
}

fn header_length(bytes: &[u8]) -> Option<u64> {
    bytes
        .first_chunk()
        .map(|length| u64::from_le_bytes(*length))
}

/// The tensors of one file by canonical name (a model saved without its head lacks the leading
/// `model.`).
///
/// # Errors
/// The bytes are no safetensors file, or contradict themselves.
pub fn parse(bytes: &[u8]) -> Result<HashMap<String, Tensor>, ParseError> {
    if header_length(bytes).is_none_or(|length| length > MAX_HEADER) {
        return Err(ParseError::malformed("no sound safetensors header"));
    }
    let broken =
        |error| ParseError::malformed(format!("the safetensors header is not sound: {error}"));
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let data = header + size_of::<u64>();
    let mut tensors = HashMap::new();
    for (name, info) in metadata.tensors() {
        let element = match info.dtype {
            Dtype::F32 => ElementType::F32,
            Dtype::F16 => ElementType::F16,
            Dtype::BF16 => ElementType::BF16,
            // Nothing that Whisper needs has another type; should it, it will be reported as
            // missing.
            _ => continue,
        };
        let (start, end) = info.data_offsets;
        let length = end
            .checked_sub(start)
            .ok_or_else(|| ParseError::malformed(format!("{name:?} ends before its start")))?;
        let offset = data
            .checked_add(start)
            .ok_or_else(|| ParseError::malformed("an offset beyond all memory"))?;
        let canonical = if name.starts_with("model.") {
            name.clone()
        } else {
            format!("model.{name}")
        };
        let tensor = Tensor::new(element, info.shape.clone(), offset, length)?;
        if tensors.insert(canonical, tensor).is_some() {
            return Err(ParseError::malformed(format!(
                "the tensor {name:?} appears twice"
            )));
        }
    }
    Ok(tensors)
}
