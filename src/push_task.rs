// SPDX-License-Identifier: MPL-2.0
//! Task of the src pad: negotiates the format, and pushes text, gaps and events.

use std::sync::Arc;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst::{ClockTime, FlowError, FlowSuccess};

use crate::caps;
use crate::element::{CAT, WhisperNpu};
use crate::items;
use crate::output_queue::{Item, Partial};
use crate::session::Session;
use crate::text_stream::clock_time;
use crate::unsynced_pad;
use captions::{Cue, Format, Writer};

/// State of the task, from one start to the next.
pub struct PushTask {
    element: glib::WeakRef<WhisperNpu>,
    session: Arc<Session>,
    writer: Option<(Format, Writer)>,
    segment: gst::FormattedSegment<ClockTime>,
    /// Seqnum of the segment, for the events that the element makes.
    seqnum: Option<gst::Seqnum>,
    /// Whether any text was pushed.
    written: bool,
}

impl PushTask {
    pub fn new(element: &WhisperNpu, session: Arc<Session>) -> Self {
        Self {
            element: element.downgrade(),
            session,
            writer: None,
            segment: gst::FormattedSegment::new(),
            seqnum: None,
            written: false,
        }
    }

    /// Pushes one item. Pauses the task when the queue is interrupted or downstream takes no more.
    pub fn step(&mut self, pad: &gst::Pad) {
        let Some(item) = self.session.output_queue.pop() else {
            let _ = pad.pause_task();
            return;
        };
        gst::log!(CAT, obj = pad, "pushing {item:?}");
        if let Err(error) = self.push(pad, item) {
            gst::debug!(CAT, obj = pad, "downstream returned {error:?}");
            self.stop(error);
            let _ = pad.pause_task();
            // A link that came before the error was noted had nothing to resume. It asked for caps.
            if let Some(element) = self.element.upgrade().filter(|_| pad.needs_reconfigure()) {
                element.imp().resume_after_link();
            }
        }
    }

    fn push(&mut self, pad: &gst::Pad, item: Item) -> Result<FlowSuccess, FlowError> {
        match item {
            Item::Event(event) => self.push_event(pad, event),
            Item::Language(code) => {
                self.push_language(pad, &code);
                Ok(FlowSuccess::Ok)
            }
            Item::Partial(partial) => {
                self.tell_partial(partial);
                Ok(FlowSuccess::Ok)
            }
            Item::Gap { start, end } => {
                self.negotiate(pad)?;
                let gap = gst::event::Gap::builder(start).duration(end.saturating_sub(start));
                self.push_to_both(pad, gap.seqnum_if_some(self.seqnum).build());
                Ok(FlowSuccess::Ok)
            }
            Item::Cue { cue, discont } => self.push_cue(pad, cue, discont),
        }
    }

    fn push_language(&self, pad: &gst::Pad, code: &str) {
        let mut tags = gst::TagList::new();
        if let Some(tags) = tags.get_mut() {
            tags.add::<gst::tags::LanguageCode>(&code, gst::TagMergeMode::Replace);
        }
        let tag = gst::event::Tag::builder(tags).seqnum_if_some(self.seqnum);
        pad.push_event(tag.build());
    }

    fn push_event(&mut self, pad: &gst::Pad, event: gst::Event) -> Result<FlowSuccess, FlowError> {
        match event.view() {
            // Queued again after each flush, in case that the flush dropped it from the queue.
            gst::EventView::StreamStart(_) if is_current(pad, &event) => {
                return Ok(FlowSuccess::Ok);
            }
            gst::EventView::Segment(segment) => {
                self.negotiate(pad)?;
                self.seqnum = Some(event.seqnum());
                if let Some(segment) = segment.segment().downcast_ref::<ClockTime>() {
                    self.segment = segment.clone();
                }
            }
            gst::EventView::Eos(_) => self.push_due_header(pad)?,
            _ => {}
        }
        self.push_to_both(pad, event);
        Ok(FlowSuccess::Ok)
    }

    /// Pushes an event on the src pad, and to those who wait for nothing.
    fn push_to_both(&self, pad: &gst::Pad, event: gst::Event) {
        if let Some(element) = self.element.upgrade() {
            unsynced_pad::push_event(&element.imp().unsynced_pad, &event);
        }
        pad.push_event(event);
    }

    fn push_cue(
        &mut self,
        pad: &gst::Pad,
        cue: Cue,
        discont: bool,
    ) -> Result<FlowSuccess, FlowError> {
        self.negotiate(pad)?;
        let Some((_, writer)) = &mut self.writer else {
            return Err(FlowError::NotNegotiated);
        };
        let timed = in_stream_time(&cue, &self.segment);
        let text = writer.write(&timed);
        if text.is_empty() {
            return Ok(FlowSuccess::Ok);
        }
        let mut buffer = gst::Buffer::from_mut_slice(text.into_bytes());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(clock_time(cue.start));
            buffer.set_duration(clock_time(cue.duration()));
            if discont {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
            items::attach(buffer, &timed);
        }
        self.written = true;
        self.observe_delay(&cue);
        self.push_new_items(&cue);
        pad.push(buffer)
    }

    /// Tells of words that may come next: on the pad that waits for nothing, and on the bus.
    fn tell_partial(&self, partial: Partial) {
        let Some(element) = self.element.upgrade() else {
            return;
        };
        unsynced_pad::push_partial(&element.imp().unsynced_pad, &partial);
        let structure = gst::Structure::builder("whispernpu/partial")
            .field("text", partial.text)
            .field("stable-prefix", partial.stable)
            .field("new-words", partial.new_words)
            .field("running-time", self.segment.to_running_time(partial.pts))
            .build();
        let message = gst::message::Element::builder(structure)
            .src(&element)
            .build();
        let _ = element.post_message(message);
    }

