// SPDX-License-Identifier: MPL-2.0
//! Where tensors lie in files.

use std::ops::Range;

use crate::error::ParseError;
#[cfg(feature = "quantized")]
use crate::quantized::BlockType;
use crate::weight::{Weight, WeightData};

/// How a file stores the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElementType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of [`F32`](Self::F32).
    BF16,
    /// Signed bytes with a scale for each row.
    I8,
    /// Blocks of quantised values, each with its scales.
    #[cfg(feature = "quantized")]
    Quantized(BlockType),
}

impl ElementType {
    /// Bytes of a tensor of this type, if the shape is possible.
    pub(crate) fn byte_size(self, shape: &[usize]) -> Result<usize, ParseError> {
        let too_large =
            || ParseError::malformed(format!("shape {shape:?} is larger than all memory"));
        let elements = shape
            .iter()
            .try_fold(1_usize, |elements, dim| elements.checked_mul(*dim))
            .ok_or_else(too_large)?;
        let bytes = match self {
            ElementType::F32 => elements.checked_mul(4),
            ElementType::F16 | ElementType::BF16 => elements.checked_mul(2),
            ElementType::I8 => Some(elements),
            #[cfg(feature = "quantized")]
            ElementType::Quantized(block) => match shape {
                // Each row consists of whole blocks, so that rows can be told apart.
                [_, .., row] if row.is_multiple_of(block.values()) => {
                    (elements / block.values()).checked_mul(block.bytes())
                }
                _ => {
                    return Err(ParseError::malformed(format!(
                        "shape {shape:?} has no rows of whole blocks of {} values",
                        block.values()
                    )));
                }
            },
        };
        bytes.ok_or_else(too_large)
    }
}

/// Where a tensor lies: file, bytes, type, shape.
#[derive(Clone, Debug)]
pub struct Tensor {
    element: ElementType,
    shape: Vec<usize>,
    /// Which of the model's files; formats with a single file leave it 0.
    pub(crate) file: usize,
    bytes: Range<usize>,
    /// What to multiply each row by; empty unless the elements are I8.
    scales: Vec<f32>,
}

impl Tensor {
    /// A tensor at `offset` of its file, where `length` bytes are there for it: exactly what the
    /// shape needs.
    pub(crate) fn new(
        element: ElementType,
        shape: Vec<usize>,
        offset: usize,
        length: usize,
    ) -> Result<Self, ParseError> {
        let needed = element.byte_size(&shape)?;
        if needed != length {
            return Err(ParseError::malformed(format!(
                "shape {shape:?} needs {needed} bytes, the file has {length}"
            )));
        }
        let end = offset
            .checked_add(length)
            .ok_or_else(|| ParseError::malformed("an offset beyond all memory"))?;
        Ok(Tensor {
            element,
            shape,
            file: 0,
            bytes: offset..end,
            scales: Vec::new(),
        })
    }

    /// Gives an I8 tensor its multipliers, one per row.
    pub(crate) fn with_scales(mut self, scales: Vec<f32>) -> Result<Self, ParseError> {
        if self.element != ElementType::I8 || self.shape.first() != Some(&scales.len()) {
            return Err(ParseError::malformed(format!(
                "{} scales for shape {:?}",
                scales.len(),
                self.shape
            )));
        }
        self.scales = scales;
        Ok(self)
    }

    /// Dimensions, the slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How the file stores the elements.
    pub fn element_type(&self) -> ElementType {
        self.element
    }

    /// Whether an I8 tensor lacks its multipliers.
    pub(crate) fn is_unscaled(&self) -> bool {
        self.element == ElementType::I8 && self.scales.is_empty()
    }

    /// The same elements seen with another shape.
    pub(crate) fn reshaped(mut self, shape: Vec<usize>) -> Result<Self, ParseError> {
        if self.element.byte_size(&shape)? != self.bytes.len() {
            return Err(ParseError::malformed(format!(
                "shape {:?} cannot be seen as {shape:?}",
                self.shape
            )));
        }
        self.shape = shape;
        Ok(self)
    }

    /// Part `index` of `parts` equal parts along the first dimension: query, key and value of a
    /// stacked projection.
    pub(crate) fn part(&self, index: usize, parts: usize) -> Result<Self, ParseError> {
        let rows = self.shape.first().copied().unwrap_or(0);
        if parts == 0 || !rows.is_multiple_of(parts) || index >= parts {
            return Err(ParseError::malformed(format!(
                "shape {:?} is not a stack of {parts}",
                self.shape
            )));
        }
        let rows = rows / parts;
        self.rows(index * rows..(index + 1) * rows)
            .ok_or_else(|| ParseError::malformed("a stack without rows"))
    }

    /// Some of its rows: what lies at `range` of the first dimension; `None` if there are fewer.
    pub(crate) fn rows(&self, range: Range<usize>) -> Option<Self> {
        let rows = *self.shape.first()?;
        if range.start > range.end || range.end > rows {
            return None;
        }
        let row = self.bytes.len() / rows.max(1);
        let mut part = self.clone();
        part.shape[0] = range.len();
        part.bytes = self.bytes.start + range.start * row..self.bytes.start + range.end * row;
        if !self.scales.is_empty() {
            part.scales = self.scales[range].to_vec();
        }
        Some(part)
    }

    /// Where it lies in its file.
    pub(crate) fn bytes(&self) -> Range<usize> {
        self.bytes.clone()
    }

    /// The weight, given its bytes.
    pub(crate) fn weight(&self, bytes: Vec<u8>) -> Weight {
        let data = match self.element {
            ElementType::F32 => WeightData::F32(bytes),
            ElementType::F16 => WeightData::F16(bytes),
            ElementType::BF16 => WeightData::BF16(bytes),
            ElementType::I8 => WeightData::I8 {
                values: bytes,
                scales: self.scales.clone(),
            },
            #[cfg(feature = "quantized")]
            ElementType::Quantized(block) => WeightData::Quantized {
                block,
                blocks: bytes,
            },
        };
        Weight {
            shape: self.shape.clone(),
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_stack_keeps_its_rows_and_their_scales() {
        let file: Vec<u8> = (0..12).collect();
        let stack = Tensor::new(ElementType::I8, vec![6, 2], 0, 12).unwrap();
        let stack = stack
            .with_scales(vec![1.0, 1.0, 0.5, 0.25, 1.0, 1.0])
            .unwrap();
        let part = stack.part(1, 3).unwrap();
        assert_eq!(part.shape(), [2, 2]);
        let bytes = file[part.bytes()].to_vec();
        assert_eq!(part.weight(bytes).to_f32(), [2.0, 2.5, 1.5, 1.75]);
        assert!(stack.part(0, 4).is_err());
        assert!(stack.rows(5..7).is_none());
    }

    #[test]
    fn a_shape_must_fill_its_bytes_and_fit_in_memory() {
        assert!(Tensor::new(ElementType::F32, vec![2, 3], 0, 24).is_ok());
        assert!(Tensor::new(ElementType::F32, vec![2, 3], 0, 25).is_err());
        assert!(Tensor::new(ElementType::F32, vec![usize::MAX, 3], 0, 24).is_err());
        assert!(Tensor::new(ElementType::F32, vec![6], usize::MAX - 3, 24).is_err());
    }
}
