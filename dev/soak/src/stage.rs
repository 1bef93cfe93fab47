// SPDX-License-Identifier: MPL-2.0
//! The element between two pads of ours: an upstream and a downstream that may do anything.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use gst::prelude::*;

use crate::PATIENCE;

type Flow = std::result::Result<gst::FlowSuccess, gst::FlowError>;

/// The element, playing.
pub struct Stage {
    pub element: gst::Element,
    /// Upstream's pad.
    pub source: gst::Pad,
    /// Downstream's pad.
    pub sink: gst::Pad,
    text: Arc<Mutex<Vec<String>>>,
    ended: Receiver<()>,
}

impl Stage {
    /// `properties` as on the command line; `take` decides what becomes of the text's buffer of this
    /// number.
    pub fn new(
        properties: &str,
        take: impl Fn(usize) -> Flow + Send + Sync + 'static,
    ) -> Result<Self> {
        let element = gst::parse::launch(&format!("whispernpu {properties}"))?;
        let text = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = channel();
        let source = gst::Pad::new(gst::PadDirection::Src);
        let sink = sink(take, text.clone(), sender);
        let pad = |name| element.static_pad(name).context("no such pad");
        source.link(&pad("sink")?)?;
        pad("src")?.link(&sink)?;
        source.set_active(true)?;
        sink.set_active(true)?;
        element.set_state(gst::State::Playing)?;
        Ok(Self {
            element,
            source,
            sink,
            text,
            ended,
        })
    }

    /// Starts the stream, with a segment from 0 on.
    pub fn start(&self) {
        let caps = gst::Caps::builder("audio/x-raw")
            .field("format", "S16LE")
            .field("rate", 16_000)
            .field("channels", 1)
            .field("layout", "interleaved");
        self.source
            .push_event(gst::event::StreamStart::builder("speech").build());
        self.source.push_event(gst::event::Caps::new(&caps.build()));
        self.segment();
    }

    /// A segment from 0 on.
    pub fn segment(&self) {
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        self.source.push_event(gst::event::Segment::new(&segment));
    }

    /// Ends the stream, and gives what came out of it, in lower case.
    pub fn finish(&self) -> Result<String> {
        self.source.push_event(gst::event::Eos::new());
        let ended = self.ended.recv_timeout(PATIENCE);
        let text = self.text();
        ensure!(ended.is_ok(), "no end within {PATIENCE:?}; so far {text:?}");
        Ok(text)
    }

    /// What came out so far, in lower case.
    pub fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(|lock| lock.into_inner());
        text.join(" ").to_lowercase()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.element.set_state(gst::State::Null);
        let _ = self.source.set_active(false);
        let _ = self.sink.set_active(false);
    }
}

fn sink(
    take: impl Fn(usize) -> Flow + Send + Sync + 'static,
    text: Arc<Mutex<Vec<String>>>,
    ended: Sender<()>,
) -> gst::Pad {
    let chain = move |_: &gst::Pad, _: Option<&gst::Object>, buffer: gst::Buffer| {
        let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let words = String::from_utf8_lossy(&map).replace('\n', " ");
        let number = {
            let mut text = text.lock().unwrap_or_else(|lock| lock.into_inner());
            text.push(words);
            text.len() - 1
        };
        take(number)
    };
    let event = move |pad: &gst::Pad, parent: Option<&gst::Object>, event: gst::Event| {
        if event.type_() == gst::EventType::Eos {
            let _ = ended.send(());
        }
        gst::Pad::event_default(pad, parent, event)
    };
    gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(chain)
        .event_function(event)
        .build()
}
