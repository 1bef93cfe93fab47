// SPDX-License-Identifier: MPL-2.0
//! Every kernel of this machine, the portable one included, against plain loops in f64.

use crate::arch::*;
use crate::{DotI8, GemmKernel, SimdF32, SimdOp, mr};

/// Calls a function with every kernel of this machine that multiplies bytes.
macro_rules! with_int8_kernels {
    ($check:path) => {
        $check(portable::Portable);
        #[cfg(target_arch = "x86_64")]
        {
            avx2::Avx2::<avx2_vnni::Vnni>::detect()
                .into_iter()
                .for_each($check);
            avx512::Avx512::<half::bf16>::detect()
                .into_iter()
                .for_each($check);
            avx512::Avx512::<amx::Amx>::detect()
                .into_iter()
                .for_each($check);
        }
    };
}

mod attention;
mod gemm;
mod quantize;
mod vecmath;
mod w8a16;
mod w8a8;

/// A test of every kernel that this machine has.
trait KernelTest {
    fn check<K: GemmKernel>(&self, kernel: K);

    fn check_all(&self) {
        self.check(portable::Portable);
        #[cfg(target_arch = "x86_64")]
        {
            avx2::Avx2::<avx2::Fma>::detect()
                .into_iter()
                .for_each(|kernel| self.check(kernel));
            avx2::Avx2::<avx2_vnni::Vnni>::detect()
                .into_iter()
                .for_each(|kernel| self.check(kernel));
            avx512::Avx512::<f32>::detect()
                .into_iter()
                .for_each(|kernel| self.check(kernel));
            avx512::Avx512::<half::bf16>::detect()
                .into_iter()
                .for_each(|kernel| self.check(kernel));
            avx512::Avx512::<amx::Amx>::detect()
                .into_iter()
                .for_each(|kernel| self.check(kernel));
        }
        #[cfg(target_arch = "aarch64")]
        neon::Neon::detect()
            .into_iter()
            .for_each(|kernel| self.check(kernel));
    }
}

/// Reproducible numbers in [-1, 1) (Knuth's MMIX congruential generator).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

fn values<K: GemmKernel>(x: &[f32]) -> Vec<K::Value> {
    x.iter().map(|x| K::value(*x)).collect()
}

/// What `x` is after rounding to the kernel's values.
fn rounded<K: GemmKernel>(x: f32) -> f64 {
    f64::from(K::value(x).into())
}

/// Rounding of a result to the kernel's values: 2^-9 for bf16, where x has at most `size`.
fn rounding<K: GemmKernel>(size: f64) -> f64 {
    size * if size_of::<K::Value>() == 2 {
        1.0 / 256.0
    } else {
        1e-6
    }
}

#[track_caller]
fn assert_close<K: GemmKernel>(found: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (found - expected).abs();
    assert!(
        error <= tolerance,
        "{}: {what}: {found} instead of {expected}",
        K::NAME
    );
}
