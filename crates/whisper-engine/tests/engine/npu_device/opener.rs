// SPDX-License-Identifier: MPL-2.0
//! Engines whose NPU the caller opens.

use std::sync::Arc;

use whisper_engine::encoder::npu::{DeviceOpener, NpuDevice, NpuError};
use whisper_engine::{Device, Engine, EngineError};
use xdna::simulator::Simulator;

use super::model;

/// Finds no NPU.
struct Nothing;

impl DeviceOpener for Nothing {
    fn probe(&self) -> Result<(), NpuError> {
        Err(NpuError::NoDevice("on purpose".into()))
    }

    fn open(&self) -> Result<Box<dyn NpuDevice>, NpuError> {
        self.probe()?;
        unreachable!("the probe fails")
    }
}

fn engine(device: Device, opener: impl DeviceOpener + 'static) -> Result<Engine, EngineError> {
    let builder = Engine::builder().device(device).threads(1);
    builder.npu(Arc::new(opener)).build(model())
}

#[test]
fn engine_runs_on_the_npu_that_it_is_given() {
    for device in [Device::Npu, Device::Auto] {
        let engine = engine(device, Simulator).unwrap();
        assert_eq!(engine.active_device(), "npu (emulation)");
        assert_eq!(engine.without_npu(), None);
    }
}

#[test]
fn engine_without_an_npu_says_why() {
    let reason = NpuError::NoDevice("on purpose".into());
    let auto = engine(Device::Auto, Nothing).unwrap();
    assert!(auto.active_device().starts_with("cpu"));
    assert_eq!(auto.without_npu(), Some(&reason));
    let error = engine(Device::Npu, Nothing).err();
    assert!(matches!(error, Some(EngineError::Npu(found)) if found == reason));
}
