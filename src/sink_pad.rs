// SPDX-License-Identifier: MPL-2.0
//! Sink pad: buffers and events into the input queue.

use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::element::{CAT, lock};
use crate::imp::WhisperNpu;
use crate::input_queue::Item;

/// Time stamps beyond are no times: what is added to them would overflow.
const LAST_TIME: gst::ClockTime = gst::ClockTime::from_nseconds(i64::MAX as u64);

pub fn build(template: &gst::PadTemplate) -> gst::Pad {
    gst::Pad::builder_from_template(template)
        .chain_function(|_, parent, buffer| {
            WhisperNpu::catch_panic_pad_function(
                parent,
                || Err(gst::FlowError::Error),
                |imp| imp.chain(buffer),
            )
        })
        .event_function(|pad, parent, event| {
            WhisperNpu::catch_panic_pad_function(parent, || false, |imp| imp.sink_event(pad, event))
        })
        .query_function(|pad, parent, query| {
            WhisperNpu::catch_panic_pad_function(parent, || false, |imp| imp.sink_query(pad, query))
        })
        .build()
}

impl WhisperNpu {
    fn chain(&self, mut buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::trace!(CAT, imp = self, "{buffer:?}");
        if buffer.pts().is_some_and(|pts| pts > LAST_TIME) {
            buffer.make_mut().set_pts(None);
        }
        let taken = self
            .with_input(|input| {
                if self.request_changed.swap(false, Ordering::Relaxed) {
                    input.change_request(&self.request());
                }
                input.buffer(buffer, &|| self.request())
            })
            .unwrap_or(Err(gst::FlowError::Flushing))?;
        if taken.overloaded {
            gst::element_imp_warning!(
                self,
                gst::CoreError::Clock,
                ("Recognition cannot keep up with the live audio: some of it is left out (see stats)")
            );
        }
        if let Some(found) = taken.irregular {
            self.announce_irregularities(&found);
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
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
            // They describe the audio.
            EventView::Tag(_) | EventView::Protection(_) => true,
            _ if event.is_serialized() => self.pass_within(event),
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            // No pool: sources such as pulsesrc send its buffers whole, however little they fill of them.
            gst::QueryViewMut::Allocation(_) => false,
            gst::QueryViewMut::AcceptCaps(_) => {
                let answered = gst::Pad::query_default(pad, Some(&*self.obj()), &mut *query);
                if let gst::QueryView::AcceptCaps(accept) = query.view()
                    && !accept.result()
                {
                    self.announce_refused(accept.caps());
                }
                answered
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    /// FLUSH_START comes without the stream lock: the streaming thread may be waiting in `chain`.
    fn flush_start(&self, event: gst::Event) -> bool {
        if let Some(session) = self.session() {
            session.interrupt(gst::FlowError::Flushing);
        }
        self.unsynced_pad.push_event(event.clone());
        let passed = self.srcpad.push_event(event);
        let _ = self.srcpad.pause_task();
        passed
    }

    fn flush_stop(&self, event: gst::Event) -> bool {
        self.with_input(|input| input.flush());
        self.unsynced_pad.push_event(event.clone());
        let passed = self.srcpad.push_event(event);
        self.resume();
        passed
    }

    /// Starts over with a new stream after downstream returned EOS in the last one.
    fn resume_after_end(&self) {
        if self
            .session()
            .is_some_and(|session| session.input_queue.flow() == Err(gst::FlowError::Eos))
        {
            self.with_input(|input| input.flush());
            self.resume();
        }
    }

    /// Ends an interruption.
    pub(super) fn resume(&self) {
        if let Some(session) = self.session() {
            session.resume();
            self.with_input(|input| input.resume());
            let _ = self.start_push_task(session);
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
            self.with_input(|input| input.refuse_segment());
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
        self.with_input(|input| input.start_segment(segment, event).is_ok())
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
        // Upstream pushes no more buffers, so it would not see the flow return.
        if let Err(error) = session.input_queue.flow()
            && !session.input_queue.is_closed()
        {
            self.report(error);
        }
        false
    }

    /// A short gap becomes silence in the run, a long one a GAP event of the text stream.
    fn gap(&self, gap: &gst::event::Gap, event: &gst::Event) -> bool {
        let (pts, duration) = gap.get();
        self.with_input(|input| match input.gap(pts, duration, &|| self.request()) {
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

    /// Ends the run, and queues `event` behind its text.
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

    /// Queues `event` behind the text before it, without ending the run.
    fn pass_within(&self, event: gst::Event) -> bool {
        self.with_input(|input| {
            let within = input.position();
            input.push(Item::Event { event, within }).is_ok()
        })
        .unwrap_or(false)
    }
}

/// STREAM_START of the text: a sparse stream in the group of the audio.
fn text_stream_start(audio: &gst::event::StreamStart) -> gst::Event {
    // The id that gst_pad_create_stream_id() would make, which may still see the last stream here.
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
