// SPDX-License-Identifier: MPL-2.0
//! A pipeline that recognises a file, and what comes out of it.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use gst::ClockTime;
use gst::prelude::*;

use crate::{PATIENCE, require};

/// Start and end of a cue, on the stream's timeline.
pub type Times = (ClockTime, ClockTime);

/// A pipeline that recognises a WAV file as fast as it goes.
pub struct Player {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
}

impl Player {
    pub fn new(wav: &Path) -> Result<(Self, Receiver<Times>)> {
        let pipeline = gst::parse::launch(
            "filesrc name=source ! wavparse ! audioconvert ! audioresample ! whispernpu name=recogniser \
             ! appsink name=cues sync=false caps=text/x-raw,format=utf8",
        )?;
        let pipeline = pipeline
            .downcast::<gst::Pipeline>()
            .map_err(|_| anyhow!("not a pipeline"))?;
        let bus = pipeline.bus().context("a pipeline has a bus")?;
        let player = Self { pipeline, bus };
        player
            .named("source")?
            .set_property("location", wav.to_str().context("the path is not UTF-8")?);
        let (sender, receiver) = channel();
        let sink = player
            .named("cues")?
            .downcast::<gst_app::AppSink>()
            .map_err(|_| anyhow!("not an appsink"))?;
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| report_cue(sink, &sender))
                .build(),
        );
        Ok((player, receiver))
    }

    pub fn named(&self, name: &str) -> Result<gst::Element> {
        self.pipeline
            .by_name(name)
            .with_context(|| format!("no element {name}"))
    }

    pub fn set_state(&self, state: gst::State) -> Result<()> {
        self.pipeline.set_state(state)?;
        Ok(())
    }

    pub fn wait_until_started(&self) -> Result<()> {
        let (result, state, _) = self.pipeline.state(ClockTime::try_from(PATIENCE)?);
        result?;
        require(state == gst::State::Playing, "the pipeline plays")
    }

    /// The next cue, or `None` at the end of the stream. An error on the bus, or too long a wait, is an error.
    pub fn next_cue(&self, cues: &Receiver<Times>) -> Result<Option<Times>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(cue) = cues.recv_timeout(Duration::from_millis(20)) {
                return Ok(Some(cue));
            }
            // The sink posts EOS after its last cue, so look for that one once more.
            if self.at_end()? {
                return Ok(cues.try_recv().ok());
            }
            require(
                Instant::now() < deadline,
                "text or the end comes within two minutes",
            )?;
        }
    }

    /// Whether EOS was posted; it stays on the bus, for the cues that wait in the channel.
    pub fn at_end(&self) -> Result<bool> {
        while let Some(message) = self.bus.peek() {
            match message.view() {
                gst::MessageView::Eos(_) => return Ok(true),
                gst::MessageView::Error(error) => {
                    bail!("{} ({:?})", error.error(), error.debug());
                }
                _ => drop(self.bus.pop()),
            }
        }
        Ok(false)
    }

    pub fn seek(&self, place: ClockTime) -> Result<()> {
        self.pipeline
            .seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, place)?;
        // A stream that had ended goes on: its EOS is history.
        if self.at_end()? {
            self.bus.pop();
        }
        Ok(())
    }

    /// A flush that comes from the middle of the pipeline, as decodebin3 sends one when it switches
    /// streams, with the segment that has to follow it. The stream lock keeps upstream, which knows
    /// nothing of it, from pushing in between.
    pub fn flush(&self) -> Result<()> {
        let pad = self
            .named("recogniser")?
            .static_pad("sink")
            .context("the element has a sink pad")?;
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        require(
            pad.send_event(gst::event::FlushStart::new()),
            "the element takes FLUSH_START",
        )?;
        let _lock = pad.stream_lock();
        require(
            pad.send_event(gst::event::FlushStop::new(true)),
            "the element takes FLUSH_STOP",
        )?;
        let resumed = segment.is_none_or(|segment| pad.send_event(segment));
        require(resumed, "the element takes the segment again")
    }

    /// Asks the pipeline for its latency, as sinks do.
    pub fn ask_for_latency(&self) {
        let mut query = gst::query::Latency::new();
        self.pipeline.query(&mut query);
    }

    pub fn stop(&self) -> Result<()> {
        self.set_state(gst::State::Null)?;
        self.at_end().map(drop)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // An element that is disposed of while it plays only adds a second error to the first.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn report_cue(
    sink: &gst_app::AppSink,
    cues: &Sender<Times>,
) -> std::result::Result<gst::FlowSuccess, gst::FlowError> {
    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
    let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
    let (Some(start), Some(duration)) = (buffer.pts(), buffer.duration()) else {
        return Err(gst::FlowError::Error);
    };
    cues.send((start, start + duration))
        .map_err(|_| gst::FlowError::Eos)?;
    Ok(gst::FlowSuccess::Ok)
}
