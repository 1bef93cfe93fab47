// SPDX-License-Identifier: MPL-2.0
//! Tensors as they lie in mapped files.

use std::collections::HashMap;
use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use memmap2::Mmap;

use super::error::ParseError;

/// A weight, borrowed from the mapped model.
///
/// Row-major; (out, in) for linear layers, (out, in, kernel) for convolutions, (positions, d) and (vocab, d) for
/// embeddings. Bytes are little-endian and of any alignment.
#[derive(Clone, Debug)]
pub struct Weight<'a> {
    pub shape: Vec<usize>,
    pub data: WeightData<'a>,
}

#[derive(Clone, Debug)]
pub enum WeightData<'a> {
    F32(&'a [u8]),
    F16(&'a [u8]),
    BF16(&'a [u8]),
    /// `value * scale` of its row; one scale for each index of the first dimension.
    I8 {
        values: &'a [i8],
        scales: Vec<f32>,
    },
}

impl Weight<'_> {
    /// Some of its rows: what lies at `range` of the first dimension.
    pub fn rows(&self, range: Range<usize>) -> Weight<'_> {
        let rows = self.shape.first().copied().unwrap_or(0).max(1);
        let cut = |len: usize| range.start * (len / rows)..range.end * (len / rows);
        let data = match &self.data {
            WeightData::F32(bytes) => WeightData::F32(&bytes[cut(bytes.len())]),
            WeightData::F16(bytes) => WeightData::F16(&bytes[cut(bytes.len())]),
            WeightData::BF16(bytes) => WeightData::BF16(&bytes[cut(bytes.len())]),
            WeightData::I8 { values, scales } => WeightData::I8 {
                values: &values[cut(values.len())],
                scales: scales[range.clone()].to_vec(),
            },
        };
        let mut shape = self.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = range.len();
        }
        Weight { shape, data }
    }

    /// All values as f32, in the order of the file.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            WeightData::F32(bytes) => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|value| f32::from_le_bytes(*value))
                .collect(),
            WeightData::F16(bytes) => widen::<f16>(bytes, f16::from_le_bytes, |half, out| {
                half.convert_to_f32_slice(out)
            }),
            WeightData::BF16(bytes) => widen::<bf16>(bytes, bf16::from_le_bytes, |half, out| {
                half.convert_to_f32_slice(out)
            }),
            WeightData::I8 { values, scales } => {
                let row = (values.len() / scales.len().max(1)).max(1);
                let rows = values.chunks_exact(row).zip(scales);
                rows.flat_map(|(row, scale)| row.iter().map(move |value| f32::from(*value) * scale))
                    .collect()
            }
        }
    }
}

/// Half floats to f32, a block at a time: the blocks are aligned, so that `half` can use the CPU's own conversion.
fn widen<T: Copy + Default>(
    bytes: &[u8],
    load: fn([u8; 2]) -> T,
    convert: fn(&[T], &mut [f32]),
) -> Vec<f32> {
    const BLOCK: usize = 1024;
    let values = bytes.as_chunks::<2>().0;
    let mut wide = vec![0.0; values.len()];
    let mut block = [T::default(); BLOCK];
    for (values, wide) in values.chunks(BLOCK).zip(wide.chunks_mut(BLOCK)) {
        for (slot, value) in block.iter_mut().zip(values) {
            *slot = load(*value);
        }
        convert(&block[..values.len()], wide);
    }
    wide
}

/// Element types that weights may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    F32,
    F16,
    BF16,
    I8,
}

impl ElementType {
    fn size(self) -> usize {
        match self {
            ElementType::F32 => 4,
            ElementType::F16 | ElementType::BF16 => 2,
            ElementType::I8 => 1,
        }
    }
}

/// Where a tensor lies: file, bytes, type, shape.
#[derive(Clone, Debug)]
pub struct Tensor {
    element: ElementType,
    shape: Vec<usize>,
    /// Which of the model's files; formats with a single file leave it 0.
    pub(super) file: usize,
    bytes: Range<usize>,
    /// What to multiply each row by; empty unless the elements are I8.
    scales: Vec<f32>,
}

