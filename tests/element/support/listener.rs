// SPDX-License-Identifier: MPL-2.0
//! The element between a source and a sink of the test.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::ClockTime;
use gst::prelude::*;
use gst_check::Harness;

use super::{AUDIO, Out, PATIENCE, buffers, init, record};

/// An element between a source and a sink of the test's, with upstream not live.
pub struct Listener {
    pub harness: Harness,
    out: Arc<Mutex<Vec<Out>>>,
    bus: gst::Bus,
}

impl Listener {
    /// `sink` are the caps that downstream takes, `properties` as on the command line.
    pub fn new(properties: &str, sink: &str) -> Self {
        let mut listener = Self::before_data(properties, sink);
        listener.harness.set_src_caps_str(AUDIO);
        listener
    }

    /// As [`new`](Self::new), but nothing was sent yet.
    pub fn before_data(properties: &str, sink: &str) -> Self {
        init();
        let element = gst::parse::launch(&format!("whispernpu {properties}")).expect("element");
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let out = record(&element.static_pad("src").expect("src pad"));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_live(false);
        harness.set_sink_caps_str(sink);
        harness.play();
        Self { harness, out, bus }
    }

    pub fn element(&self) -> gst::Element {
        self.harness.element().expect("element")
    }

    pub fn push(&mut self, buffer: gst::Buffer) {
        self.harness.push(buffer).expect("the buffer is taken");
    }

    pub fn push_samples(&mut self, samples: &[i16], base: ClockTime) {
        buffers(samples, base).for_each(|buffer| self.push(buffer));
    }

    pub fn push_event(&mut self, event: gst::Event) {
        assert!(self.harness.push_event(event), "the event is taken");
    }

    pub fn segment(&mut self, start: ClockTime) {
        let mut segment = gst::FormattedSegment::<ClockTime>::new();
        segment.set_start(start);
        segment.set_time(start);
        self.push_event(gst::event::Segment::new(&segment));
    }

    /// Sends EOS and waits until it comes out.
    pub fn finish(&mut self) -> Vec<Out> {
        self.push_event(gst::event::Eos::new());
        self.wait_until(
            "EOS",
            |out| matches!(out, Out::Event(event) if event.type_() == gst::EventType::Eos),
        )
    }

    /// Waits until something comes out; gives all that came so far.
    pub fn wait_until(&self, what: &str, found: impl Fn(&Out) -> bool) -> Vec<Out> {
        let deadline = Instant::now() + Duration::from(PATIENCE);
        loop {
            let out = self.out();
            if out.iter().any(&found) {
                return out;
            }
            assert!(
                Instant::now() < deadline,
                "no {what} within {PATIENCE}, but {out:#?} and {:?}",
                self.messages()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn out(&self) -> Vec<Out> {
        self.out.lock().expect("recorder").clone()
    }

    /// Forgets what came out so far.
    pub fn forget(&self) {
        self.out.lock().expect("recorder").clear();
    }

    pub fn messages(&self) -> Vec<gst::Message> {
        std::iter::from_fn(|| self.bus.pop()).collect()
    }

    /// A counter of the `stats` property.
    pub fn stat(&self, field: &str) -> u64 {
        self.element()
            .property::<gst::Structure>("stats")
            .get(field)
            .expect(field)
    }
}
