// SPDX-License-Identifier: MPL-2.0
//! Weights as they lie in mapped files.

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

#[cfg(feature = "quantized")]
use crate::quantized::BlockType;

/// A weight, borrowed from the mapped model.
///
/// Row-major: `[out, in]` for linear layers, `[out, in, kernel]` for convolutions, `[positions, d]`
/// and `[vocab, d]` for embeddings.
#[derive(Clone, Debug)]
pub struct Weight<'a> {
    /// Dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: WeightData<'a>,
}

/// The elements of a [`Weight`], little-endian and of any alignment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WeightData<'a> {
    /// IEEE 754 single precision, 4 bytes each.
    F32(&'a [u8]),
    /// IEEE 754 half precision, 2 bytes each.
    F16(&'a [u8]),
    /// The upper half of single precision, 2 bytes each.
    BF16(&'a [u8]),
    /// `value * scale` of its row.
    I8 {
        /// Two's complement, 1 byte each.
        values: &'a [u8],
        /// One for each index of the first dimension.
        scales: Vec<f32>,
    },
    /// ggml's blocks; each row consists of whole ones.
    #[cfg(feature = "quantized")]
    Quantized {
        /// Their format.
        block: BlockType,
        /// The blocks of all rows.
        blocks: &'a [u8],
    },
}

impl Weight<'_> {
    /// Some of its rows: what lies at `range` of the first dimension.
    ///
    /// # Panics
    /// There are fewer rows.
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
            #[cfg(feature = "quantized")]
            WeightData::Quantized { block, blocks } => WeightData::Quantized {
                block: *block,
                blocks: &blocks[cut(blocks.len())],
            },
        };
        let mut shape = self.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = range.len();
        }
        Weight { shape, data }
    }

    /// All values, in the order of the file.
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
                let scaled = |value: u8, scale| f32::from(value.cast_signed()) * scale;
                rows.flat_map(|(row, scale)| row.iter().map(move |value| scaled(*value, scale)))
                    .collect()
            }
            #[cfg(feature = "quantized")]
            WeightData::Quantized { block, blocks } => block.dequantize(blocks),
        }
    }
}

/// Half floats as f32, a block at a time: the blocks are aligned, so that `half` can use the CPU's
/// own conversion.
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
    fn rows_of_a_weight_are_those_of_the_whole() {
        let bytes: Vec<u8> = (0..12).collect();
        let weight = |data| Weight {
            shape: vec![3, 2],
            data,
        };
        let stored = [
            weight(WeightData::F16(&bytes)),
            weight(WeightData::I8 {
                values: &bytes[..6],
                scales: vec![1.0, 0.5, 2.0],
            }),
        ];
        for weight in stored {
            let part = weight.rows(1..3);
            assert_eq!(part.shape, [2, 2]);
            assert_eq!(part.to_f32(), weight.to_f32()[2..]);
        }
    }
}
