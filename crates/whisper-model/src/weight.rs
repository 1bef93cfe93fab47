// SPDX-License-Identifier: MPL-2.0
//! Weights as they lie in files.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

#[cfg(feature = "quantized")]
use crate::quantized::BlockType;

/// A weight, read from the file of the model.
///
/// Row-major: `[out, in]` for linear layers, `[out, in, kernel]` for convolutions, `[positions, d]`
/// and `[vocab, d]` for embeddings.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: WeightData,
}

/// The elements of a [`Weight`], little-endian and of any alignment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WeightData {
    /// IEEE 754 single precision, 4 bytes each.
    F32(Vec<u8>),
    /// IEEE 754 half precision, 2 bytes each.
    F16(Vec<u8>),
    /// The upper half of single precision, 2 bytes each.
    BF16(Vec<u8>),
    /// `value * scale` of its row.
    I8 {
        /// Two's complement, 1 byte each.
        values: Vec<u8>,
        /// One for each index of the first dimension.
        scales: Vec<f32>,
    },
    /// ggml's blocks; each row consists of whole ones.
    #[cfg(feature = "quantized")]
    Quantized {
        /// Their format.
        block: BlockType,
        /// The blocks of all rows.
        blocks: Vec<u8>,
    },
}

impl Weight {
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
    fn half_floats_widen_exactly() {
        let values: Vec<f32> = (0..3000).map(|i| (i as f32 - 1500.0) / 8.0).collect();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes())
            .collect();
        let weight = Weight {
            shape: vec![3000],
            data: WeightData::F16(bytes),
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
                data: WeightData::BF16(bytes)
            }
            .to_f32(),
            expected
        );
    }
}
