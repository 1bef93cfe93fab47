// SPDX-License-Identifier: MPL-2.0
//! Pad `unsynced_src`: live words the moment that they are known, also those that may still change, as
//! JSON. gst-plugins-rs' `transcriberbin` passes a pad of this name on.
//!
//! The streaming thread of the src pad pushes its buffers. Whoever links it puts a queue behind it.

use gst::prelude::*;
use gst::{ClockTime, FlowError};

use crate::element::CAT;
use crate::output_queue::Partial;

/// One object a buffer.
pub fn caps() -> gst::Caps {
    gst::Caps::new_empty_simple("application/x-json")
}

/// Passes on what begins and ends the text, as the src pad does.
pub fn push_event(pad: &gst::Pad, event: &gst::Event) {
    match event.view() {
        gst::EventView::StreamStart(start) => {
            pad.push_event(stream_start(start));
            pad.push_event(gst::event::Caps::new(&caps()));
        }
        // Sinks go to PLAYING once they have a buffer or a gap.
        gst::EventView::Segment(_) | gst::EventView::Gap(_) | gst::EventView::Eos(_) => {
            pad.push_event(event.clone());
        }
        _ => {}
    }
}

/// Pushes words that may come next. Nobody need have linked the pad.
pub fn push_partial(pad: &gst::Pad, partial: &Partial) {
    if !pad.is_linked() {
        return;
    }
    let object = serde_json::json!({
        "new-words": partial.new_words,
        "stable-prefix": partial.stable,
        "text": partial.text,
    });
    let mut buffer = gst::Buffer::from_mut_slice(format!("{object}\n").into_bytes());
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_pts(partial.pts);
        buffer.set_duration(ClockTime::ZERO);
    }
    match pad.push(buffer) {
        Ok(_) | Err(FlowError::Flushing | FlowError::NotLinked | FlowError::Eos) => {}
        Err(error) => gst::warning!(CAT, obj = pad, "downstream returned {error:?}"),
    }
}

/// A stream of its own in the group of the text.
fn stream_start(text: &gst::event::StreamStart) -> gst::Event {
    let id = format!("{}/unsynced", text.stream_id());
    let mut builder = gst::event::StreamStart::builder(&id)
        .flags(text.stream_flags())
        .seqnum(text.seqnum());
    if let Some(group) = text.group_id() {
        builder = builder.group_id(group);
    }
    builder.build()
}
