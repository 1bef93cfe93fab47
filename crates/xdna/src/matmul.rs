// SPDX-License-Identifier: MPL-2.0
//! Matrix products on a device: weights that stay there, streams that are written once.
//!
#![cfg_attr(
    feature = "simulator",
    doc = r#"
```
use xdna::contract::{MatMul, Output};
use xdna::matmul::{MatMulStep, Multiplier};
use xdna::pack::pack_a;
use xdna::simulator::SimulatedNpu;
use xdna::NpuError;

// y = x Wᵀ with 128 inputs, 128 outputs, W twice the identity.
let mut weight = vec![0.0; 128 * 128];
weight.iter_mut().step_by(129).for_each(|w| *w = 2.0);

let mut npu = Multiplier::new(Box::new(SimulatedNpu::new()?));
let weights = npu.upload(&weight, 128)?;
let matmul = weights.matmul(1)?;
assert_eq!(matmul, MatMul::new(512, 128, 512, Output::F32)?);
let mut a = npu.allocate(matmul.a_bytes())?;
let mut c = npu.allocate(matmul.c_bytes())?;

pack_a(&matmul, &[3.0; 128], a.bytes_mut());
a.sync_to_device(0..matmul.a_bytes())?;
npu.run(MatMulStep { rows: 1, a: &*a, weights: &weights, c: &*c }, || Ok::<(), NpuError>(()))?;
c.sync_from_device(0..matmul.c_bytes())?;
let y = &c.bytes()[matmul.c_offset(0, 127)..][..4];
assert_eq!(y, 6f32.to_le_bytes());
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use crate::contract::{MatMul, Output, PASS_COLUMNS, PASS_ROWS};
use crate::device::{BufferKind, Dispatch, NpuBuffer, NpuDevice, NpuError};
use crate::pack::pack_b;
use crate::stream::instructions;

/// Time after which a submission, which takes milliseconds, is given up.
const LIMIT: Duration = Duration::from_secs(10);

/// The right operand of products, packed in a buffer of the device.
pub struct DeviceWeights {
    buffer: Box<dyn NpuBuffer>,
    depth: usize,
    /// Whole passes of the array.
    columns: usize,
}

impl DeviceWeights {
    /// The product with `rows` rows, rounded up to whole passes of the array.
    ///
    /// # Errors
    ///
    /// [`NpuError::Unsuited`]
    pub fn matmul(&self, rows: usize) -> Result<MatMul, NpuError> {
        let rows = rows.next_multiple_of(PASS_ROWS);
        MatMul::new(rows, self.depth, self.columns, Output::F32)
    }
}

/// An instruction stream in a buffer of the device.
struct DeviceStream {
    buffer: Box<dyn NpuBuffer>,
    words: usize,
}

/// A product: `c = a · weights`.
pub struct MatMulStep<'a> {
    /// Rows of the product. The buffers have as many as whole passes of the array.
    pub rows: usize,
    /// A, packed.
    pub a: &'a dyn NpuBuffer,
    /// B, packed.
    pub weights: &'a DeviceWeights,
    /// Takes C.
    pub c: &'a dyn NpuBuffer,
}

/// A device that multiplies, and the instruction streams that it has been given so far.
pub struct Multiplier {
    device: Box<dyn NpuDevice>,
    streams: HashMap<MatMul, DeviceStream>,
}

impl Multiplier {
    /// Takes over `device`.
    pub fn new(device: Box<dyn NpuDevice>) -> Self {
        Self {
            device,
            streams: HashMap::new(),
        }
    }

    /// A buffer for a matrix.
    ///
    /// # Errors
    ///
    /// As [`NpuDevice::allocate`].
    pub fn allocate(&mut self, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError> {
        self.device.allocate(BufferKind::Data, bytes)
    }

    /// Packs `weight`, `[outputs, depth]`, to a buffer of the device, with zeros for the outputs that
    /// it lacks to whole passes of the array.
    ///
    /// # Errors
    ///
    /// [`NpuError::Unsuited`] if the overlay cannot multiply by it; otherwise what the device
    /// reports.
    pub fn upload(&mut self, weight: &[f32], depth: usize) -> Result<DeviceWeights, NpuError> {
        let outputs = weight.len().checked_div(depth).unwrap_or_default();
        let columns = outputs.next_multiple_of(PASS_COLUMNS);
        let matmul = MatMul::new(PASS_ROWS, depth, columns, Output::F32)?;
        let mut buffer = self.allocate(matmul.b_bytes())?;
        pack_b(&matmul, weight, buffer.bytes_mut());
        buffer.sync_to_device(0..matmul.b_bytes())?;
        Ok(DeviceWeights {
            buffer,
            depth,
            columns,
        })
    }

    /// Computes `step`. The device computes while `meanwhile` runs, which cannot reach the buffers of
    /// the step.
    ///
    /// # Errors
    ///
    /// What the device reports, or what `meanwhile` returns. In both cases the device is idle
    /// again.
    pub fn run<E: From<NpuError>>(
        &mut self,
        step: MatMulStep,
        meanwhile: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let matmul = step.weights.matmul(step.rows)?;
        self.prepare(&matmul)?;
        let stream = &self.streams[&matmul];
        let dispatch = Dispatch {
            instructions: stream.buffer.as_ref(),
            words: stream.words,
            data: &[step.a, step.weights.buffer.as_ref(), step.c],
        };
        let pending = self.device.submit(&[dispatch])?;
        let done = meanwhile();
        // Even if `meanwhile` failed: the device must not be left at work.
        pending.wait(LIMIT)?;
        done
    }

    /// Writes the instruction stream of `matmul`, unless the device has it.
    fn prepare(&mut self, matmul: &MatMul) -> Result<(), NpuError> {
        let Entry::Vacant(vacant) = self.streams.entry(*matmul) else {
            return Ok(());
        };
        let words = instructions(matmul);
        let bytes = 4 * words.len();
        let mut buffer = self.device.allocate(BufferKind::Instructions, bytes)?;
        for (to, word) in buffer.bytes_mut().chunks_exact_mut(4).zip(&words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        buffer.sync_to_device(0..bytes)?;
        vacant.insert(DeviceStream {
            buffer,
            words: words.len(),
        });
        Ok(())
    }
}
