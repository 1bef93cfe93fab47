// SPDX-License-Identifier: MPL-2.0
//! The number formats of matrix elements, and memory whose format is only known at run time.

use half::bf16;

use crate::buffer::AlignedBuffer;

/// A number format that kernels keep matrix elements in.
pub trait Element: Copy + Default + Into<f32> + Send + Sync + 'static {
    /// Zeros.
    fn zeros(len: usize) -> ValueBuffer;
    /// The buffer's elements, if they are in this format.
    fn slice(buffer: &ValueBuffer) -> Option<&[Self]>;
    /// The elements to write to, if they are in this format.
    fn slice_mut(buffer: &mut ValueBuffer) -> Option<&mut [Self]>;
}

/// An [`AlignedBuffer`] of any kernel's [`GemmKernel::Value`](crate::GemmKernel::Value)s, for types
/// that do not name the kernel.
pub enum ValueBuffer {
    /// 32-bit floats.
    F32(AlignedBuffer<f32>),
    /// bfloat16.
    Bf16(AlignedBuffer<bf16>),
}

impl ValueBuffer {
    /// Zeros in the format `V`.
    pub fn new<V: Element>(len: usize) -> Self {
        V::zeros(len)
    }

    /// The elements; `None` if their format is another one.
    pub fn as_slice<V: Element>(&self) -> Option<&[V]> {
        V::slice(self)
    }

    /// The elements to write to; `None` if their format is another one.
    pub fn as_mut_slice<V: Element>(&mut self) -> Option<&mut [V]> {
        V::slice_mut(self)
    }
}

impl Element for f32 {
    fn zeros(len: usize) -> ValueBuffer {
        ValueBuffer::F32(AlignedBuffer::new(len))
    }

    fn slice(buffer: &ValueBuffer) -> Option<&[Self]> {
        match buffer {
            ValueBuffer::F32(buffer) => Some(buffer),
            ValueBuffer::Bf16(_) => None,
        }
    }

    fn slice_mut(buffer: &mut ValueBuffer) -> Option<&mut [Self]> {
        match buffer {
            ValueBuffer::F32(buffer) => Some(buffer),
            ValueBuffer::Bf16(_) => None,
        }
    }
}

impl Element for bf16 {
    fn zeros(len: usize) -> ValueBuffer {
        ValueBuffer::Bf16(AlignedBuffer::new(len))
    }

    fn slice(buffer: &ValueBuffer) -> Option<&[Self]> {
        match buffer {
            ValueBuffer::Bf16(buffer) => Some(buffer),
            ValueBuffer::F32(_) => None,
        }
    }

    fn slice_mut(buffer: &mut ValueBuffer) -> Option<&mut [Self]> {
        match buffer {
            ValueBuffer::Bf16(buffer) => Some(buffer),
            ValueBuffer::F32(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_buffer_is_seen_in_its_own_format_only() {
        let mut buffer = ValueBuffer::new::<bf16>(3);
        assert_eq!(buffer.as_mut_slice::<f32>(), None);
        assert_eq!(buffer.as_slice::<f32>(), None);
        buffer.as_mut_slice::<bf16>().unwrap()[1] = bf16::ONE;
        let expected = [bf16::ZERO, bf16::ONE, bf16::ZERO];
        assert_eq!(buffer.as_slice::<bf16>(), Some(&expected[..]));
    }
}
