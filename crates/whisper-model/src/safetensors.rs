// SPDX-License-Identifier: MPL-2.0
//! Hugging Face's safetensors: JSON header with names, types, shapes and offsets, then the data.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek};

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::tensor::{ElementType, Tensor};

/// large-v3's header is 150 kB. The parsed form takes some times as much memory.
const MAX_HEADER: usize = 8 << 20;

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

/// Whether this is the start of a safetensors file.
pub(crate) fn recognises(file: impl Read + Seek) -> bool {
    let Ok(mut cursor) = Cursor::new(file) else {
        return false;
    };
    header_length(&mut cursor).is_ok() && cursor.u8() == Ok(b'{')
}

fn header_length(cursor: &mut Cursor<impl Read + Seek>) -> Result<usize, ParseError> {
    let length = usize::try_from(cursor.u64()?).ok();
    length
        .filter(|length| *length <= MAX_HEADER)
        .ok_or_else(|| ParseError::malformed("no sound safetensors header"))
}

/// The tensors of one file by canonical name (a model saved without its head lacks the leading
/// `model.`).
///
/// # Errors
/// The bytes are no safetensors file, or contradict themselves.
pub fn parse(file: impl Read + Seek) -> Result<HashMap<String, Tensor>, ParseError> {
    let mut cursor = Cursor::new(file)?;
    let length = header_length(&mut cursor)?;
    let header = cursor.take(length)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| {
        ParseError::malformed(format!("the safetensors header is not sound: {error}"))
    })?;
    if metadata.data_len() != cursor.left() {
        return Err(ParseError::malformed(format!(
            "{} bytes of weights are announced, the file has {}",
            metadata.data_len(),
            cursor.left()
        )));
    }
    let data = cursor.position();
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