impl Tensor {
    /// A tensor at `offset` of its file, where `length` bytes are there for it: they must be exactly what the shape needs.
    pub(super) fn new(
        element: ElementType,
        shape: Vec<usize>,
        offset: usize,
        length: usize,
    ) -> Result<Self, ParseError> {
        let needed = Self::byte_size(element, &shape)?;
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

    pub(super) fn byte_size(element: ElementType, shape: &[usize]) -> Result<usize, ParseError> {
        let product = shape
            .iter()
            .try_fold(element.size(), |size, dim| size.checked_mul(*dim));
        product.ok_or_else(|| {
            ParseError::malformed(format!("shape {shape:?} is larger than all memory"))
        })
    }

    /// Gives an I8 tensor its multipliers, one per row.
    pub(super) fn with_scales(mut self, scales: Vec<f32>) -> Result<Self, ParseError> {
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

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn element_type(&self) -> ElementType {
        self.element
    }

    /// Whether an I8 tensor lacks its multipliers.
    pub(super) fn is_unscaled(&self) -> bool {
        self.element == ElementType::I8 && self.scales.is_empty()
    }

    /// The same elements seen with another shape.
    pub(super) fn reshaped(mut self, shape: Vec<usize>) -> Result<Self, ParseError> {
        if Self::byte_size(self.element, &shape)? != self.bytes.len() {
            return Err(ParseError::malformed(format!(
                "shape {:?} cannot be seen as {shape:?}",
                self.shape
            )));
        }
        self.shape = shape;
        Ok(self)
    }

    /// Part `index` of `parts` equal parts along the first dimension: query, key and value of a stacked projection.
    pub(super) fn part(&self, index: usize, parts: usize) -> Result<Self, ParseError> {
        let rows = self.shape.first().copied().unwrap_or(0);
        if parts == 0 || !rows.is_multiple_of(parts) || index >= parts {
            return Err(ParseError::malformed(format!(
                "shape {:?} is not a stack of {parts}",
                self.shape
            )));
        }
        let (rows, bytes) = (rows / parts, self.bytes.len() / parts);
        let mut part = self.clone();
        part.shape[0] = rows;
        part.bytes = self.bytes.start + index * bytes..self.bytes.start + (index + 1) * bytes;
        if !self.scales.is_empty() {
            part.scales = self.scales[index * rows..(index + 1) * rows].to_vec();
        }
        Ok(part)
    }

    /// The weight, given the bytes of its file.
    pub(super) fn read<'a>(&self, file: &'a [u8]) -> Option<Weight<'a>> {
        let bytes = file.get(self.bytes.clone())?;
        let data = match self.element {
            ElementType::F32 => WeightData::F32(bytes),
            ElementType::F16 => WeightData::F16(bytes),
            ElementType::BF16 => WeightData::BF16(bytes),
            ElementType::I8 => WeightData::I8 {
                values: signed(bytes),
                scales: self.scales.clone(),
            },
        };
        Some(Weight {
            shape: self.shape.clone(),
            data,
        })
    }
}

fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: i8 has the size, alignment and valid bit patterns of u8.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

/// All tensors of a model by canonical name, with the mappings they lie in.
pub(super) struct Weights {
    pub files: Vec<Mmap>,
    pub tensors: HashMap<String, Tensor>,
}

impl Weights {
    pub fn get(&self, name: &str) -> Option<Weight<'_>> {
        let tensor = self.tensors.get(name)?;
        tensor.read(self.files.get(tensor.file)?)
    }

    /// Gives back the memory of the pages that have been read.
    #[cfg(unix)]
    pub fn release(&self) {
        for file in &self.files {
            // SAFETY: the mappings are read-only and of files, so a page that is touched again is read again.
            // What cannot be given back is kept.
            let _ = unsafe { file.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    #[cfg(not(unix))]
    pub fn release(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_of_any_alignment_widen_exactly() {
        let values: Vec<f32> = (0..3000).map(|i| (i as f32 - 1500.0) / 8.0).collect();
        let mut bytes = vec![0xff];
        bytes.extend(
            values
                .iter()
                .flat_map(|value| f16::from_f32(*value).to_le_bytes()),
        );
        let weight = Weight {
            shape: vec![3000],
            data: WeightData::F16(&bytes[1..]),
        };
        assert_eq!(weight.to_f32(), values);
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| bf16::from_f32(*value).to_le_bytes())
            .collect();
        let expected: Vec<f32> = values
            .iter()
            .map(|value| bf16::from_f32(*value).to_f32())
            .collect();
        assert_eq!(
            Weight {
                shape: vec![3000],
                data: WeightData::BF16(&bytes)
            }
            .to_f32(),
            expected
        );
    }

    #[test]
    fn a_part_of_a_stack_keeps_its_rows_and_their_scales() {
        let file: Vec<u8> = (0..12).collect();
        let stack = Tensor::new(ElementType::I8, vec![6, 2], 0, 12).unwrap();
        let stack = stack
            .with_scales(vec![1.0, 1.0, 0.5, 0.25, 1.0, 1.0])
            .unwrap();
        let part = stack.part(1, 3).unwrap();
        assert_eq!(part.shape(), [2, 2]);
        assert_eq!(part.read(&file).unwrap().to_f32(), [2.0, 2.5, 1.5, 1.75]);
        assert!(stack.part(0, 4).is_err());
    }

    #[test]
    fn rows_of_a_weight_are_those_of_the_whole() {
        let bytes: Vec<u8> = (0..12).collect();
        let values: Vec<i8> = (0..12).collect();
        let weight = |data| Weight {
            shape: vec![3, 2],
            data,
        };
        let stored = [
            weight(WeightData::F16(&bytes)),
            weight(WeightData::I8 {
                values: &values[..6],
                scales: vec![1.0, 0.5, 2.0],
            }),
        ];
        for weight in stored {
            let part = weight.rows(1..3);
            assert_eq!(part.shape, [2, 2]);
            assert_eq!(part.to_f32(), weight.to_f32()[2..]);
        }
    }

    #[test]
    fn a_shape_must_fill_its_bytes_and_fit_in_memory() {
        assert!(Tensor::new(ElementType::F32, vec![2, 3], 0, 24).is_ok());
        assert!(Tensor::new(ElementType::F32, vec![2, 3], 0, 25).is_err());
        assert!(Tensor::new(ElementType::F32, vec![usize::MAX, 3], 0, 24).is_err());
        assert!(Tensor::new(ElementType::F32, vec![6], usize::MAX - 3, 24).is_err());
    }

    #[test]
    fn a_tensor_outside_its_file_reads_as_nothing() {
        let tensor = Tensor::new(ElementType::F32, vec![2], 4, 8).unwrap();
        assert!(tensor.read(&[0; 11]).is_none());
        assert!(tensor.read(&[0; 12]).is_some());
    }
}
