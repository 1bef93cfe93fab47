// SPDX-License-Identifier: MPL-2.0
//! Matrix products on the device: weights that stay there, streams that are written once, submissions.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use whisper_model::{Model, ModelError};
use xdna::contract::{Epilogue, PASS_ROWS, Product};
use xdna::device::{Dispatch, Kind, NpuBuffer, NpuDevice, NpuError};
use xdna::streams::instructions;
use xdna::weights::{Linear, pack};

/// A submission takes milliseconds; one that takes so long will not end.
const LIMIT: Duration = Duration::from_secs(10);

pub fn unsuited(error: ModelError) -> NpuError {
    NpuError::Unsuited(error.to_string())
}

/// A layer's matrix as it is in the model, perhaps of several side by side: (columns, depth) and a bias for each.
#[derive(Default)]
struct Matrix {
    weight: Vec<f32>,
    bias: Vec<f32>,
    depth: usize,
}

impl Matrix {
    /// Adds the outputs of `name`, multiplied by `scale`. Whisper's key projections have no bias.
    fn append(&mut self, model: &Model, name: &str, scale: f32) -> Result<(), ModelError> {
        let weight = model.weight(&format!("{name}.weight"))?;
        self.depth = weight.shape[1];
        self.weight
            .extend(weight.to_f32().iter().map(|x| x * scale));
        let bias = format!("{name}.bias");
        if model.has_weight(&bias) {
            let bias = model.weight(&bias)?.to_f32();
            self.bias.extend(bias.iter().map(|x| x * scale));
        }
        self.bias.resize(self.weight.len() / self.depth, 0.0);
        Ok(())
    }
}

/// A right operand on the device.
pub struct DeviceWeights {
    buffer: Box<dyn NpuBuffer>,
    depth: usize,
    columns: usize,
    epilogue: Epilogue,
}

impl DeviceWeights {
    /// The product of `rows` rows, rounded up to whole passes.
    fn product(&self, rows: usize) -> Result<Product, NpuError> {
        let rows = rows.next_multiple_of(PASS_ROWS);
        Product::new(rows, self.depth, self.columns, self.epilogue)
    }
}

struct Stream {
    buffer: Box<dyn NpuBuffer>,
    words: usize,
}

/// One product of a submission.
pub struct Step<'a> {
    left: &'a dyn NpuBuffer,
    right: &'a DeviceWeights,
    product: &'a dyn NpuBuffer,
}

impl<'a> Step<'a> {
    pub fn new(
        left: &'a dyn NpuBuffer,
        right: &'a DeviceWeights,
        product: &'a dyn NpuBuffer,
    ) -> Self {
        Self {
            left,
            right,
            product,
        }
    }
}

/// The device, and the streams that it has been given so far.
pub struct Products {
    device: Box<dyn NpuDevice>,
    streams: HashMap<Product, Stream>,
}

impl Products {
    pub fn new(device: Box<dyn NpuDevice>) -> Self {
        Self {
            device,
            streams: HashMap::new(),
        }
    }

    pub fn allocate(&mut self, bytes: usize) -> Result<Box<dyn NpuBuffer>, NpuError> {
        self.device.allocate(Kind::Data, bytes)
    }

    /// Packs matrices of the model to the device, side by side, each multiplied by a number.
    pub fn settle(
        &mut self,
        model: &Model,
        parts: impl Iterator<Item = (String, f32)>,
        epilogue: Epilogue,
    ) -> Result<DeviceWeights, NpuError> {
        let mut matrix = Matrix::default();
        for (name, scale) in parts {
            matrix.append(model, &name, scale).map_err(unsuited)?;
        }
        let (depth, columns) = (matrix.depth, matrix.bias.len());
        let product = Product::new(PASS_ROWS, depth, columns, epilogue)?;
        let mut buffer = self.allocate(product.right_bytes())?;
        let linear = Linear {
            weight: &matrix.weight,
            bias: &matrix.bias,
        };
        pack(&product, &linear, buffer.bytes_mut());
        buffer.sync_to_device(0..product.right_bytes())?;
        Ok(DeviceWeights {
            buffer,
            depth,
            columns,
            epilogue,
        })
    }

    /// Computes `rows` rows of each step, one step after another, in one submission; `meanwhile` is the CPU's, which
    /// cannot reach the step's buffers. Without rows there is nothing but that to do.
    pub fn run<E: From<NpuError>>(
        &mut self,
        rows: usize,
        steps: &[Step],
        meanwhile: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if rows == 0 {
            return meanwhile();
        }
        let product = |step: &Step| step.right.product(rows);
        let products: Vec<Product> = steps.iter().map(product).collect::<Result<_, _>>()?;
        for product in &products {
            self.prepare(product)?;
        }
        let arguments: Vec<[&dyn NpuBuffer; 3]> = steps
            .iter()
            .map(|step| [step.left, step.right.buffer.as_ref(), step.product])
            .collect();
        let dispatches: Vec<Dispatch> = products
            .iter()
            .zip(&arguments)
            .map(|(product, data)| {
                let stream = &self.streams[product];
                Dispatch {
                    instructions: stream.buffer.as_ref(),
                    words: stream.words,
                    data,
                }
            })
            .collect();
        let pending = self.device.submit(&dispatches)?;
        let done = meanwhile();
        // Whatever became of the CPU's part: the device is not left at work.
        pending.wait(LIMIT)?;
        done
    }

    /// Writes the product's stream, unless the device has it.
    fn prepare(&mut self, product: &Product) -> Result<(), NpuError> {
        let Entry::Vacant(vacant) = self.streams.entry(*product) else {
            return Ok(());
        };
        let words = instructions(product);
        let mut buffer = self.device.allocate(Kind::Instructions, 4 * words.len())?;
        for (to, word) in buffer.bytes_mut().chunks_exact_mut(4).zip(&words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        buffer.sync_to_device(0..4 * words.len())?;
        vacant.insert(Stream {
            buffer,
            words: words.len(),
        });
        Ok(())
    }
}
