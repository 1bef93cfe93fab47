// SPDX-License-Identifier: MPL-2.0
//! The one place that plans Fourier transforms.

use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

/// The transform of `len` real samples. Takes its time: plan once.
pub fn plan(len: usize) -> Arc<dyn RealToComplex<f32>> {
    RealFftPlanner::new().plan_fft_forward(len)
}
