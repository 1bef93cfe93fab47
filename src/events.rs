// SPDX-License-Identifier: MPL-2.0
//! Events: from upstream in order with the text, from downstream upstream.

use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::element::{CAT, lock};
use crate::imp::WhisperNpu;
use crate::input_queue::Item;

impl WhisperNpu {
    pub(super) fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        use gst::EventView;
        gst::debug!(CAT, obj = pad, "event {event:?}");
        match event.view() {
            EventView::FlushStart(_) => self.flush_start(event),
            EventView::FlushStop(_) => self.flush_stop(event),
            EventView::Caps(caps) => {
                let accepted = self.with_input(|input| input.set_caps(caps.caps()));
                accepted.unwrap_or(false)
            }
            EventView::StreamStart(start) => {
                self.resume_after_end();
                let event = text_stream_start(start);
                self.with_input(|input| input.start_stream(event).is_ok())
                    .unwrap_or(false)
            }
            EventView::Segment(segment) => self.segment(segment),
            EventView::Gap(gap) => self.gap(gap, &event),
            EventView::Eos(_) => self.eos(event),
            EventView::SegmentDone(_) => self.pass_between_runs(event),
            // They describe audio.
            EventView::Tag(_) | EventView::Protection(_) => true,
            _ if event.is_serialized() => self.pass_within(event),
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    pub(super) fn src_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        gst::debug!(CAT, obj = pad, "event {event:?}");
        match event.view() {
            // Late text is no reason for a decoder to skip audio.
            gst::EventView::Qos(_) => true,
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    /// Comes without the stream lock: the streaming thread may be waiting in chain.
    fn flush_start(&self, event: gst::Event) -> bool {
        if let Some(session) = self.session() {
            session.interrupt(gst::FlowError::Flushing);
        }
        let passed = self.srcpad.push_event(event);
        let _ = self.srcpad.pause_task();
        passed
    }

    fn flush_stop(&self, event: gst::Event) -> bool {
        self.with_input(|input| input.flush());
        let passed = self.srcpad.push_event(event);
        self.resume();
        passed
    }

    /// A new stream may follow where downstream had enough of the last one.
    fn resume_after_end(&self) {
        if self
            .session()
            .is_some_and(|session| session.feed.flow() == Err(gst::FlowError::Eos))
        {
            self.with_input(|input| input.flush());
            self.resume();
        }
    }

    fn resume(&self) {
        if let Some(session) = self.session() {
            session.resume();
            self.with_input(|input| input.resume());
            let _ = self.start_output(session);
        }
    }

    fn segment(&self, event: &gst::event::Segment) -> bool {
        let Some(segment) = event.segment().downcast_ref::<gst::ClockTime>() else {
            gst::element_imp_error!(
                self,
                gst::StreamError::Format,
                (
                    "The audio has a segment in {:?}, not in time",
                    event.segment().format()
                )
            );
            return false;
        };
        let live = self.is_upstream_live();
        let lateness = lock(&self.settings).lateness();
        let mut shifted = segment.clone();
        shifted.set_base(segment.base().unwrap_or_default().saturating_add(lateness));
        let event = gst::event::Segment::builder(&shifted)
            .seqnum(event.seqnum())
            .running_time_offset(event.running_time_offset())
            .build();
        if let Some(session) = self.session() {
            session.set_live(live);
        }
        self.with_input(|input| {
            input.set_segment(segment);
            input
                .push(Item::Event {
                    event,
                    within: None,
                })
                .is_ok()
        })
        .unwrap_or(false)
    }

    fn eos(&self, event: gst::Event) -> bool {
        let Some(session) = self.session() else {
            return false;
        };
        session.set_ended(true);
        if self.pass_between_runs(event) {
            return true;
        }
        // Upstream sees no flow return any more that would tell it.
        if let Err(error) = session.feed.flow()
            && !session.feed.is_closed()
        {
            self.report(error);
        }
        false
    }

    /// Says on the bus that downstream took no more, unless that is how streams end.
    pub(super) fn report(&self, error: gst::FlowError) {
        if !matches!(error, gst::FlowError::Flushing | gst::FlowError::Eos) {
            gst::element_imp_error!(
                self,
                gst::StreamError::Failed,
                ("Downstream refused the text: {error:?}")
            );
        }
    }

    /// A short gap is silence in the run; the rest is told downstream.
    fn gap(&self, gap: &gst::event::Gap, event: &gst::Event) -> bool {
        let (pts, duration) = gap.get();
        self.with_input(|input| match input.gap(pts, duration, || self.request()) {
            Ok(true) => input
                .push(Item::Event {
                    event: event.clone(),
                    within: None,
                })
                .is_ok(),
            Ok(false) => true,
            Err(_) => false,
        })
        .unwrap_or(false)
    }

    /// Ends the run, and lets `event` come after its text.
    fn pass_between_runs(&self, event: gst::Event) -> bool {
        self.with_input(|input| {
            input.end_run();
            input
                .push(Item::Event {
                    event,
                    within: None,
                })
                .is_ok()
        })
        .unwrap_or(false)
    }

    /// Lets `event` come after the text before it, without ending the run.
    fn pass_within(&self, event: gst::Event) -> bool {
        self.with_input(|input| {
            let within = input.position();
            input.push(Item::Event { event, within }).is_ok()
        })
        .unwrap_or(false)
    }
}

/// The text is a stream of its own, with long times without a buffer, of the same group as the audio.
fn text_stream_start(audio: &gst::event::StreamStart) -> gst::Event {
    // As gst_pad_create_stream_id() would name it; that one may still see the stream before this event.
    let id = format!("{}/text", audio.stream_id());
    let flags = audio.stream_flags() | gst::StreamFlags::SPARSE;
    let stream = gst::Stream::new(Some(&id), None, gst::StreamType::TEXT, flags);
    let mut builder = gst::event::StreamStart::builder(&id)
        .flags(flags)
        .stream(stream)
        .seqnum(audio.seqnum());
    if let Some(group) = audio.group_id() {
        builder = builder.group_id(group);
    }
    builder.build()
}
