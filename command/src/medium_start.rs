// SPDX-License-Identifier: MPL-2.0
//! Where a medium begins on its own clock.
//!
//! The clock of an MPEG transport stream runs before its first picture and sound, by 0.7 s where ffmpeg
//! wrote it. GStreamer's stream time counts from there, players count from the first picture or sound: so
//! do subtitles.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use captions::Cue;
use gst::prelude::*;

/// The earliest time of a medium's tracks.
#[derive(Clone, Debug, Default)]
pub struct MediumStart(Arc<Mutex<Option<gst::ClockTime>>>);

impl MediumStart {
    /// Looks at the first buffers of transport streams in this pipeline.
    pub fn watch(&self, pipeline: &gst::Pipeline) {
        let start = self.clone();
        pipeline.connect_deep_element_added(move |_, _, element| {
            let factory = element.factory();
            if factory.is_some_and(|factory| factory.name() == "tsdemux") {
                let start = start.clone();
                element.connect_pad_added(move |_, pad| start.watch_pad(pad));
            }
        });
    }

    fn watch_pad(&self, pad: &gst::Pad) {
        let start = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let time = info.buffer().and_then(|buffer| stream_time(pad, buffer));
            if let Some(time) = time {
                let mut earliest = start.0.lock().unwrap_or_else(PoisonError::into_inner);
                *earliest = Some(earliest.map_or(time, |other| other.min(time)));
            }
            gst::PadProbeReturn::Remove
        });
    }

    /// The cue as players time it.
    pub fn retimed(&self, mut cue: Cue) -> Cue {
        let start = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = start.map(Duration::from).unwrap_or_default();
        cue.start = cue.start.saturating_sub(start);
        cue.end = cue.end.saturating_sub(start);
        for word in cue.lines.iter_mut().flatten() {
            word.start = word.start.saturating_sub(start);
            word.end = word.end.saturating_sub(start);
        }
        cue
    }
}

fn stream_time(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    segment.to_stream_time(buffer.pts())
}
