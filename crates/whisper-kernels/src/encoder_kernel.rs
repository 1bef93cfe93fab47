// SPDX-License-Identifier: MPL-2.0
//! Which number format each instruction set multiplies long sequences in.

use crate::arch::portable::Portable;
use crate::encoder_attention::{AttentionBlock, FloatAttention};
use crate::kernel::GemmKernel;
use crate::linear::Linear;
use crate::pack::PackedB;

/// A kernel with the fastest formats for layers over long sequences: an encoder's.
///
/// The formats differ in accuracy: see [`w8a8`](crate::w8a8) and
/// [`Int8Attention`](crate::encoder_attention::Int8Attention) for what 8 bits cost.
pub trait EncoderKernel: GemmKernel {
    /// Linear layers: [`PackedB`] or [`PackedW8A8`](crate::w8a8::PackedW8A8).
    type Linear: Linear<Self>;
    /// Attention: [`FloatAttention`] or [`Int8Attention`](crate::encoder_attention::Int8Attention).
    type Attention: AttentionBlock<Self>;
}

impl EncoderKernel for Portable {
    type Linear = PackedB<Self>;
    type Attention = FloatAttention<Self>;
}

#[cfg(target_arch = "aarch64")]
impl EncoderKernel for crate::arch::neon::Neon {
    type Linear = PackedB<Self>;
    type Attention = FloatAttention<Self>;
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use half::bf16;

    use super::EncoderKernel;
    use crate::arch::amx::Amx;
    use crate::arch::avx2::{Avx2, Fma};
    use crate::arch::avx2_vnni::Vnni;
    use crate::arch::avx512::Avx512;
    use crate::encoder_attention::{FloatAttention, Int8Attention};
    use crate::pack::PackedB;
    use crate::w8a8::PackedW8A8;

    impl EncoderKernel for Avx2<Fma> {
        type Linear = PackedB<Self>;
        type Attention = FloatAttention<Self>;
    }

    impl EncoderKernel for Avx2<Vnni> {
        type Linear = PackedW8A8<Self>;
        type Attention = Int8Attention<Self>;
    }

    impl EncoderKernel for Avx512<f32> {
        type Linear = PackedB<Self>;
        type Attention = FloatAttention<Self>;
    }

    impl EncoderKernel for Avx512<bf16> {
        type Linear = PackedW8A8<Self>;
        type Attention = Int8Attention<Self>;
    }

    impl EncoderKernel for Avx512<Amx> {
        type Linear = PackedW8A8<Self>;
        type Attention = FloatAttention<Self>;
    }
}
