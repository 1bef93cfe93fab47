// SPDX-License-Identifier: MPL-2.0
//! Src pad: starts and stops the push task, and answers the latency query.

use std::sync::Arc;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::element::{CAT, lock};
use crate::imp::WhisperNpu;
use crate::push_task::PushTask;
use crate::session::Session;

pub fn build(template: &gst::PadTemplate) -> gst::Pad {
    gst::Pad::builder_from_template(template)
        .activatemode_function(|pad, parent, mode, active| {
            WhisperNpu::catch_panic_pad_function(
                parent,
                || {
                    Err(gst::loggable_error!(
                        CAT,
                        "Panic while (de)activating the pad"
                    ))
                },
                |imp| imp.activate_src(pad, mode, active),
            )
        })
        .event_function(|pad, parent, event| {
            WhisperNpu::catch_panic_pad_function(parent, || false, |imp| imp.src_event(pad, event))
        })
        .query_function(|pad, parent, query| {
            WhisperNpu::catch_panic_pad_function(parent, || false, |imp| imp.src_query(pad, query))
        })
        .build()
}

impl WhisperNpu {
    fn activate_src(
        &self,
        pad: &gst::Pad,
        mode: gst::PadMode,
        active: bool,
    ) -> Result<(), gst::LoggableError> {
        if mode != gst::PadMode::Push {
            return Err(gst::loggable_error!(CAT, "{mode:?} mode is not supported"));
        }
        match (active, self.session()) {
            (true, Some(session)) => self
                .start_push_task(session)
                .map_err(|_| gst::loggable_error!(CAT, "Cannot start the task")),
            (true, None) => Err(gst::loggable_error!(CAT, "The element is not in PAUSED")),
            (false, session) => {
                if let Some(session) = session {
                    session.close(gst::FlowError::Flushing);
                }
                pad.stop_task()
                    .map_err(|_| gst::loggable_error!(CAT, "Cannot stop the task"))
            }
        }
    }

    /// Starts the push task, or resumes the one that is paused.
    pub(super) fn start_push_task(&self, session: Arc<Session>) -> Result<(), glib::BoolError> {
        let mut task = PushTask::new(&self.obj(), session);
        let pad = self.srcpad.downgrade();
        self.srcpad.start_task(move || {
            if let Some(pad) = pad.upgrade() {
                task.step(&pad);
            }
        })
    }

    fn src_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        gst::debug!(CAT, obj = pad, "event {event:?}");
        match event.view() {
            // Late text is no reason for a decoder to skip audio.
            gst::EventView::Qos(_) => true,
            gst::EventView::Reconfigure(_) => {
                self.resume_after_link();
                gst::Pad::event_default(pad, Some(&*self.obj()), event)
            }
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    /// Goes on once the pad is linked again, as GStreamer's `queue` does. What was on its way when
    /// it was not is lost.
    pub(super) fn resume_after_link(&self) {
        let flow = self.session().map(|session| session.input_queue.flow());
        if flow == Some(Err(gst::FlowError::NotLinked)) {
            gst::info!(CAT, imp = self, "linked again");
            self.with_input(|input| input.begin_anew());
            self.resume();
        }
    }

    fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                self.answer_latency(latency);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    /// Always answers: an application may ask before anything is linked or loaded.
    fn answer_latency(&self, query: &mut gst::query::Latency) {
        let Some((live, min, max)) = self.upstream_latency() else {
            return query.set(false, gst::ClockTime::ZERO, gst::ClockTime::NONE);
        };
        if !live {
            return query.set(live, min, max);
        }
        let min = min.saturating_add(lock(&self.settings).latency());
        gst::debug!(CAT, imp = self, "latency {min}");
        // The sink pad never waits for text, so upstream need not hold back any audio.
        query.set(live, min, gst::ClockTime::NONE);
    }

    /// Whether upstream is live, and its minimum and maximum latency.
    pub(super) fn upstream_latency(
        &self,
    ) -> Option<(bool, gst::ClockTime, Option<gst::ClockTime>)> {
        let mut query = gst::query::Latency::new();
        self.sinkpad.peer_query(&mut query).then(|| query.result())
    }

    pub(super) fn is_upstream_live(&self) -> bool {
        self.upstream_latency().is_some_and(|(live, ..)| live)
    }
}
