// SPDX-License-Identifier: MPL-2.0
//! Matrix products on a device: weights that stay there, streams that are written once.
//!
#![cfg_attr(
    feature = "simulator",
    doc = r#"
```
use xdna::contract::Epilogue;
use xdna::matmul::{MatMulStep, Multiplier};
use xdna::rows::{read_bf16, write_bf16};
use xdna::simulator::SimulatedNpu;
use xdna::weights::Linear;
use xdna::NpuError;

// y = x Wᵀ + b with 64 inputs, 64 outputs, W twice the identity, b = 1.
let mut weight = vec![0.0; 64 * 64];
weight.iter_mut().step_by(65).for_each(|w| *w = 2.0);
let linear = Linear { weight: &weight, bias: &[1.0; 64] };

let mut npu = Multiplier::new(Box::new(SimulatedNpu::new()?));
let weights = npu.upload(&linear, 64, Epilogue::None)?;
let mut a = npu.allocate(2 * 256 * 64)?;
let mut c = npu.allocate(2 * 256 * 64)?;

write_bf16(&[3.0f32; 64], a.bytes_mut());
a.sync_to_device(0..2 * 256 * 64)?;
npu.run(1, &[MatMulStep { a: &*a, weights: &weights, c: &*c }], || Ok::<(), NpuError>(()))?;
c.sync_from_device(0..2 * 64)?;
assert!(read_bf16(&c.bytes()[..2 * 64]).all(|y| y == 7.0));
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use crate::contract::{Epilogue, MatMul, PASS_ROWS};
use crate::device::{BufferKind, Dispatch, NpuBuffer, NpuDevice, NpuError};
use crate::stream::instructions;
use crate::weights::{Linear, pack};

/// Time after which a submission, which takes milliseconds, is given up.
const LIMIT: Duration = Duration::from_secs(10);

/// The right operand of products, packed in a buffer of the device.
pub struct DeviceWeights {
    buffer: Box<dyn NpuBuffer>,
    depth: usize,
    columns: usize,
    epilogue: Epilogue,
}

impl DeviceWeights {
    /// The product with `rows` rows, rounded up to whole passes of the array.
    fn matmul(&self, rows: usize) -> Result<MatMul, NpuError> {
        let rows = rows.next_multiple_of(PASS_ROWS);
        MatMul::new(rows, self.depth, self.columns, self.epilogue)
    }
}

/// An instruction stream in a buffer of the device.
struct DeviceStream {
    buffer: Box<dyn NpuBuffer>,
    words: usize,
}

/// One product of a submission: `c = a · weights`.
pub struct MatMulStep<'a> {
    /// Rows in bf16, as many as whole passes of the array have.
    pub a: &'a dyn NpuBuffer,
    /// The right operand and its bias.
    pub weights: &'a DeviceWeights,
    /// Takes the rows of the product in bf16.
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

    /// A buffer for the rows of a matrix.
    ///
    /// # Errors
    ///
    /// As [`NpuDevice::allocate`].
    pub fn allocate(&mut self, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError> {
        self.device.allocate(BufferKind::Data, bytes)
    }

    /// Packs a matrix of so many inputs, `depth`, to a buffer of the device.
    ///
    /// # Errors
    ///
    /// [`NpuError::Unsuited`] if the overlay cannot multiply by it; otherwise what the device
    /// reports.
    pub fn upload(
        &mut self,
        linear: &Linear,
        depth: usize,
        epilogue: Epilogue,
    ) -> Result<DeviceWeights, NpuError> {
        let columns = linear.weight.len().checked_div(depth).unwrap_or_default();
        let matmul = MatMul::new(PASS_ROWS, depth, columns, epilogue)?;
        let mut buffer = self.allocate(matmul.b_bytes())?;
        pack(&matmul, linear, buffer.bytes_mut());
        buffer.sync_to_device(0..matmul.b_bytes())?;
        Ok(DeviceWeights {
            buffer,
            depth,
            columns,
            epilogue,
        })
    }

    /// Computes `rows` rows of each step, one step after another, in one submission. The device
    /// computes while `meanwhile` runs, which cannot reach the buffers of the steps. With no rows,
    /// only `meanwhile` runs.
    ///
    /// # Errors
    ///
    /// What the device reports, or what `meanwhile` returns. In both cases the device is idle
    /// again.
    pub fn run<E: From<NpuError>>(
        &mut self,
        rows: usize,
        steps: &[MatMulStep],
        meanwhile: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if rows == 0 {
            return meanwhile();
        }
        let matmul = |step: &MatMulStep| step.weights.matmul(rows);
        let matmuls: Vec<MatMul> = steps.iter().map(matmul).collect::<Result<_, _>>()?;
        for matmul in &matmuls {
            self.prepare(matmul)?;
        }
        let arguments: Vec<[&dyn NpuBuffer; 3]> = steps
            .iter()
            .map(|step| [step.a, step.weights.buffer.as_ref(), step.c])
            .collect();
        let dispatches: Vec<Dispatch> = matmuls
            .iter()
            .zip(&arguments)
            .map(|(matmul, data)| {
                let stream = &self.streams[matmul];
                Dispatch {
                    instructions: stream.buffer.as_ref(),
                    words: stream.words,
                    data,
                }
            })
            .collect();
        let pending = self.device.submit(&dispatches)?;
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