    /// Measures how late the last word of a cue goes out, if upstream is live.
    fn observe_delay(&self, cue: &Cue) {
        let Some(element) = self.element.upgrade().filter(|_| self.session.is_live()) else {
            return;
        };
        let word_end = cue.new_words().last().map(|word| clock_time(word.end));
        let word_end = word_end.and_then(|end| self.segment.to_running_time(end));
        let delay = element
            .current_running_time()
            .zip(word_end)
            .map(|(now, end)| now.saturating_sub(end));
        if delay.is_some_and(|delay| self.session.counters.observe_delay(delay)) {
            element
                .imp()
                .announce_delay(self.session.counters.max_delay_ms());
        }
    }

    /// Tells upstream of the new words. It is free to ignore these events.
    fn push_new_items(&self, cue: &Cue) {
        if let Some(element) = self.element.upgrade() {
            for event in items::new_item_events(cue, &self.segment, self.seqnum) {
                let _ = element.imp().sinkpad.push_event(event);
            }
        }
    }

    /// Pushes the header of the format, for a stream that ends without a cue.
    fn push_due_header(&mut self, pad: &gst::Pad) -> Result<(), FlowError> {
        if self.written || self.seqnum.is_none() {
            return Ok(());
        }
        let Some(header) = self.writer.as_mut().and_then(|(_, writer)| writer.header()) else {
            return Ok(());
        };
        let mut buffer = gst::Buffer::from_mut_slice(header.into_bytes());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(self.segment.start());
            buffer.set_duration(ClockTime::ZERO);
            buffer.set_flags(gst::BufferFlags::HEADER);
        }
        self.written = true;
        pad.push(buffer).map(|_| ())
    }

    /// Chooses a format with downstream: before the first item that needs one, and when downstream
    /// asks to renegotiate.
    fn negotiate(&mut self, pad: &gst::Pad) -> Result<(), FlowError> {
        let is_asked = pad.check_reconfigure();
        if self.writer.is_some() && !is_asked {
            return Ok(());
        }
        let template = pad.pad_template_caps();
        let allowed = pad.peer_query_caps(Some(&template)).intersect(&template);
        let Some(format) = Format::ALL
            .into_iter()
            .find(|format| caps::of(*format).can_intersect(&allowed))
        else {
            gst::warning!(CAT, obj = pad, "downstream takes none of the text formats");
            return Err(FlowError::NotNegotiated);
        };
        if self
            .writer
            .as_ref()
            .is_some_and(|(current, _)| *current == format)
        {
            return Ok(());
        }
        let mut caps =
            caps::of(format).intersect_with_mode(&allowed, gst::CapsIntersectMode::First);
        caps.fixate();
        gst::info!(CAT, obj = pad, "writing {caps}");
        pad.push_event(gst::event::Caps::new(&caps));
        if pad.current_caps().as_ref() != Some(&caps) {
            gst::debug!(CAT, obj = pad, "a flush came first");
            return Err(FlowError::Flushing);
        }
        self.writer = Some((format, Writer::new(format)));
        Ok(())
    }

    /// Passes the flow return of downstream to upstream.
    fn stop(&self, error: FlowError) {
        self.session.interrupt(error);
        // Upstream sees it as a flow return and reports it, unless it has sent EOS.
        if self.session.has_ended()
            && let Some(element) = self.element.upgrade()
        {
            element.imp().report(error);
        }
    }
}

/// Whether the pad has pushed this STREAM_START before.
fn is_current(pad: &gst::Pad, event: &gst::Event) -> bool {
    let current = pad.sticky_event::<gst::event::StreamStart>(0);
    current.is_some_and(|current| {
        current.seqnum() == event.seqnum() && current.structure() == event.structure()
    })
}

/// The cue with all times as stream times: from the start of the medium, whatever the segment.
fn in_stream_time(cue: &Cue, segment: &gst::FormattedSegment<ClockTime>) -> Cue {
    let stream_time = |time: Duration| match segment.to_stream_time_full(clock_time(time)) {
        Some(gst::Signed::Positive(time)) => time.into(),
        Some(gst::Signed::Negative(_)) => Duration::ZERO,
        None => time,
    };
    let mut cue = cue.clone();
    cue.start = stream_time(cue.start);
    cue.end = stream_time(cue.end);
    for word in cue.lines.iter_mut().flatten() {
        word.start = stream_time(word.start);
        word.end = stream_time(word.end);
    }
    cue
}

#[cfg(test)]
mod tests {
    use super::*;
    use captions::Word;

    #[test]
    fn stream_time_counts_from_the_start_of_the_medium() {
        gst::init().expect("GStreamer");
        let at = Duration::from_secs;
        let mut segment = gst::FormattedSegment::<ClockTime>::new();
        segment.set_start(ClockTime::from_seconds(100));
        segment.set_time(ClockTime::from_seconds(7));
        let word = Word {
            text: "a".into(),
            spaced: true,
            start: at(101),
            end: at(102),
            probability: 1.0,
        };
        let cue = Cue::all_new(at(101), at(103), vec![vec![word]]);
        let moved = in_stream_time(&cue, &segment);
        assert_eq!((moved.start, moved.end), (at(8), at(10)));
        assert_eq!(
            (moved.lines[0][0].start, moved.lines[0][0].end),
            (at(8), at(9))
        );
        let early = Cue {
            start: at(90),
            ..cue
        };
        assert_eq!(in_stream_time(&early, &segment).start, at(0));
    }
}
