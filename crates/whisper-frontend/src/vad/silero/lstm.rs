// SPDX-License-Identifier: MPL-2.0
//! The recurrence: an LSTM (Hochreiter and Schmidhuber, 1997) of [`WIDE`] cells.

use whisper_kernels::epilogue::{AddResidual, StoreF32};
use whisper_kernels::gemm::{Gemm, Rows};
use whisper_kernels::pack::PackedB;
use whisper_kernels::{GemmKernel, SimdOp, vecmath};

use super::WIDE;
use super::tensors::Tensors;

/// Its weights, packed.
pub struct Lstm<K: GemmKernel> {
    input: PackedB<K>,
    state: PackedB<K>,
    output: [f32; WIDE],
    output_bias: f32,
}

/// What it carries from block to block.
pub struct LstmState {
    hidden: [f32; WIDE],
    cell: [f32; WIDE],
}

impl LstmState {
    pub fn new() -> Self {
        Self {
            hidden: [0.0; WIDE],
            cell: [0.0; WIDE],
        }
    }
}

impl<K: GemmKernel<Value = f32>> Lstm<K> {
    pub fn new(tensors: &Tensors) -> Self {
        Self {
            input: PackedB::new(&tensors.lstm_input, &tensors.lstm_bias, WIDE, 1.0),
            state: PackedB::new(&tensors.lstm_state, &[], WIDE, 1.0),
            output: std::array::from_fn(|unit| tensors.output[unit]),
            output_bias: tensors.output_bias,
        }
    }

    /// What the features of `count` blocks, `[blocks, WIDE]`, add to their gates,
    /// `[blocks, 4 WIDE]`.
    pub fn read(&self, kernel: K, features: &[f32], count: usize, gates: &mut [f32]) {
        kernel.dispatch(Gemm {
            left: Rows {
                values: features,
                stride: WIDE,
                count,
            },
            right: self.input.view(),
            epilogue: StoreF32 {
                out: gates,
                width: 4 * WIDE,
            },
        });
    }

    /// Takes the next block into the state, given what its features add to the gates. Returns the
    /// probability of a voice.
    pub fn step(&self, kernel: K, gates: &mut [f32], state: &mut LstmState) -> f32 {
        kernel.dispatch(Gemm {
            left: Rows {
                values: &state.hidden,
                stride: WIDE,
                count: 1,
            },
            right: self.state.view(),
            epilogue: AddResidual {
                out: gates,
                width: 4 * WIDE,
            },
        });
        let voice = kernel.dispatch(Cells {
            gates,
            state,
            output: &self.output,
        });
        1.0 / (1.0 + (-voice - self.output_bias).exp())
    }
}

/// The cells' step, given their gates. Evaluates to the output's product with the rectified state.
struct Cells<'a> {
    gates: &'a [f32],
    state: &'a mut LstmState,
    output: &'a [f32; WIDE],
}

impl<K: GemmKernel> SimdOp<K> for Cells<'_> {
    type Output = f32;

    #[inline(always)]
    fn eval(self, kernel: K) -> f32 {
        let LstmState { hidden, cell } = self.state;
        let mut sum = kernel.splat(0.0);
        let (gates, _) = self.gates.as_chunks::<WIDE>();
        // No closures: the compiler may leave them out of line, without the instruction set.
        for unit in (0..WIDE).step_by(K::LANES) {
            let input = vecmath::sigmoid(kernel, kernel.load(&gates[0][unit..]));
            let forget = vecmath::sigmoid(kernel, kernel.load(&gates[1][unit..]));
            let added = vecmath::tanh(kernel, kernel.load(&gates[2][unit..]));
            let output = vecmath::sigmoid(kernel, kernel.load(&gates[3][unit..]));
            let kept = kernel.load(&cell[unit..]);
            let now = kernel.mul_add(forget, kept, kernel.mul(input, added));
            let told = kernel.mul(output, vecmath::tanh(kernel, now));
            kernel.store(now, &mut cell[unit..]);
            kernel.store(told, &mut hidden[unit..]);
            let positive = kernel.max(told, kernel.splat(0.0));
            sum = kernel.mul_add(positive, kernel.load(&self.output[unit..]), sum);
        }
        kernel.reduce_sum(sum)
    }
}
