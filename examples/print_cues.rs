// SPDX-License-Identifier: MPL-2.0
//! Prints the speech of a media file, one timed cue a line.
//!
//! ```sh
//! cargo run --release --example print_cues -- MEDIA_FILE [MODEL]
//! ```
//!
//! The plugin is linked into the program, so nothing has to be installed for it. A program that uses the
//! installed plugin leaves out `plugin_register_static` and the dependency on this crate.

use std::error::Error;

use gst::prelude::*;

const PIPELINE: &str = "filesrc name=source ! decodebin ! audioconvert ! audioresample \
     ! whispernpu name=recogniser ! appsink name=cues sync=false caps=text/x-raw,format=utf8";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let media = arguments
        .next()
        .ok_or("usage: print_cues MEDIA_FILE [MODEL]")?;

    gst::init()?;
    gstwhispernpu::plugin_register_static()?;

    let pipeline = gst::parse::launch(PIPELINE)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
    named(&pipeline, "source")?.set_property("location", media);
    if let Some(model) = arguments.next() {
        named(&pipeline, "recogniser")?.set_property("model", model);
    }
    let cues = named(&pipeline, "cues")?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| "not an appsink")?;
    // Called from a streaming thread: an application with a window hands the text over to its own thread here.
    cues.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(print_cue)
            .build(),
    );

    let played = play(&pipeline);
    pipeline.set_state(gst::State::Null)?;
    played
}

fn named(pipeline: &gst::Pipeline, name: &str) -> Result<gst::Element, String> {
    pipeline
        .by_name(name)
        .ok_or_else(|| format!("no element is named {name}"))
}

fn print_cue(sink: &gst_app::AppSink) -> Result<gst::FlowSuccess, gst::FlowError> {
    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
    let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
    // The segment says which place in the file a buffer's time stamp means.
    let segment = sample
        .segment()
        .and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
    let start = segment.and_then(|segment| segment.to_stream_time(buffer.pts()));
    let (Some(start), Some(duration)) = (start, buffer.duration()) else {
        return Err(gst::FlowError::Error);
    };
    let bytes = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
    let text = String::from_utf8_lossy(&bytes).replace('\n', " ");
    println!("[{start:.3} --> {end:.3}] {text}", end = start + duration);
    Ok(gst::FlowSuccess::Ok)
}

/// Plays to the end of the file, or to the first error.
fn play(pipeline: &gst::Pipeline) -> Result<(), Box<dyn Error>> {
    use gst::MessageView;

    let bus = pipeline.bus().ok_or("a pipeline always has a bus")?;
    // A failed state change has its reason on the bus, so look there and not at the result.
    let started = pipeline.set_state(gst::State::Playing);
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            MessageView::Eos(_) => return Ok(()),
            MessageView::Error(error) => {
                let debug = error.debug().unwrap_or_default();
                return Err(format!("{} ({debug})", error.error()).into());
            }
            MessageView::Warning(warning) => eprintln!("warning: {}", warning.error()),
            _ => {}
        }
    }
    started?;
    Ok(())
}
