// SPDX-License-Identifier: MPL-2.0
//! Quantised weights: candle-core turns ggml's blocks into numbers.
//!
//! A weight is dequantised whenever it is read. To keep it quantised in memory is a later step.

use std::borrow::Cow;

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;

/// Blocks that are dequantised at once: what is copied on the way stays small.
const BATCH: usize = 1024;
/// Alignment that is enough for the blocks of each type.
const ALIGNMENT: usize = 16;

/// One of ggml's block formats: a number of values that are quantised together, with their scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockType(GgmlDType);

impl BlockType {
    /// The block format with this number in ggml's `enum ggml_type`, if files hold weights in it.
    pub(crate) fn from_ggml(number: u32) -> Option<Self> {
        Some(BlockType(match number {
            2 => GgmlDType::Q4_0,
            3 => GgmlDType::Q4_1,
            6 => GgmlDType::Q5_0,
            7 => GgmlDType::Q5_1,
            8 => GgmlDType::Q8_0,
            10 => GgmlDType::Q2K,
            11 => GgmlDType::Q3K,
            12 => GgmlDType::Q4K,
            13 => GgmlDType::Q5K,
            14 => GgmlDType::Q6K,
            // q8_1 and q8_K hold activations, never weights.
            _ => return None,
        }))
    }

    /// Values of a block.
    pub fn values(self) -> usize {
        self.0.block_size()
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        self.0.type_size()
    }

    /// The values of whole blocks at any alignment; bytes after the last whole block are left out.
    pub(crate) fn dequantize(self, blocks: &[u8]) -> Vec<f32> {
        let whole = &blocks[..blocks.len() - blocks.len() % self.bytes()];
        let mut values = Vec::with_capacity(whole.len() / self.bytes() * self.values());
        // candle panics on blocks that are not aligned, and files align nothing.
        let mut batch = vec![0; BATCH * self.bytes() + ALIGNMENT];
        let start = batch.as_ptr().align_offset(ALIGNMENT);
        for blocks in whole.chunks(BATCH * self.bytes()) {
            let aligned = &mut batch[start..][..blocks.len()];
            aligned.copy_from_slice(blocks);
            let count = blocks.len() / self.bytes() * self.values();
            let storage = self.0.from_data(Cow::Borrowed(aligned)).dequantize(count);
            let Ok(CpuStorage::F32(part)) = storage else {
                unreachable!("candle dequantises whole blocks on the CPU to f32");
            };
            values.extend(part);
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::QTensor;
    use candle_core::{Device, Tensor};

    #[test]
    fn blocks_of_every_type_come_out_near_what_went_in() {
        let values: Vec<f32> = (0..4096)
            .map(|i| ((i * i % 2039) as f32 / 1019.5) - 1.0)
            .collect();
        let whole = Tensor::from_slice(&values, (16, 256), &Device::Cpu).unwrap();
        // The step of the coarsest scale of each type, for values within ±1.
        for (number, step) in [
            (2, 1.0 / 8.0),
            (3, 2.0 / 15.0),
            (6, 1.0 / 16.0),
            (7, 2.0 / 31.0),
            (8, 1.0 / 127.0),
            (10, 2.0 / 3.0),
            (11, 1.0 / 3.0),
            (12, 2.0 / 15.0),
            (13, 2.0 / 31.0),
            (14, 1.0 / 31.0),
        ] {
            let block = BlockType::from_ggml(number).unwrap();
            let stored = QTensor::quantize(&whole, block.0).unwrap();
            let mut bytes = vec![0xaa];
            bytes.extend_from_slice(&stored.data().unwrap());
            assert_eq!(bytes.len(), 1 + 4096 / block.values() * block.bytes());
            let read = block.dequantize(&bytes[1..]);
            assert_eq!(read.len(), values.len());
            let worst = read
                .iter()
                .zip(&values)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(worst <= step, "{block:?}: {worst}");
        }
    }

    #[test]
    fn bytes_after_the_last_whole_block_are_left_out() {
        let block = BlockType::from_ggml(8).unwrap();
        assert!(block.dequantize(&[0; 33]).is_empty());
        assert_eq!(block.dequantize(&[0; 69]), [0.0; 64]);
    }

    #[test]
    fn types_that_hold_no_weights_have_no_block() {
        for number in [0, 1, 4, 5, 9, 15, 16, u32::MAX] {
            assert_eq!(BlockType::from_ggml(number), None);
        }
    }
}
