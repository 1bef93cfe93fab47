// SPDX-License-Identifier: MPL-2.0
//! One recording to its text, in a pipeline of its own.

use anyhow::{Context, Result, anyhow, bail};
use gst::prelude::*;

use crate::PATIENCE;

/// What samples are pushed in.
const BUFFER: usize = 4800;

/// The text of the samples.
pub fn text_of(samples: &[i16]) -> Result<String> {
    let pipeline = gst::parse::launch(
        "appsrc name=speech format=time max-bytes=0 \
         caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
         ! whispernpu ! text/x-raw,format=utf8 ! appsink name=text sync=false",
    )?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| anyhow!("not a pipeline"))?;
    let text = transcribe(&pipeline, samples);
    pipeline.set_state(gst::State::Null)?;
    text
}

fn transcribe(pipeline: &gst::Pipeline, samples: &[i16]) -> Result<String> {
    let source = pipeline.by_name("speech").and_downcast::<gst_app::AppSrc>();
    let source = source.context("no appsrc")?;
    let sink = pipeline.by_name("text").and_downcast::<gst_app::AppSink>();
    let sink = sink.context("no appsink")?;
    pipeline.set_state(gst::State::Playing)?;
    for (index, chunk) in samples.chunks(BUFFER).enumerate() {
        source.push_buffer(buffer(chunk, (index * BUFFER) as u64))?;
    }
    source.end_of_stream()?;
    let mut text = String::new();
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::try_from(PATIENCE)?) {
        let buffer = sample.buffer().context("a sample without a buffer")?;
        text += std::str::from_utf8(&buffer.map_readable()?)?;
        text.push('\n');
    }
    if !sink.is_eos() {
        bail!("no end within {PATIENCE:?}; so far {text:?}");
    }
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    if let Some(error) = bus.pop_filtered(&[gst::MessageType::Error]) {
        bail!("{error:?}");
    }
    Ok(text)
}

/// Samples from sample number `first` on.
pub fn buffer(samples: &[i16], first: u64) -> gst::Buffer {
    let bytes: Vec<u8> = samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    let writable = buffer.make_mut();
    writable.set_pts(time_of(first));
    writable.set_duration(time_of(samples.len() as u64));
    buffer
}

/// The time of so many samples.
pub fn time_of(samples: u64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(samples * 62_500)
}
