// SPDX-License-Identifier: MPL-2.0
//! Whatever GStreamer decodes, as samples.

use std::path::Path;

use anyhow::{Context, Result};
use gst::prelude::*;
use test_support::SAMPLE_RATE;

use crate::bus::error;

/// How long a file is, as far as its container tells.
pub fn seconds(path: &Path) -> Result<f64> {
    let decoder = Decoder::new(path)?;
    decoder.start(gst::State::Paused)?;
    let (state, ..) = decoder.pipeline.state(gst::ClockTime::from_seconds(20));
    decoder.check()?;
    let duration = decoder.pipeline.query_duration::<gst::ClockTime>();
    match (state, duration) {
        (Ok(_), Some(duration)) => Ok(duration.nseconds() as f64 / 1e9),
        _ => Ok(samples(path)?.len() as f64 / SAMPLE_RATE as f64),
    }
}

/// All samples of a file's sound, 16 kHz mono.
pub fn samples(path: &Path) -> Result<Vec<i16>> {
    let decoder = Decoder::new(path)?;
    decoder.start(gst::State::Playing)?;
    let mut samples = Vec::new();
    // A file without sound is an error that ends no stream.
    let wait = gst::ClockTime::from_mseconds(100);
    while !decoder.sink.is_eos() {
        let Some(sample) = decoder.sink.try_pull_sample(wait) else {
            decoder.check()?;
            continue;
        };
        let buffer = sample.buffer().context("a sample without a buffer")?;
        let bytes = buffer.map_readable()?;
        let pairs = bytes.chunks_exact(2);
        samples.extend(pairs.map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
    }
    decoder.check()?;
    Ok(samples)
}

/// A pipeline from a file to samples.
struct Decoder {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
}

impl Decoder {
    fn new(path: &Path) -> Result<Self> {
        gst::init()?;
        let pipeline = gst::parse::launch(
            "filesrc name=source ! decodebin ! audioconvert ! audioresample \
             ! audio/x-raw, format=S16LE, rate=16000, channels=1, layout=interleaved \
             ! appsink name=sink sync=false",
        )?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().ok();
        let pipeline = pipeline.context("not a pipeline")?;
        let source = pipeline.by_name("source").context("no source")?;
        source.set_property("location", path);
        let sink = pipeline.by_name("sink").and_downcast();
        let sink = sink.context("no sink")?;
        Ok(Self { pipeline, sink })
    }

    fn start(&self, state: gst::State) -> Result<()> {
        match self.pipeline.set_state(state) {
            Ok(_) => Ok(()),
            Err(failure) => Err(error(&self.pipeline).unwrap_or(failure.into())),
        }
    }

    fn check(&self) -> Result<()> {
        error(&self.pipeline).map_or(Ok(()), Err)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Stopping cannot fail in a way that is left to mend.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_formats_are_decoded_to_16_khz() {
        let recording = test_support::repository().join("tests/data/jfk-inaugural.flac");
        let decoded = samples(&recording).unwrap();
        assert_eq!(decoded, test_support::clip().samples);
        assert_eq!(seconds(&recording).unwrap(), 11.0);
    }
}
